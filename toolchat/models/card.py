"""Reads what a model can (images, reasoning efforts) and how its publisher wants it used, from its files or card."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from toolchat.engine.config import Sampling, sampling_file
from toolchat.engine.params import Format, format_of, has_vision, read_params
from toolchat.models.choice import ModelChoice
from toolchat.models.files import SYSTEM_PROMPT
from toolchat.private_file import UnfitFileError, read_file
from toolchat.wire.errors import EngineError

BY_CARD = "its model card"

MAX_SYSTEM_PROMPT = 64 * 1024
"""Bytes of SYSTEM_PROMPT.txt; Mistral's have up to some 6,000, and all of it is read again with every new chat."""
_PLACEHOLDER = re.compile(r"\{(name|today|yesterday)\}")


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    """A pattern for the beginning of the model's name in lower case."""
    usual: Sampling
    reasoning: Sampling | None = None
    """Used instead with a reasoning effort other than none; None for a model without reasoning efforts."""


def _card(name: str, temperature: float, top_p: float = 1.0, reasoning: Sampling | None = None) -> _Card:
    return _Card(name, Sampling(temperature, top_p, BY_CARD), reasoning)


# From the cards at https://huggingface.co/mistralai/NAME; other models' cards recommend nothing.
_CARDS = (
    # "Please make sure to use: top_p: 0.95, temperature: 0.7" (2506, 2507, 2509)
    _card(r"magistral-(small|medium)", 0.7, 0.95),
    # "Use a temperature of 0.7 for most environments", and top_p 0.95 in its examples
    _card(r"ministral-3-\d+b-reasoning", 0.7, 0.95),
    # "Use a temperature below 0.1 for daily-driver and production environments"
    _card(r"ministral-3-\d+b-instruct", 0.05),
    _card(r"mistral-large-3-\d+b-instruct", 0.05),
    # "We recommend using a relatively low temperature, such as temperature=0.15"
    _card(r"mistral-small-24b-instruct-2501", 0.15),
    _card(r"mistral-small-3\.[12]-24b-instruct", 0.15),
    # 0.15 in the requests of its examples (Small 2505, 2507, Small 2)
    _card(r"devstral-", 0.15),
    # "0.7 for reasoning_effort="high". Temp between 0.0 and 0.7 for reasoning_effort="none""; Medium 3.5 adds
    # "Top p: 0.95 for reasoning_effort="high""
    _card(r"mistral-small-4-", 0.0, reasoning=Sampling(0.7, 1.0, BY_CARD)),
    _card(r"mistral-medium-3\.5-", 0.0, reasoning=Sampling(0.7, 0.95, BY_CARD)),
)


def sampling(folder: Path, name: str, effort: str | None = None) -> Sampling:
    """The model's default sampling parameters, with their source.

    They come from generation_config.json if it has any, else from the model's card, else they are toolchat's (greedy).
    The card is looked up by the last part of `name`, a hub's id or a folder's path. `effort` is the reasoning effort
    that was asked for.
    """
    if (from_file := sampling_file(folder)) is not None:
        return from_file
    base = name.rstrip("/").rpartition("/")[2].lower()
    for card in _CARDS:
        if re.match(card.name, base):
            return card.reasoning if card.reasoning is not None and effort not in (None, "none") else card.usual
    return Sampling()


def by_name(effort: str | None = None) -> tuple[tuple[str, Sampling], ...]:
    """What cards recommend, each for models whose name (its last part, in lower case) begins with a pattern."""
    thinks = effort not in (None, "none")
    return tuple((card.name, card.reasoning if thinks and card.reasoning else card.usual) for card in _CARDS)


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """The system prompt that comes with a model."""

    text: str | None = None
    """None where there is none, or none that can be used."""
    notice: str = ""
    """What the user is to be told of it, in one line."""


def own_prompt(folder: Path, model: str, today: date) -> OwnPrompt:
    """What SYSTEM_PROMPT.txt in a model's folder says, with its placeholders filled.

    As in the code of Mistral's model cards: `{name}` is the last part of the model's name, `{today}` and `{yesterday}`
    are dates as 2025-07-22. Other braces are text.
    """
    path = folder / SYSTEM_PROMPT
    try:
        written = read_file(path, MAX_SYSTEM_PROMPT).decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        return OwnPrompt()
    except UnicodeDecodeError as error:
        return _unusable(path, f"is not text in UTF-8 (byte {error.start})")
    except UnfitFileError as error:
        return _unusable(path, str(error))
    except OSError as error:
        return _unusable(path, f"cannot be read: {error.strerror or error}")
    if not written.strip():
        return OwnPrompt()
    name = model.rstrip("/").rpartition("/")[2]
    values = {
        "name": folder.resolve().name if name in ("", ".", "..") else name,
        "today": today.isoformat(),
        "yesterday": (today - timedelta(days=1)).isoformat(),
    }
    text = _PLACEHOLDER.sub(lambda match: values[match[1]], written)
    return OwnPrompt(
        text,
        f"{model} comes with a system prompt ({len(text):,} characters), which is used; --no-system leaves it out",
    )


def _unusable(path: Path, why: str) -> OwnPrompt:
    return OwnPrompt(notice=f"{path} {why}: the model's own system prompt is left out; --system gives another")


MAX_TOKENIZER = 256 * 1024**2
"""Bytes of tekken.json, of which Mistral's have up to 20 million."""


def reasoning_efforts(folder: Path) -> tuple[str, ...]:
    """What `--reasoning-effort` may be, by the tokenizer's own file (v15 and later); empty where it knows none.

    Raises EngineError where the file cannot be read.
    """
    path = folder / "tekken.json"
    if not path.is_file():
        return ()  # SentencePiece, which ends with v7
    try:
        written: Any = json.loads(read_file(path, MAX_TOKENIZER))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path}: cannot be read: {error}") from None
    match written:
        case {"model_settings_builder": {"reasoning_effort": {"values": list(values)}}}:
            return tuple(str(value) for value in values)
    return ()


def supports_images(choice: ModelChoice) -> bool | None:
    """Whether the model knows images; None where that cannot be told yet, since its files are still to be fetched.

    Raises EngineError where its params.json cannot be read.
    """
    if choice.kind == "demo":
        return False
    if choice.folder is None:
        return None
    # In the other format it is loaded without its image encoder.
    return has_vision(read_params(choice.folder)) and format_of(choice.folder) is Format.MISTRAL

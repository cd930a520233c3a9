"""What a model's own files and its card say of it: how long a context it knows, and how it wants to be sampled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.engine.config import read_params
from toolchat.models.files import CONFIG, GENERATION_CONFIG

VLLM_CONTEXT = 128_000
"""What vLLM assumes where neither params.json nor config.json has `max_position_embeddings`: `MistralConfigParser`."""
BY_FILE = f"its {GENERATION_CONFIG}"
BY_CARD = "its model card"
BY_TOOLCHAT = "toolchat's own default"


@dataclass(frozen=True, slots=True)
class Sampling:
    values: Mapping[str, float]
    """`temperature`, always, and `top_p` where one is given."""
    source: str
    """For people: one of BY_FILE, BY_CARD, BY_TOOLCHAT."""

    def __str__(self) -> str:
        """ "temperature 0.7, top_p 0.95"."""
        return ", ".join(f"{name} {value:g}" for name, value in self.values.items())


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    """A pattern that the model's name, in small letters, begins with."""
    temperature: float
    top_p: float | None = None
    reasoning: Mapping[str, float] | None = None
    """What replaces these where the model is told to think; None for a model that knows no efforts."""


# By the cards at https://huggingface.co/mistralai/NAME. A model that is not here has none that could be found.
_CARDS = (
    # "Please make sure to use: top_p: 0.95, temperature: 0.7" (2506, 2507, 2509)
    _Card(r"magistral-(small|medium)", 0.7, 0.95),
    # "Use a temperature of 0.7 for most environments", and top_p 0.95 in its examples
    _Card(r"ministral-3-\d+b-reasoning", 0.7, 0.95),
    # "Use a temperature below 0.1 for daily-driver and production environments"
    _Card(r"ministral-3-\d+b-instruct", 0.05),
    _Card(r"mistral-large-3-\d+b-instruct", 0.05),
    # "We recommend using a relatively low temperature, such as temperature=0.15"
    _Card(r"mistral-small-24b-instruct-2501", 0.15),
    _Card(r"mistral-small-3\.[12]-24b-instruct", 0.15),
    # 0.15 in the requests of its examples (Small 2505, 2507, Small 2)
    _Card(r"devstral-", 0.15),
    # "0.7 for reasoning_effort="high". Temp between 0.0 and 0.7 for reasoning_effort="none""; Medium 3.5 adds
    # "Top p: 0.95 for reasoning_effort="high""
    _Card(r"mistral-small-4-", 0.0, reasoning={"temperature": 0.7}),
    _Card(r"mistral-medium-3\.5-", 0.0, reasoning={"temperature": 0.7, "top_p": 0.95}),
)


def context_window(folder: Path) -> int | None:
    """The longest context, in tokens, that a model's files allow; None where they do not say.

    This is vLLM's own reckoning (0.33: `MistralConfigParser.parse`, `derive_max_model_len_and_key`), so that what is
    asked for is not refused there: params.json's `max_position_embeddings`, else config.json's, else 128,000; and at
    most params.json's `max_seq_len`. Raises EngineError where params.json cannot be read.
    """
    params = read_params(folder)
    positions = _count(params.get("max_position_embeddings")) or _config_positions(folder)
    sequence = _count(params.get("max_seq_len"))
    if sequence is None:
        return positions
    return min(sequence, positions or VLLM_CONTEXT)


def sampling_defaults(folder: Path, name: str, effort: str | None = None) -> Mapping[str, float]:
    """How a model wants to be sampled: `temperature`, always, and `top_p` where one is given. See `sampling`."""
    return sampling(folder, name, effort).values


def sampling(folder: Path, name: str, effort: str | None = None) -> Sampling:
    """How a model wants to be sampled, and who says so.

    By its generation_config.json where that says something, else by its card, which is known by the end of `name`, a
    hub's id or a folder's path; else the likeliest tokens. `effort` is the reasoning effort that is asked for.
    """
    if values := _from_file(folder):
        return Sampling(values, BY_FILE)
    base = name.rstrip("/").rpartition("/")[2].lower()
    for card in _CARDS:
        if re.match(card.name, base):
            values = {"temperature": card.temperature} | ({"top_p": card.top_p} if card.top_p is not None else {})
            if card.reasoning is not None and effort not in (None, "none"):
                values |= card.reasoning
            return Sampling(values, BY_CARD)
    return Sampling({"temperature": 0.0}, BY_TOOLCHAT)


def _from_file(folder: Path) -> dict[str, float]:
    config = _object(folder / GENERATION_CONFIG)
    if config.get("do_sample") is False:
        return {"temperature": 0.0}
    values: dict[str, float] = {}
    match config.get("temperature"):
        case bool():
            pass
        case int() | float() as temperature if 0 <= temperature <= 5:
            values["temperature"] = float(temperature)
    match config.get("top_p"):
        case bool():
            pass
        case int() | float() as top_p if 0 < top_p <= 1:
            values["top_p"] = float(top_p)
    # transformers samples at 1.0 where only top_p is given.
    return {"temperature": 1.0} | values if values else {}


def _config_positions(folder: Path) -> int | None:
    config = _object(folder / CONFIG)
    text = config.get("text_config")
    nested = _count(text.get("max_position_embeddings")) if isinstance(text, dict) else None
    return nested or _count(config.get("max_position_embeddings"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _object(path: Path) -> dict[str, Any]:
    """An optional file's JSON object; empty where there is none, or nothing of use: vLLM goes on without it, too."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

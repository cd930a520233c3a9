"""How a model wants to be sampled, by its own files or its card."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.engine.config import MAX_PARAMS, Sampling
from toolchat.models.files import GENERATION_CONFIG
from toolchat.private_file import read_file

BY_FILE = f"its {GENERATION_CONFIG}"
BY_CARD = "its model card"


@dataclass(frozen=True, slots=True)
class _Card:
    name: str
    """A pattern that the model's name, in small letters, begins with."""
    usual: Sampling
    reasoning: Sampling | None = None
    """What takes its place where the model is told to think; None for a model that knows no efforts."""


def _card(name: str, temperature: float, top_p: float = 1.0, reasoning: Sampling | None = None) -> _Card:
    return _Card(name, Sampling(temperature, top_p, BY_CARD), reasoning)


# By the cards at https://huggingface.co/mistralai/NAME. A model that is not here has none that could be found.
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
    """How a model wants to be sampled, and who says so.

    By its generation_config.json where that says something, else by its card, which is known by the end of `name`, a
    hub's id or a folder's path; else the likeliest tokens. `effort` is the reasoning effort that is asked for.
    """
    if (found := _from_file(folder)) is not None:
        return found
    base = name.rstrip("/").rpartition("/")[2].lower()
    for card in _CARDS:
        if re.match(card.name, base):
            return card.reasoning if card.reasoning is not None and effort not in (None, "none") else card.usual
    return Sampling()


def _from_file(folder: Path) -> Sampling | None:
    config = _object(folder / GENERATION_CONFIG)
    if config.get("do_sample") is False:
        return Sampling(source=BY_FILE)
    temperature = _number(config.get("temperature"), 0, 5)
    top_p = _number(config.get("top_p"), 0, 1) or None
    if temperature is None and top_p is None:
        return None
    # transformers samples at 1.0 where only top_p is given.
    return Sampling(1.0 if temperature is None else temperature, top_p or 1.0, BY_FILE)


def _number(value: Any, least: float, most: float) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    return float(value) if fits else None


def _object(path: Path) -> dict[str, Any]:
    """An optional file's JSON object; empty where there is none, or nothing of use: vLLM goes on without it, too."""
    try:
        found = json.loads(read_file(path, MAX_PARAMS))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

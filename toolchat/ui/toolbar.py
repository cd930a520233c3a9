"""The bottom row: model, state, context, tools, speed. What does not fit is left out, the least important first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolchat.ui.text.cells import cut, width_of
from toolchat.ui.text.sanitize import sanitize_line

if TYPE_CHECKING:
    from toolchat.engine.base import EngineInfo

SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Speed:
    """Of the last turn."""

    tokens_per_second: float | None
    """While it generated; None where too little was generated to tell."""
    ttft: float
    """Seconds until its first token."""
    cached_tokens: int
    """Of its prompts, found in the prefix cache."""
    new_tokens: int
    """Of its prompts, computed anew."""


@dataclass(frozen=True, slots=True)
class Status:
    """What the toolbar tells."""

    model: str
    state: str
    """Of the engine or the turn: "loading weights", "ready", "answering 3 s"."""
    hint: str = ""
    """What a key would do now; told before anything but the state."""
    queued: int = 0
    used_tokens: int = 0
    used_is_estimate: bool = False
    context: int | None = None
    """Tokens of prompt and answer together; None while no engine is ready."""
    tools_on: int = 0
    tools: int = 0
    speed: Speed | None = None


def model_text(model: str, info: EngineInfo | None) -> str:
    """The model, and where it is: "small @ localhost:8000 (token profile)"."""
    return f"{model} @ {info.server} ({info.profile})" if info is not None and info.server else model


def toolbar(status: Status, width: int) -> str:
    """The row, at most `width` cells wide."""
    # In the order they are shown; the number says which goes first where there is no room: the highest.
    parts = [
        (2, cut(sanitize_line(status.model), max(8, width // 3))),
        (0, sanitize_line(status.state)),
        (3, f"{status.queued} queued" if status.queued else ""),
        (1, status.hint),
        (
            4,
            f"{'~' if status.used_is_estimate else ''}{status.used_tokens:,}/{status.context:,}"
            if status.context
            else "",
        ),
        (5, _tools(status)),
        *_speed(status.speed),
    ]
    shown = [(rank, text) for rank, text in parts if text]
    while len(shown) > 1 and width_of(SEPARATOR.join(text for _, text in shown)) > width:
        shown.remove(max(shown))
    return cut(SEPARATOR.join(text for _, text in shown), width)


def _tools(status: Status) -> str:
    if not status.tools:
        return ""
    on = str(status.tools_on) if status.tools_on == status.tools else f"{status.tools_on}/{status.tools}"
    return f"{on} tool" if status.tools == 1 else f"{on} tools"


def _speed(speed: Speed | None) -> list[tuple[int, str]]:
    if speed is None:
        return []
    rate = "" if speed.tokens_per_second is None else f"{speed.tokens_per_second:.0f} tok/s"
    prompts = f"prompt {speed.cached_tokens:,} cached + {speed.new_tokens:,} new" if speed.cached_tokens else ""
    return [(6, rate), (7, f"first {speed.ttft:.1f} s" if speed.ttft else ""), (8, prompts)]

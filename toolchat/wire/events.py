"""What happens in a session, as a stream of small facts that the loop yields, and renderers and the record consume.

An `Event` is a body and the stamp that places it. Events are frozen, versioned and JSON-serialisable: what
`to_json` returns is what a record holds, one line an event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from toolchat.wire import images
from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.messages import FailedCall, Image, ToolCall, ToolResult

VERSION = 1
"""Of the JSON form; raised when a consumer of an older one could misread it."""


class TurnStatus(StrEnum):
    """How a turn ended."""

    ANSWERED = "answered"
    INTERRUPTED = "interrupted"
    LIMIT = "limit"
    """The limit of rounds, or the context, was reached."""
    TRUNCATED = "truncated"
    """`max_tokens` cut the answer off."""
    ENGINE_FAILED = "engine_failed"


@dataclass(frozen=True, slots=True)
class SessionStarted:
    model: str
    program: str
    """Name and version of the program that wrote the record."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine moved on: "starting", "importing", "loading weights", "ready", "failed", "crashed"."""

    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class UserMessage:
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnStarted:
    pass


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text of the answer, all that came since the last display frame."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    text: str


@dataclass(frozen=True, slots=True)
class CallWriting:
    """The model is writing a call; one of these in a display frame at most, and none of a call that one frame holds."""

    name: str
    """The tool's."""
    size: int
    """Bytes of the JSON of its arguments that have come so far."""


@dataclass(frozen=True, slots=True)
class CallProposed:
    """The model asked for this call, or began one that cannot be run."""

    call: ToolCall | FailedCall


@dataclass(frozen=True, slots=True)
class CallDecided:
    call_id: str
    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The call runs now, with these arguments (after conversion, where that was needed)."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """Something a running tool said to the user, not to the model."""

    call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CallFinished:
    result: ToolResult


@dataclass(frozen=True, slots=True)
class RoundFinished:
    reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class HistoryEdited:
    """The history was changed otherwise than by adding to its end."""

    what: str
    ends_turn: bool = False
    """True where it was the turn under way that was refused: it has no end of its own."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    pass


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know, in one line."""

    text: str


@dataclass(frozen=True, slots=True)
class TurnFinished:
    status: TurnStatus
    rounds: int
    usage: Usage
    """Summed over the rounds; `ttft` is the first round's."""
    declined: bool = False
    """True where a call of this turn was not allowed to run."""


EventBody = (
    SessionStarted
    | EngineState
    | UserMessage
    | TurnStarted
    | TextDelta
    | ThinkingDelta
    | CallWriting
    | CallProposed
    | CallDecided
    | CallStarted
    | ToolOutput
    | CallFinished
    | RoundFinished
    | HistoryEdited
    | Interrupted
    | Notice
    | TurnFinished
)


@dataclass(frozen=True, slots=True)
class Event:
    """A body and its place: which session, turn (from 1; 0 before the first) and round, and when."""

    session: str
    turn: int
    round: int
    sequence: int
    """Counts the events of the session from 0, without a gap."""
    time: float
    """Seconds since the epoch."""
    body: EventBody


class Stamper:
    """Gives events their place in one session. The clock and the session's id are injected."""

    def __init__(self, session: str, clock: Callable[[], float]) -> None:
        self.session = session
        self.turn = 0
        self.round = 0
        self._clock = clock
        self._sequence = 0

    def __call__(self, body: EventBody) -> Event:
        event = Event(self.session, self.turn, self.round, self._sequence, self._clock(), body)
        self._sequence += 1
        return event


_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def type_name(body: EventBody) -> str:
    """The name of an event's kind in JSON: "text_delta" for `TextDelta`."""
    return _WORD.sub("_", type(body).__name__).lower()


def to_json(event: Event) -> str:
    """One line of JSON (no newline): the stamp, the `type` and the body's own fields under `data`.

    An image that a file keeps is named there, and not written once more.
    """
    record: dict[str, Any] = {
        "v": VERSION,
        "session": event.session,
        "turn": event.turn,
        "round": event.round,
        "seq": event.sequence,
        "time": round(event.time, 3),
        "type": type_name(event.body),
        "data": _fields(event.body),
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _fields(body: EventBody) -> dict[str, Any]:
    match body:
        case UserMessage(text, pictures):
            return {"text": text, "images": [images.record(image) for image in pictures]}
        case CallFinished(result):
            pictures = result.images
            return {"result": asdict(replace(result, images=())) | {"images": [images.record(one) for one in pictures]}}
    return asdict(body)

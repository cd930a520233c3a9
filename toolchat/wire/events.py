"""The events of a session: a stream of small facts that the loop yields, and renderers and the record consume.

An `Event` is a body and the stamp that places it. Events are frozen, and the codec writes and reads them
(`toolchat.wire.codec`). They hold all that the conversation holds: `toolchat.chat.fold` makes it of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.errors import ExitCode
from toolchat.wire.messages import FailedCall, Image, ToolCall, ToolResult, ToolSpec


class TurnStatus(StrEnum):
    """How a turn ended."""

    ANSWERED = "answered"
    INTERRUPTED = "interrupted"
    LIMIT = "limit"
    """The limit of rounds, or the context, was reached."""
    TRUNCATED = "truncated"
    """`max_tokens` cut the answer off."""
    ENGINE_FAILED = "engine_failed"


_EXIT_CODES = {
    TurnStatus.INTERRUPTED: ExitCode.INTERRUPTED,
    TurnStatus.ENGINE_FAILED: ExitCode.ENGINE,
    TurnStatus.LIMIT: ExitCode.LIMIT,
    TurnStatus.TRUNCATED: ExitCode.TRUNCATED,
}


@dataclass(frozen=True, slots=True)
class SessionStarted:
    model: str
    program: str
    """Name and version of the program that wrote the record."""
    system: str | None = None
    """The system prompt."""
    settings: dict[str, Any] = field(default_factory=dict)
    """How the model is asked to generate: the options of its requests, by name."""
    tools: tuple[ToolSpec, ...] = ()
    """What the model is told of its tools, where they are known by then. In a `Session` they are not, since they are
    loaded beside the model: `ToolsChanged` follows."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine moved on: "starting", "importing", "loading weights", "ready", "failed", "crashed"."""

    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class QuestionAsked:
    """The user's message, which begins the turn in the history."""

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
    call: ToolCall
    """As it stands in the history from now on: with arguments as they were converted, or as the user edited them."""
    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallStarted:
    """The call runs now, as it was decided on."""

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
class TurnWithdrawn:
    """The turn under way is taken back as if it had never begun, and what was set aside for it; it has no other end."""


@dataclass(frozen=True, slots=True)
class TurnUndone:
    """The user took back the last turn."""

    turn: int


@dataclass(frozen=True, slots=True)
class RoundRetried:
    """The last turn, which the engine's failure ended, is open again behind the results of its last calls."""

    turn: int


@dataclass(frozen=True, slots=True)
class EditUndone:
    """The user took back what came last, which was no turn: a summary, a trimmed result, a turn kept, a branch."""


@dataclass(frozen=True, slots=True)
class Branched:
    """The history is as it was when this turn was the last one; 0 for before the first. The others stay in reach."""

    turn: int


@dataclass(frozen=True, slots=True)
class TurnsSetAside:
    """The model is not sent these turns any more; they are kept."""

    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TurnsSummarised:
    """One new turn, whose answer is `text`, stands for these, in the place of the first of them."""

    turns: tuple[int, ...]
    text: str
    turn: int
    """The new one's number."""
    usage: Usage = field(default_factory=Usage)
    """Of the generation, or generations, that wrote it."""


@dataclass(frozen=True, slots=True)
class SummaryChanged:
    """The user gave a summary other words."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class TurnKept:
    """Where turns have to be set aside or summed up, this one goes last, or, with `kept` false, as any other."""

    turn: int
    kept: bool


@dataclass(frozen=True, slots=True)
class ResultTrimmed:
    """From now on the model is sent `content` in place of a result that it was sent before."""

    turn: int
    call_id: str
    content: str
    images: bool = False
    """Whether it is still sent the result's images."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """Every turn is forgotten; the system prompt stays."""


@dataclass(frozen=True, slots=True)
class SystemChanged:
    system: str | None


@dataclass(frozen=True, slots=True)
class ModelChanged:
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    """As those of `SessionStarted`."""


@dataclass(frozen=True, slots=True)
class ToolsChanged:
    """From now on the model is offered these tools, and no others."""

    tools: tuple[ToolSpec, ...]


Edit = (
    TurnWithdrawn
    | TurnUndone
    | EditUndone
    | RoundRetried
    | Branched
    | TurnsSetAside
    | TurnsSummarised
    | SummaryChanged
    | TurnKept
    | ResultTrimmed
    | Cleared
    | SystemChanged
    | ModelChanged
    | ToolsChanged
)


@dataclass(frozen=True, slots=True)
class HistoryEdited:
    """What the model is sent was changed otherwise than by adding to the end of the history."""

    edit: Edit


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
    closing: str = ""
    """What closes the turn in the history behind the text of its last round, where that is not the model's answer."""

    @property
    def exit_code(self) -> ExitCode:
        """What a command answers with that asked for this turn: the first that applies."""
        if self.status in _EXIT_CODES:
            return _EXIT_CODES[self.status]
        return ExitCode.DECLINED if self.declined else ExitCode.OK


EventBody = (
    SessionStarted
    | EngineState
    | QuestionAsked
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
    """A body and its place."""

    session: str
    turn: int
    """The turn's number, from 1; 0 for what happens between turns, or beside one."""
    round: int
    """Generations of the turn so far, this one included; 0 before the first."""
    sequence: int
    """Counts the events of the session from 0, without a gap."""
    time: float
    """Seconds since the epoch, to the millisecond."""
    body: EventBody


class Stamper:
    """Gives the events of one session their numbers and times. The clock and the session's id are injected."""

    def __init__(self, session: str, clock: Callable[[], float], first: int = 0) -> None:
        """`first` is the number of the next event: of a session that goes on, how many it has."""
        self.session = session
        self._clock = clock
        self._sequence = first

    def __call__(self, body: EventBody, turn: int = 0, round: int = 0) -> Event:
        """The event of `body` in that turn and round; without them, one between turns."""
        event = Event(self.session, turn, round, self._sequence, _milliseconds(self._clock()), body)
        self._sequence += 1
        return event


def _milliseconds(seconds: float) -> float:
    return round(seconds, 3)

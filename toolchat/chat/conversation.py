"""The history of a chat, kept legal for every Mistral tokenizer by the only ways there are to change it.

The rules (mistral_common's protocol/instruct/validator.py, all versions): one result per call, in call order and
before anything else; no empty assistant message; call ids of nine letters or digits; a turn ends with an assistant
message. A caller that would break one gets a ValueError: that is a bug, not bad input.

The history is a list of turns, and edits take whole turns, so that no edit can break a rule within one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from toolchat.mistral.ids import is_legal_call_id, is_legal_name
from toolchat.wire.messages import (
    AssistantMessage,
    FailedCall,
    Image,
    Message,
    Part,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolResult,
    UserMessage,
    assistant_message,
)

INTERRUPTED = "[interrupted]"
"""What closes a turn that was stopped, after whatever text had come."""
INTERRUPTED_CALL = "Error: interrupted by the user"
"""The result of a call that an interrupt ended, or kept from beginning."""
SUMMED_UP = "Sum up what we have said so far."
"""The question that a summary stands in history as the answer of."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """A question and all that came of it, up to the assistant's closing message."""

    number: int
    messages: tuple[Message, ...]
    first: int
    """How many turns were set aside when it began: undoing it brings back those that were set aside for it."""
    replaced: tuple[_Turn, ...] = ()
    """The turns that this one, a summary, stands for."""
    failed: bool = False
    """Whether the engine's failure ended it."""

    @property
    def is_retriable(self) -> bool:
        return self.failed and isinstance(self.messages[-2], ToolMessage)


@dataclass(frozen=True, slots=True)
class Mark:
    """A state of the history to go back to."""

    turns: tuple[_Turn, ...]
    first: int


def history_call(call: ToolCall | FailedCall) -> ToolCall:
    """How a call stands in history: one that could not be read, with empty arguments."""
    return call if isinstance(call, ToolCall) else ToolCall(call.id, call.name, {})


class Spoken:
    """Collects what a model generates beside calls, as it comes."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._at_call = False

    def add(self, text: str, *, thinking: bool = False) -> None:
        """More text, or thinking."""
        if self._parts and self._parts[-1].thinking is thinking and not self._at_call:
            self._parts[-1] = Part(self._parts[-1].text + text, thinking)
        else:
            self._parts.append(Part(text, thinking))
        self._at_call = False

    def call(self) -> None:
        """A call stands here: what comes behind it does not go on with what came before."""
        self._at_call = True

    def message(self) -> AssistantMessage:
        """What has come so far."""
        return assistant_message(self._parts)


class Conversation:
    """Messages in order. Reading is free; changing goes through the methods.

    Turns have numbers, from 1 in the order they began, which are never used again. Two conversations are equal where
    no reader and no edit could tell them apart.
    """

    def __init__(self, system: str | None = None) -> None:
        self._system = system
        self._turns: tuple[_Turn, ...] = ()
        self._first = 0
        self._pending: tuple[ToolCall, ...] = ()
        self._begun = 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Conversation):
            return NotImplemented
        return self._state == other._state

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Conversation{self._state!r}"

    @property
    def _state(self) -> tuple[object, ...]:
        return self._system, self._turns, self._first, self._pending

    @property
    def system(self) -> str | None:
        """The system prompt."""
        return self._system

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the model is sent: the system prompt and every turn that is not set aside."""
        system = [SystemMessage(self._system)] if self._system else []
        # Each turn asks for all of them: a loop of Python's own would be felt in a long chat.
        return (*system, *chain.from_iterable(turn.messages for turn in self._turns[self._first :]))

    @property
    def turns(self) -> int:
        """All turns, those set aside among them."""
        return len(self._turns)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of all turns, oldest first."""
        return tuple(turn.number for turn in self._turns)

    @property
    def rounds(self) -> int:
        """Generations with calls that the last turn holds."""
        messages = self._turns[-1].messages if self._turns else ()
        return sum(bool(message.calls) for message in messages if isinstance(message, AssistantMessage))

    @property
    def can_retry_round(self) -> bool:
        """Whether the engine's failure ended the last turn behind the results of calls: see `reopen`."""
        return bool(self._turns) and self._turns[-1].is_retriable

    @property
    def set_aside_turns(self) -> int:
        """How many of the oldest turns the model is not sent any more."""
        return self._first

    @property
    def turn_sizes(self) -> tuple[int, ...]:
        """Messages of each turn that is sent, oldest first; they follow the system prompt in `messages`."""
        return tuple(len(turn.messages) for turn in self._turns[self._first :])

    @property
    def call_ids(self) -> frozenset[str]:
        """Of every call in every turn, those set aside among them."""
        messages = (message for turn in self._turns for message in turn.messages)
        return frozenset(call.id for one in messages if isinstance(one, AssistantMessage) for call in one.calls)

    @property
    def open(self) -> bool:
        """True within a turn: the last message is not the assistant's closing one."""
        match self._turns[-1].messages[-1] if self._turns else None:
            case UserMessage() | ToolMessage():
                return True
            case AssistantMessage(calls=calls):
                return bool(calls)
        return False

    def add_user(self, text: str, images: Sequence[Image] = (), number: int | None = None) -> int:
        """Begin a turn; its number, the next one unless it is given.

        Raises ValueError within a turn, for an empty text, and for a number that has been.
        """
        self._expect_closed()
        if not text.strip():
            raise ValueError("a user message needs text")
        number = self._next(number)
        self._turns += (_Turn(number, (UserMessage(text, tuple(images)),), self._first),)
        return number

    def add_answer(self, text: str, thinking: str = "", parts: Sequence[Part] = ()) -> None:
        """Close the turn with the model's text, and what it thought; `parts` as in AssistantMessage."""
        self._expect_generation()
        if not text.strip():
            raise ValueError("an assistant message needs text or calls")
        self._add(AssistantMessage(text, (), thinking, tuple(parts)))

    def add_calls(self, text: str, calls: Sequence[ToolCall], thinking: str = "", parts: Sequence[Part] = ()) -> None:
        """Add the model's calls, and the text and the thinking beside them (both may be empty)."""
        self._expect_generation()
        if not calls:
            raise ValueError("no calls")
        ids = [call.id for call in calls]
        if len(set(ids)) != len(ids) or not all(map(is_legal_call_id, ids)):
            raise ValueError(f"call ids must be nine letters or digits, and each its own: {ids}")
        if not all(is_legal_name(call.name) for call in calls):
            raise ValueError(f"illegal tool name among {[call.name for call in calls]}")
        self._add(AssistantMessage(text, tuple(calls), thinking, tuple(parts)))
        self._pending = tuple(calls)

    def add_results(self, results: Sequence[ToolResult]) -> None:
        """Add the results of all pending calls, in call order."""
        if [result.call_id for result in results] != [call.id for call in self._pending]:
            raise ValueError("results must answer every pending call, in call order")
        self._add(*(ToolMessage(result.call_id, result.name, result.content, result.images) for result in results))
        self._pending = ()

    def close(self, text: str, why: str = INTERRUPTED, *, failed: bool = False) -> None:
        """Close a turn that did not end by itself, keeping the text that had come; `why` is what the model reads.

        `failed` says that it was the engine's failure. Raises ValueError while calls are pending: they need their
        results first.
        """
        self.add_answer(f"{text.rstrip()} {why}".strip())
        self._turns = (*self._turns[:-1], replace(self._turns[-1], failed=failed))

    def reopen(self) -> int:
        """Open the last turn again behind the results of its calls, without what closed it; its number.

        Raises ValueError where `can_retry_round` is false.
        """
        if not self.can_retry_round:
            raise ValueError("no round of the last turn can be retried")
        turn = self._turns[-1]
        self._turns = (*self._turns[:-1], replace(turn, messages=turn.messages[:-1], failed=False))
        return turn.number

    def mark(self) -> Mark:
        """A place between turns, for `rewind`."""
        self._expect_closed()
        return Mark(self._turns, self._first)

    def rewind(self, mark: Mark) -> None:
        """Have the history as it was at `mark`."""
        self._turns, self._first = mark.turns, mark.first
        self._pending = ()

    def undo(self) -> UserMessage | None:
        """Take the last turn back: its question, to be edited and asked again, or None where there is no turn.

        Where the last turn is a summary, the turns it stands for are put back first.
        """
        self._expect_closed()
        if not self._turns:
            return None
        while (turn := self._turns[-1]).replaced:
            self._turns = (*self._turns[:-1], *turn.replaced)
        self._turns = self._turns[:-1]
        self._first = min(turn.first, self._first, len(self._turns))
        question = turn.messages[0]
        assert isinstance(question, UserMessage)
        return question

    def clear(self) -> None:
        """Forget every turn; the system prompt stays."""
        self._expect_closed()
        self._turns, self._first = (), 0

    def set_system(self, text: str | None) -> None:
        """Have another system prompt from the next turn on; None for none."""
        self._expect_closed()
        self._system = text

    def set_aside(self, count: int) -> tuple[int, ...]:
        """Send the model the `count` oldest of the turns that it is sent now no more; their numbers. They are kept.

        Never the turn under way, nor the last one. Raises ValueError for more than there are before that.
        """
        if not 0 <= count < max(1, len(self._turns) - self._first):
            raise ValueError(f"{count} turns cannot be set aside")
        self._first += count
        return self.numbers[self._first - count : self._first]

    def summarise(self, begin: int, end: int, text: str, number: int | None = None) -> int:
        """Have one turn, with the summary `text`, stand for the turns from `begin` up to but not with `end`.

        Its number is returned. Both count from the oldest turn of all.

        The summary is sent to the model also where what it stands for was
        set aside, unless turns after it still are.
        """
        self._expect_closed()
        if not 0 <= begin < end <= len(self._turns) or not text.strip():
            raise ValueError(f"turns {begin} to {end} cannot be summed up as {text!r}")
        gone = end - begin - 1

        def moved(first: int) -> int:
            if first <= begin:
                return first
            return begin if first <= end else first - gone

        number = self._next(number)
        replaced = self._turns[begin:end]
        messages = (UserMessage(SUMMED_UP), AssistantMessage(text))
        summary = _Turn(number, messages, moved(replaced[0].first), replaced)
        later = [replace(turn, first=moved(turn.first)) for turn in self._turns[end:]]
        self._turns = (*self._turns[:begin], summary, *later)
        self._first = moved(self._first)
        return number

    def _next(self, number: int | None) -> int:
        number = self._begun + 1 if number is None else number
        if number <= self._begun:
            raise ValueError(f"turn {number} has been, and the last was {self._begun}")
        self._begun = number
        return number

    def _add(self, *messages: Message) -> None:
        turn = self._turns[-1]
        self._turns = (*self._turns[:-1], replace(turn, messages=turn.messages + messages))

    def _expect_closed(self) -> None:
        if self.open:
            raise ValueError("this lies between turns, and the last one is not closed")

    def _expect_generation(self) -> None:
        if self._pending:
            raise ValueError("pending calls have no results yet")
        if not self._turns or not isinstance(self._turns[-1].messages[-1], UserMessage | ToolMessage):
            raise ValueError("an assistant message follows a user's or a tool's")

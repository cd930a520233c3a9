"""The history of a chat, kept legal for every Mistral tokenizer by the only ways there are to change it.

The rules (mistral_common's protocol/instruct/validator.py, all versions): one result per call, in call order and
before anything else; no empty assistant message; call ids of nine letters or digits; a turn ends with an assistant
message. A caller that would break one gets a ValueError: that is a bug, not bad input.

The history is a list of turns, and edits take whole turns, or change the text of a result, so that no edit can break a
rule within one. What was changed can be undone, and what was left be gone back to: see `toolchat.wire.timeline`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
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
from toolchat.wire.timeline import Mark, Timeline

INTERRUPTED = "[interrupted]"
"""What closes a turn that was stopped, after whatever text had come."""
INTERRUPTED_CALL = "Error: interrupted by the user"
"""The result of a call that an interrupt ended, or kept from beginning."""
SUMMED_UP = "Sum up what we have said so far."
"""The question that a summary stands in history as the answer of."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and all that came of it, up to the assistant's closing message."""

    number: int
    messages: tuple[Message, ...]
    replaced: tuple[Turn, ...] = ()
    """The turns that this one, a summary, stands for."""
    failed: bool = False
    """Whether the engine's failure ended it."""
    aside: bool = False
    """Whether the model is not sent it any more."""
    kept: bool = False
    """Whether it goes last where turns have to be set aside or summed up."""

    @property
    def is_retriable(self) -> bool:
        return self.failed and isinstance(self.messages[-2], ToolMessage)

    @property
    def question(self) -> UserMessage:
        question = self.messages[0]
        assert isinstance(question, UserMessage)
        return question

    @property
    def results(self) -> tuple[ToolMessage, ...]:
        return tuple(message for message in self.messages if isinstance(message, ToolMessage))


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
        self._line: Timeline[Turn] = Timeline()
        self._pending: tuple[ToolCall, ...] = ()
        self._begun = 0
        self._call_ids: set[str] = set()
        self._sent: list[Message] = []
        """The messages of the turns that are sent, as they were at a version of the timeline."""
        self._sent_version = self._line.version
        self._prompt: tuple[Message, ...] | None = None
        """What the model is sent; None where nobody has asked for it since it changed."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Conversation):
            return NotImplemented
        mine, theirs = (self._system, self._pending), (other._system, other._pending)
        return mine == theirs and self._line == other._line

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Conversation({self._system!r}, {self._line.turns!r}, {self._pending!r})"

    @property
    def system(self) -> str | None:
        """The system prompt."""
        return self._system

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the model is sent: the system prompt and every turn that is not set aside."""
        # Each turn asks for all of them: only those that came since the last time are looked at.
        if self._sent_version != self._line.version:
            sent = (turn.messages for turn in self._line.turns if not turn.aside)
            self._sent, self._sent_version, self._prompt = list(chain.from_iterable(sent)), self._line.version, None
        if self._prompt is None:
            system = [SystemMessage(self._system)] if self._system else []
            self._prompt = (*system, *self._sent)
        return self._prompt

    @property
    def history(self) -> tuple[Turn, ...]:
        """All turns, those set aside among them, oldest first."""
        return self._line.turns

    @property
    def sent(self) -> tuple[Turn, ...]:
        """The turns that are not set aside; they follow the system prompt in `messages`."""
        return tuple(turn for turn in self._line.turns if not turn.aside)

    @property
    def turns(self) -> int:
        """How many there are, those set aside among them."""
        return len(self._line)

    @property
    def last_number(self) -> int:
        """Of the last turn; 0 where there is none."""
        return self._line.last.number if self._line.last is not None else 0

    @property
    def last_turn(self) -> tuple[Message, ...]:
        """The messages of the last turn; none where there is no turn."""
        return self._line.last.messages if self._line.last is not None else ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of all turns, oldest first."""
        return tuple(turn.number for turn in self._line.turns)

    @property
    def rounds(self) -> int:
        """Generations with calls that the last turn holds."""
        return sum(bool(message.calls) for message in self.last_turn if isinstance(message, AssistantMessage))

    @property
    def can_retry_round(self) -> bool:
        """Whether the engine's failure ended the last turn behind the results of calls: see `reopen`."""
        return self._line.last is not None and self._line.last.is_retriable

    @property
    def turn_sizes(self) -> tuple[int, ...]:
        """Messages of each turn that is sent, oldest first; they follow the system prompt in `messages`."""
        return tuple(len(turn.messages) for turn in self._line.turns if not turn.aside)

    def has_call(self, call_id: str) -> bool:
        """Whether there has been a call of that id, also in turns that may be gone back to."""
        return call_id in self._call_ids

    @property
    def open(self) -> bool:
        """True within a turn: the last message is not the assistant's closing one."""
        match self._line.last.messages[-1] if self._line.last is not None else None:
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
        turn = Turn(number, (UserMessage(text, tuple(images)),))
        with self._growing(turn.messages):
            self._line.begin(turn)
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
        self._call_ids.update(ids)

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
        with self._growing(()):
            self._line.change_last(replace(self._last(), failed=failed))

    def reopen(self) -> int:
        """Open the last turn again behind the results of its calls, without what closed it; its number.

        Raises ValueError where `can_retry_round` is false.
        """
        if not self.can_retry_round:
            raise ValueError("no round of the last turn can be retried")
        turn = self._last()
        again = replace(turn, messages=turn.messages[:-1], failed=False)
        self._line.go_on(again)
        return turn.number

    def mark(self) -> Mark[Turn]:
        """A place between turns, for `rewind`."""
        self._expect_closed()
        return self._line.mark()

    def rewind(self, mark: Mark[Turn]) -> None:
        """Have the history as it was at `mark`."""
        self._line.rewind(mark)
        self._pending = ()

    @property
    def last_edit(self) -> str:
        """The edit that came after the last turn, which `undo_edit` undoes: "summary", "trim", "keep", "branch" or
        "retry"; empty for none.
        """
        return self._line.edit

    def undo_edit(self) -> None:
        """Have the history as it was before the last edit. Raises ValueError where `last_edit` is empty."""
        self._expect_closed()
        if not self._line.edit:
            raise ValueError("no edit came after the last turn")
        self._line.undo()

    def undo(self) -> UserMessage | None:
        """Take the last turn back: its question, to be edited and asked again, or None where there is no turn.

        What was set aside for it is sent again. Edits that came after it stay.
        """
        self._expect_closed()
        if self._line.last is None:
            return None
        question = self._line.last.question
        self._line.take_back()
        return question

    def branch(self, number: int) -> None:
        """Go back to where this turn was the last one, or on to it; 0 for the beginning. Nothing is lost by that.

        Raises ValueError for a turn that is out of reach, and for the last one.
        """
        self._expect_closed()
        if number == self.last_number:
            raise ValueError(f"turn {number} is the last one")
        self._line.branch(number)

    def reachable(self) -> list[tuple[Turn, int]]:
        """Every turn that `branch` can go to, and the last one, with the number of the one before it; 0 for none."""
        return self._line.reachable()

    def clear(self) -> None:
        """Forget every turn; the system prompt stays."""
        self._expect_closed()
        self._line.clear()

    def set_system(self, text: str | None) -> None:
        """Have another system prompt from the next turn on; None for none."""
        self._expect_closed()
        self._system, self._prompt = text, None

    def set_aside(self, numbers: Collection[int]) -> tuple[int, ...]:
        """Send the model these turns no more; their numbers, oldest first. They are kept.

        Never the turn under way, nor the last one. Raises ValueError for one that is not among those before that.
        """
        sent = [turn.number for turn in self.sent[:-1]]
        if not set(numbers) <= set(sent):
            raise ValueError(f"the turns {tuple(numbers)} are not among {tuple(sent)}, which can be set aside")
        if numbers:
            self._line.change(
                [replace(turn, aside=True) if turn.number in numbers else turn for turn in self._line.turns]
            )
        return tuple(number for number in sent if number in numbers)

    def summarise(self, numbers: Collection[int], text: str, number: int | None = None) -> int:
        """Have one turn, with the summary `text`, stand for these, where the first of them stood; its number.

        The model is sent it also where what it stands for was set aside.
        """
        self._expect_closed()
        turns = self._line.turns
        replaced = tuple(turn for turn in turns if turn.number in numbers)
        if not replaced or len(replaced) != len(set(numbers)) or not text.strip():
            raise ValueError(f"the turns {tuple(numbers)} of {self.numbers} cannot be summed up as {text!r}")
        number = self._next(number)
        summary = Turn(number, (UserMessage(SUMMED_UP), AssistantMessage(text)), replaced)
        self._line.edited(
            "summary",
            [
                summary if turn is replaced[0] else turn
                for turn in turns
                if turn is replaced[0] or turn.number not in numbers
            ],
        )
        return number

    def change_summary(self, number: int, text: str) -> None:
        """Have other words in a summary. Raises ValueError where there is no such summary."""
        if not self._found(number).replaced or not text.strip():
            raise ValueError(f"turn {number} is no summary, or {text!r} no text")
        messages = (UserMessage(SUMMED_UP), AssistantMessage(text))
        self._edit_turn("summary", number, lambda turn: replace(turn, messages=messages))

    def keep(self, number: int, kept: bool = True) -> None:
        """Have a turn go last where turns have to go. Raises ValueError where there is no such turn."""
        self._edit_turn("keep", number, lambda turn: replace(turn, kept=kept))

    def trim(self, number: int, call_id: str, content: str, images: bool = False) -> None:
        """Have other words in a result, and its images only if said. Raises ValueError where it is not there."""
        if all(result.call_id != call_id for result in self._found(number).results):
            raise ValueError(f"turn {number} has no result of the call {call_id}")

        def trimmed(message: Message) -> Message:
            if not isinstance(message, ToolMessage) or message.call_id != call_id:
                return message
            return replace(message, content=content, images=message.images if images else ())

        self._edit_turn("trim", number, lambda turn: replace(turn, messages=tuple(map(trimmed, turn.messages))))

    def _edit_turn(self, edit: str, number: int, change: Callable[[Turn], Turn]) -> None:
        self._expect_closed()
        found = self._found(number)
        self._line.edited(edit, [change(turn) if turn is found else turn for turn in self._line.turns])

    def _found(self, number: int) -> Turn:
        turn = next((turn for turn in self._line.turns if turn.number == number), None)
        if turn is None:
            raise ValueError(f"there is no turn {number} in {self.numbers}")
        return turn

    def _next(self, number: int | None) -> int:
        number = self._begun + 1 if number is None else number
        if number <= self._begun:
            raise ValueError(f"turn {number} has been, and the last was {self._begun}")
        self._begun = number
        return number

    def _add(self, *messages: Message) -> None:
        turn = self._last()
        with self._growing(() if turn.aside else messages):
            self._line.change_last(replace(turn, messages=turn.messages + messages))

    @contextmanager
    def _growing(self, messages: tuple[Message, ...]) -> Iterator[None]:
        """A change of the timeline that adds these to what is sent, and does nothing else to it."""
        known = self._sent_version == self._line.version
        yield
        if known:
            self._sent += messages
            self._sent_version = self._line.version
            self._prompt = self._prompt if not messages else None

    def _last(self) -> Turn:
        assert self._line.last is not None
        return self._line.last

    def _expect_closed(self) -> None:
        if self.open:
            raise ValueError("this lies between turns, and the last one is not closed")

    def _expect_generation(self) -> None:
        if self._pending:
            raise ValueError("pending calls have no results yet")
        if self._line.last is None or not isinstance(self._line.last.messages[-1], UserMessage | ToolMessage):
            raise ValueError("an assistant message follows a user's or a tool's")

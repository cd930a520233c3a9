"""Makes a conversation of the events of its session: `fold(events)` is equal to the conversation that they came from.

A session that was killed within a turn has no end of it: that turn is closed as an interrupt would have closed it, with
the text that had come, and with results that say so for the calls that had none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from toolchat.chat.conversation import INTERRUPTED, INTERRUPTED_CALL, Conversation, Spoken, Turn, history_call
from toolchat.wire import events
from toolchat.wire.deltas import Usage
from toolchat.wire.errors import ToolchatError
from toolchat.wire.events import Edit, Event, EventBody, TurnStatus
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult
from toolchat.wire.timeline import Mark


class FoldError(ToolchatError):
    """Events that no session can have had in this order; the message names the first that does not fit."""


def fold(history: Iterable[Event]) -> Conversation:
    """The conversation at the end of `history`, which begins with a session's first event. Raises FoldError."""
    return fold_to_go_on(history).conversation


@dataclass(frozen=True, slots=True)
class Folded:
    """What a session comes to that is to go on."""

    conversation: Conversation
    closing: tuple[EventBody, ...]
    """What its record lacks where it ended within a turn: with these behind them, the events fold to the same."""
    turn: int
    round: int
    """Where those belong."""


CUT = "the program ended in this turn"
"""The notice in a turn that was closed when its session went on."""


def fold_to_go_on(history: Iterable[Event]) -> Folded:
    """As `fold`, and what a record needs behind `history` before new events. Raises FoldError."""
    folder = _Folder()
    for event in history:
        try:
            folder.take(event)
        except ValueError as error:
            kind = type(event.body).__name__
            raise FoldError(f"event {event.sequence} ({kind}, turn {event.turn}): {error}") from None
    turn, number, closing = folder.turn, folder.round, tuple(folder.closing())
    folder.end()
    return Folded(folder.conversation, closing, turn, number)


class _Folder:
    """The conversation so far, and what has come of the round under way."""

    def __init__(self) -> None:
        self.conversation = Conversation()
        self._before: Mark[Turn] | None = None
        """Where the turn under way began; None before its question."""
        self._spoken = Spoken()
        self._calls: dict[str, ToolCall] = {}
        self._results: dict[str, ToolResult] = {}
        self._generated = False
        """Whether the generation of the round under way is over."""
        self.turn = 0
        """The turn under way; 0 between turns."""
        self.round = 0

    def take(self, event: Event) -> None:
        self._place(event)
        match event.body:
            case events.SessionStarted(system=system):
                self.conversation = Conversation(system)
            case events.TurnStarted():
                self.end()
                self._before = None
            case events.QuestionAsked(text, images):
                self._before = self.conversation.mark()
                self.conversation.add_user(text, images, event.turn)
            case events.TextDelta(text):
                self._spoken.add(text)
            case events.ThinkingDelta(text):
                self._spoken.add(text, thinking=True)
            case events.CallProposed(call):
                self._spoken.call()
                self._calls[call.id] = history_call(call)
            case events.CallDecided(call=call):
                if call.id not in self._calls:
                    raise ValueError(f"the call {call.id} was not proposed")
                self._calls[call.id] = call
            case events.CallFinished(result):
                self._results[result.call_id] = result
                if self._generated:
                    self._end_round()
            case events.RoundFinished():
                self._generated = True
            case events.TurnFinished(status=status, closing=closing):
                self._end_turn(status, closing)
            case events.HistoryEdited(edit):
                self._edit(edit)

    def _place(self, event: Event) -> None:
        match event.body:
            case events.TurnStarted():
                self.turn, self.round = event.turn, event.round
            case events.TurnFinished() | events.HistoryEdited(events.TurnWithdrawn()):
                self.turn = 0
            case _ if event.turn and event.turn == self.turn:
                self.round = event.round

    def closing(self) -> Iterable[EventBody]:
        """The events that `end` stands for."""
        if not self.turn:
            return
        if not self.conversation.open:  # not even its question is there
            yield events.HistoryEdited(events.TurnWithdrawn())
            return
        yield from map(events.CallFinished, self._missing())
        yield events.Notice(CUT)
        yield events.TurnFinished(TurnStatus.INTERRUPTED, self.round, Usage(), closing=INTERRUPTED)

    def end(self) -> None:
        """Close a turn that has no end."""
        if not self.conversation.open:
            return
        for result in self._missing():
            self._results[result.call_id] = result
        if self._generated and self._calls:
            self._end_round()
        self._end_turn(TurnStatus.INTERRUPTED, INTERRUPTED)

    def _missing(self) -> list[ToolResult]:
        """Results for the calls of a whole generation that have none."""
        calls = self._calls.values() if self._generated else ()
        return [
            ToolResult(call.id, call.name, INTERRUPTED_CALL, ResultStatus.INTERRUPTED)
            for call in calls
            if call.id not in self._results
        ]

    def _end_round(self) -> None:
        """Add the calls and their results, once all have one."""
        if self._results.keys() >= self._calls.keys():
            said = self._spoken.message()
            self.conversation.add_calls(said.content, tuple(self._calls.values()), said.thinking, said.parts)
            self.conversation.add_results([self._results[call_id] for call_id in self._calls])
            self._forget_round()

    def _end_turn(self, status: TurnStatus, closing: str) -> None:
        said = self._spoken.message()
        if closing:
            self.conversation.close(said.content, closing, failed=status is TurnStatus.ENGINE_FAILED)
        else:
            self.conversation.add_answer(said.content, said.thinking, said.parts)
        self._before = None
        self._forget_round()

    def _forget_round(self) -> None:
        self._spoken = Spoken()
        self._calls, self._results = {}, {}
        self._generated = False

    def _edit(self, edit: Edit) -> None:
        conversation = self.conversation
        match edit:
            case events.TurnWithdrawn():
                if self._before is not None:
                    conversation.rewind(self._before)
                self._forget_round()
            case events.RoundRetried(turn):
                self._expect_last(turn)
                self._before = conversation.mark()
                conversation.reopen()
            case events.TurnUndone(turn):
                self._expect_last(turn)
                conversation.undo()
            case events.EditUndone():
                conversation.undo_edit()
            case events.Branched(turn):
                conversation.branch(turn)
            case events.TurnsSetAside(turns):
                conversation.set_aside(turns)
            case events.TurnsSummarised(turns, text, number):
                conversation.summarise(turns, text, number)
            case events.SummaryChanged(turn, text):
                conversation.change_summary(turn, text)
            case events.TurnKept(turn, kept):
                conversation.keep(turn, kept)
            case events.ResultTrimmed(turn, call_id, content, images):
                conversation.trim(turn, call_id, content, images)
            case events.Cleared():
                conversation.clear()
            case events.SystemChanged(system):
                conversation.set_system(system)

    def _expect_last(self, turn: int) -> None:
        # 0 is the number of no turn, and `last_number` where there is none.
        if not turn or turn != self.conversation.last_number:
            raise ValueError(f"turn {turn} is not the last one")

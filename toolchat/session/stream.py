"""The stream of a session's events: numbers each event, records it, then shows it; keeps the answers of each turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from toolchat.standard_streams import OutputError
from toolchat.store.record import SessionRecord, new_session_id
from toolchat.wire import events
from toolchat.wire.events import Event, EventBody, Notice, Stamper
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import CutResult, ToolResult, joined

if TYPE_CHECKING:  # few chats are recorded
    from toolchat.store.cassette_writer import CassetteWriter

Show: TypeAlias = Callable[[Event], None]
"""Consumes the events of a session."""


class Stream:
    """Every event is on disk before `show` is called with it.

    A `show` that raises is told of, recorded too, and replaced by `plain`, which is given the same event again; where
    that raises too, or is None, nothing is shown any more. The turn goes on in either case: it is recorded, and its
    tools have run. Only BrokenPipeError and OutputError pass, since nobody can read any more.
    """

    def __init__(
        self,
        records: Path | None,
        show: Show,
        plain: Show | None = None,
        record: SessionRecord | None = None,
        tape: CassetteWriter | None = None,
    ) -> None:
        """`record` is that of a session that goes on; without it a new one is made in `records`, None for nowhere.

        `tape` is a cassette that gets what is shown.
        """
        self.take(record if record is not None else SessionRecord(records, new_session_id()))
        self._show: Show | None = show
        self._plain = plain
        self._tape = tape
        self._told_untaped = False

    def take(self, record: SessionRecord, events_so_far: int = 0) -> None:
        """Go on with this record, which holds so many events."""
        self.record = record
        self.stamp = Stamper(record.session, time.time, events_so_far)
        self._told_unrecorded = False

    def show_again(self, event: Event) -> None:
        """Show an event that is recorded already."""
        self._shown(event)

    def emit(self, body: EventBody) -> None:
        """Something happened, between turns or beside one."""
        self.pass_on(self.stamp(body))

    def only_record(self, body: EventBody, turn: int = 0, round: int = 0) -> Event:
        """Something happened that nobody is there to be shown; its event."""
        event = self.stamp(body, turn, round)
        self.record.append(event)
        return event

    def pass_on(self, event: Event) -> None:
        """The same, for an event that has its place."""
        self.record.append(event)
        self._shown(event)
        if self.record.failure is not None and not self._told_unrecorded:
            self._told_unrecorded = True
            self._shown(self.stamp(Notice(self.record.loss)))
        if self._tape is not None and self._tape.failure is not None and not self._told_untaped:
            self._told_untaped = True
            self._shown(self.stamp(Notice(self._tape.loss)))

    def _shown(self, event: Event, *, again: bool = False) -> None:
        if self._tape is not None and not again:
            self._tape.take(event)
        if self._show is None:
            return
        try:
            self._show(event)
        except (BrokenPipeError, OutputError):
            raise
        except Exception as error:
            self._show, self._plain = self._plain, None
            kind, reason = type(error).__name__, " ".join(str(error).split())
            what = f"{kind}: {reason}" if reason else kind
            self.emit(Notice(f"the display failed and is plain from here on ({what}); please report it"))
            self._shown(event, again=True)


class KeptAnswers:
    """Answer, thinking and results of every turn, for `/last`, `/copy` and `/think`; collected from the events."""

    def __init__(self) -> None:
        self._turns: dict[int, tuple[str, str, tuple[ToolResult, ...]]] = {}
        """Answer, thinking and results by the turns' numbers, also of those that the chat has left."""
        self._line: dict[int, None] = {}
        """The numbers of the turns that it has now, in order."""
        self._text = ""
        self._thinking = ""
        self._thought_apart = False
        self._round_ended = False
        self._apart = False
        """Whether something came behind the text that is no text: words must not run together."""
        self._calls: list[str] = []
        self._came: dict[str, ToolResult] = {}
        self._whole: dict[str, ToolResult] = {}

    @property
    def answer(self) -> str:
        """Of the last turn."""
        return self._of_last[0]

    @property
    def thinking(self) -> str:
        """Of the turn under way, else of the last one."""
        return self._thinking or self._of_last[1]

    @property
    def _of_last(self) -> tuple[str, str]:
        return next((self._turns[number][:2] for number in reversed(self._line) if number in self._turns), ("", ""))

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """Those of the turn under way, else of the last turn that had any; in call order."""
        turns = (self._turns[number][2] for number in reversed(self._line) if number in self._turns)
        return self._ordered() or next(filter(None, turns), ())

    def whole(self, result: ToolResult, kept: Kept | None = None) -> None:
        """Keep a result that the model will be shown a part of; where this is too long for that, it names its file."""
        if isinstance(result, CutResult):
            result = replace(result, content=result.excerpt.text(kept))
        self._whole[result.call_id] = result

    def see(self, body: EventBody, turn: int) -> None:
        """Follow an event of a turn; 0 for one between turns."""
        match body:
            case events.TurnStarted():
                self._text = self._thinking = ""
                self._calls, self._came, self._whole = [], {}, {}
            case events.TextDelta(text):
                # What stood before calls was not the answer yet, but is better than none.
                if self._round_ended:
                    self._text = text
                else:
                    self._text = joined(self._text, text) if self._apart else self._text + text
                self._round_ended = self._apart = False
                self._thought_apart = True
            case events.ThinkingDelta(text):
                self._thinking = joined(self._thinking, text) if self._thought_apart else self._thinking + text
                self._apart, self._thought_apart = True, False
            case events.CallProposed(call):
                self._calls.append(call.id)
                self._apart = self._thought_apart = True
            case events.CallFinished(result):
                self._came[result.call_id] = self._whole.get(result.call_id, result)
            case events.RoundFinished():
                self._round_ended = True
            case events.HistoryEdited(events.RoundRetried(number)) if number in self._turns:
                # The turn goes on: what its calls came to stays.
                _, self._thinking, results = self._turns[number]
                self._calls = [result.call_id for result in results]
                self._came = {result.call_id: result for result in results}
            case events.TurnFinished():
                self._turns[turn] = (self._text, self._thinking, self._ordered())
                self._line.pop(turn, None)
                self._line[turn] = None
                self._came, self._thinking = {}, ""

    def _ordered(self) -> tuple[ToolResult, ...]:
        return tuple(self._came[id_] for id_ in self._calls if id_ in self._came)

    def go_to(self, numbers: tuple[int, ...]) -> None:
        """These are the turns now: some were taken back, summed up, or gone back to."""
        self._line = dict.fromkeys(numbers)

    def forget(self) -> None:
        """All turns were."""
        self._turns, self._line = {}, {}

"""Renders the events of a chat as plain lines without control sequences: for plain mode, and after a display failed."""

from __future__ import annotations

import re
from collections.abc import Callable

from toolchat.ui.calls import call_text, output_rows, writing_text
from toolchat.ui.cards import Card
from toolchat.ui.progress import milestone
from toolchat.ui.text.sanitize import sanitize
from toolchat.wire import events
from toolchat.wire.events import Event
from toolchat.wire.messages import ToolCall

UNWRAPPED = 100_000
"""Columns: the terminal breaks rows itself, and a screen reader needs none broken."""

LONG_CALL = 1000
"""Bytes of arguments from which a call is told of while it is written: some ten seconds on a CPU."""

_PERCENT = re.compile(r" \((\d+) %\)$")


class PlainLines:
    """Consumes events; a line is given to `line` once it is whole."""

    def __init__(
        self,
        line: Callable[[str], None],
        clock: Callable[[], float],
        *,
        to_person: bool,
        answer: Callable[[str], None] | None = None,
    ) -> None:
        """`to_person` has the engine's states told too; `answer` is given the lines of the answer, None for `line`."""
        self._line = line
        self._answer = answer or line
        self._clock = clock
        self._to_person = to_person
        self._cards: dict[str, Card] = {}
        self._text = ""
        self._thinking = False
        self._reached = ("", 0)
        self._tell_size = LONG_CALL
        """Bytes of a call's arguments from which it is told of next."""
        self.state = ""
        """The engine's, as it was last told."""

    def show(self, event: Event) -> None:
        """Consume an event of the session."""
        match event.body:
            case events.EngineState(state, detail):
                self._engine(state, detail)
            case events.TextDelta(text):
                self._stream(text, thinking=False)
            case events.ThinkingDelta(text):
                self._stream(text, thinking=True)
            case events.CallWriting(name, size):
                self.end_text()
                self._writes(name, size)
            case events.CallProposed(call):
                self.end_text()
                self._tell_size = LONG_CALL
                self._cards[call.id] = Card(call)
            case events.CallStarted(call):
                self._cards.setdefault(call.id, Card(call)).start(call, self._clock())
                self._line(f"→ {call_text(call)}")
            case events.ToolOutput(_, text):
                for row in output_rows(text)[0]:
                    self._line(f"  │ {row}")
            case events.CallFinished(result):
                # Another display may have been told of the call, and failed.
                card = self._cards.pop(result.call_id, None) or Card(ToolCall(result.call_id, result.name, {}))
                for fragments in card.rows(result, UNWRAPPED):
                    self._line("".join(text for _, text in fragments))
            case events.Notice(text):
                self._line(f"toolchat: {sanitize(text)}")
            case events.Interrupted():
                self.end_text()
                self._line("interrupted")
            case events.HistoryEdited(events.TurnsSummarised(text=text) | events.SummaryChanged(text=text)):
                self._line("summary of the older turns:")
                for row in sanitize(text).splitlines():
                    self._line(f"  {row}")
            case events.TurnFinished():
                self.end_text()

    def end_turn(self) -> None:
        """Say what is left of a turn, however it ended."""
        self.end_text()
        self._cards.clear()
        self._tell_size = LONG_CALL

    def _engine(self, state: str, detail: str) -> None:
        # "fetching 3.2 of 14.5 GB (22 %)" is told once in each tenth.
        percent = _PERCENT.search(state)
        word = state[: percent.start()] if percent is not None else state
        reached = milestone(word, int(percent[1]) / 100 if percent is not None else 0.0)
        told, self.state, self._reached = self._reached, word, reached
        if reached == told:
            return
        if word == "crashed" or (word == "failed" and self._to_person):
            self._line(f"toolchat: {sanitize(detail)}")
        elif self._to_person:
            words = state if reached[0] != word else word
            self._line(sanitize(f"{detail}: {words}" if detail else words))

    def _stream(self, text: str, *, thinking: bool) -> None:
        """A line once it is whole: what is read aloud should not stop in the middle of a word."""
        if thinking != self._thinking:
            self.end_text()
            self._thinking = thinking
        *whole, self._text = (self._text + text).replace("\r\n", "\n").split("\n")
        for line in whole:
            self._say(sanitize(line), thinking=thinking)

    def end_text(self) -> None:
        if self._text:
            text, self._text = self._text, ""
            self._say(sanitize(text), thinking=self._thinking)

    def _writes(self, name: str, size: int) -> None:
        """Tell of a call that takes long to write: each time it has grown to twice what was told."""
        if self._to_person and size >= self._tell_size:
            self._tell_size = 2 * size
            self._line(f"→ {writing_text(name, size)}")

    def _say(self, line: str, *, thinking: bool) -> None:
        if thinking:
            self._line(f"  (thinking) {line}")
        else:
            self._answer(line)

"""What a user may want to see or copy again of the last turns; collected from the events of a session."""

from __future__ import annotations

from dataclasses import replace

from toolchat.wire import events
from toolchat.wire.events import EventBody
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import CutResult, ToolResult, joined


class Heard:
    """Answer and results of every turn."""

    def __init__(self) -> None:
        self._turns: list[tuple[str, tuple[ToolResult, ...]]] = []
        self._text = ""
        self._round_ended = False
        self._apart = False
        """Whether something came behind the text that is no text: words must not run together."""
        self._calls: list[str] = []
        self._came: dict[str, ToolResult] = {}
        self._whole: dict[str, ToolResult] = {}

    @property
    def answer(self) -> str:
        """Of the last turn."""
        return self._turns[-1][0] if self._turns else ""

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """Those of the turn under way, else of the last turn that had any; in call order."""
        return self._ordered() or next((results for _, results in reversed(self._turns) if results), ())

    def whole(self, result: ToolResult, kept: Kept | None = None) -> None:
        """Keep a result that the model will be shown a part of; where this is too long for that, it names its file."""
        if isinstance(result, CutResult):
            result = replace(result, content=result.excerpt.text(kept))
        self._whole[result.call_id] = result

    def see(self, body: EventBody) -> None:
        match body:
            case events.TurnStarted():
                self._text = ""
                self._calls, self._came, self._whole = [], {}, {}
            case events.TextDelta(text):
                # What stood before calls was not the answer yet, but is better than none.
                if self._round_ended:
                    self._text = text
                else:
                    self._text = joined(self._text, text) if self._apart else self._text + text
                self._round_ended = self._apart = False
            case events.ThinkingDelta():
                self._apart = True
            case events.CallProposed(call):
                self._calls.append(call.id)
                self._apart = True
            case events.CallFinished(result):
                self._came[result.call_id] = self._whole.get(result.call_id, result)
            case events.RoundFinished():
                self._round_ended = True
            case events.HistoryEdited(events.RoundRetried()) if self._turns:
                # The turn goes on: what its calls came to stays.
                _, results = self._turns.pop()
                self._calls = [result.call_id for result in results]
                self._came = {result.call_id: result for result in results}
            case events.TurnFinished():
                self._turns.append((self._text, self._ordered()))
                self._came = {}

    def _ordered(self) -> tuple[ToolResult, ...]:
        return tuple(self._came[id_] for id_ in self._calls if id_ in self._came)

    def forget_turn(self) -> None:
        """The last turn was taken back."""
        if self._turns:
            self._turns.pop()

    def forget(self) -> None:
        """All turns were."""
        self._turns = []

"""What a user may want to see or copy again of the last turns; collected from the events of a session."""

from __future__ import annotations

from toolchat.wire import events
from toolchat.wire.events import EventBody
from toolchat.wire.messages import ToolResult


class Heard:
    """Answer and results of every turn."""

    def __init__(self) -> None:
        self._turns: list[tuple[str, tuple[ToolResult, ...]]] = []
        self._text = ""
        self._round_ended = False
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

    def whole(self, result: ToolResult) -> None:
        """Keep a result that the model will be shown a part of."""
        self._whole[result.call_id] = result

    def see(self, body: EventBody) -> None:
        match body:
            case events.TurnStarted():
                self._text = ""
                self._calls, self._came, self._whole = [], {}, {}
            case events.TextDelta(text):
                # What stood before calls was not the answer yet, but is better than none.
                self._text = text if self._round_ended else self._text + text
                self._round_ended = False
            case events.CallProposed(call):
                self._calls.append(call.id)
            case events.CallFinished(result):
                self._came[result.call_id] = self._whole.get(result.call_id, result)
            case events.RoundFinished():
                self._round_ended = True
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

"""The limits of a turn, each with its reason, and the guard that stops a model which repeats the same calls."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from toolchat.wire.messages import ToolCall


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of one turn; defaults are for a person who watches."""

    rounds: int = 8
    """Generations with tool calls in one turn: peers allow a local model 5 to 10; one that needs more is lost."""
    calls_per_round: int = 16
    """More are answered with an error: nobody reads so many, and a small model that repeats itself writes dozens."""
    reminder_at: int = 3
    """The same call with the same arguments, so many times in a turn: its result then says so to the model."""
    stop_at: int = 5
    """And so many times: the turn ends. Threads on peers report up to 220 identical calls where nothing stops them."""


class Repetition(StrEnum):
    FINE = "fine"
    REMIND = "remind"
    STOP = "stop"


@dataclass(slots=True)
class RepeatGuard:
    """Counts equal calls within one turn. Equal are name and arguments, whatever the order of the keys."""

    limits: Limits
    _seen: Counter[str] = field(default_factory=Counter)

    def see(self, call: ToolCall) -> Repetition:
        """Count this call, and say what is to be done about it."""
        key = f"{call.name} {json.dumps(call.arguments, sort_keys=True)}"
        self._seen[key] += 1
        if self._seen[key] >= self.limits.stop_at:
            return Repetition.STOP
        return Repetition.REMIND if self._seen[key] >= self.limits.reminder_at else Repetition.FINE

    def reminder(self, call: ToolCall) -> str:
        """What the model is told under the result of a call that it has made too often."""
        key = f"{call.name} {json.dumps(call.arguments, sort_keys=True)}"
        return (
            f"[This is call number {self._seen[key]} of {call.name} with the same arguments in this turn. "
            "Its result will not change: answer with what you have, or do something else.]"
        )

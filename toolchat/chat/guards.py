"""The limits of a turn, in one place, each with the reason for its value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of one turn; defaults are for a person who watches."""

    rounds: int = 8
    """Generations with tool calls in one turn: peers allow a local model 5 to 10; one that needs more is lost."""
    call_seconds: float = 60.0
    """For one tool call."""

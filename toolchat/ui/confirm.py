"""The dialog in which a user says whether older turns are to be summed up: a state machine, as that of approval."""

from __future__ import annotations

from typing import Any

from toolchat.session.room import Fullness, turns_text
from toolchat.ui.approval import ARMING_SECONDS
from toolchat.ui.approval_text import Row, prose

_ANSWERS = {"y": True, **dict.fromkeys(("n", "c-m", "c-j", "enter", "escape", "c-d"), False)}
_KEYS = "y sum them up · n not now · Ctrl-C: do not ask the question"


def full_text(full: Fullness) -> str:
    share, tokens = f"{100 * full.used / full.window:.0f} %", f"{full.used:,} of {full.window:,} tokens"
    return f"The context is {share} full ({tokens}). Sum {turns_text(full.turns)} up before the question?"


class RoomDialog:
    """`result` is whether; None for Ctrl-C.

    A key counts once the dialog is on the screen and none has come for a while: what was typed ahead changes nothing.
    """

    text = ""

    def __init__(self, full: Fullness) -> None:
        self.state = "question"
        self.result: bool | None = None
        self.candidate: dict[str, Any] = {}
        self._full = full
        self._quiet_since: float | None = None

    def take_above(self, width: int, height: int | None = None) -> list[Row]:
        return []

    def rows(self, width: int, now: float) -> list[Row]:
        at = self.arms_at
        style = "key" if at is not None and now >= at else "dim"
        return [*prose("title", full_text(self._full), width), *prose(style, _KEYS, width)]

    @property
    def arms_at(self) -> float | None:
        waiting = self.state == "question" and self._quiet_since is not None
        return self._quiet_since + ARMING_SECONDS if waiting and self._quiet_since is not None else None

    def opened(self, now: float, *, dropped: bool = False) -> None:
        self._quiet_since = now

    def covered(self) -> None:
        self._quiet_since = None

    def resized(self, width: int) -> None:
        self.covered()

    def key(self, name: str, now: float) -> None:
        at = self.arms_at
        if name == "c-c":
            self.state = "done"
        elif at is not None and now >= at and name in _ANSWERS:
            self.state, self.result = "done", _ANSWERS[name]
        elif self._quiet_since is not None:
            self._quiet_since = now

    def submit(self, text: str, now: float) -> None:
        """There is nothing to write."""

    def validated(self, problem: str | None, now: float) -> None:
        """Nor to check."""

    def cancel(self, now: float) -> None:
        """Nor to leave."""

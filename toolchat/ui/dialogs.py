"""The dialogs in which a user decides, as state machines: on a call, and on summing older turns up.

They draw nothing, read nothing and have no clock. Whoever owns the terminal prints `take_above`, shows `rows`, passes
on keys, and finds the answer in `result`. A call is printed once, in full, above the live rows: it is never cut, and
the terminal's own scrolling reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from toolchat.chat.approval import PendingCall, Reply, Scope
from toolchat.tools.rules import Likeness, call_of, canonical
from toolchat.tools.rules import likeness as find_likeness
from toolchat.tools.toolbox import Tool
from toolchat.ui.approval_text import Row, editable, parse_arguments, pending_rows, prose, question_of
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.ui.text.wrapping import folded, hanging

if TYPE_CHECKING:
    from toolchat.session.room import Fullness

ARMING_SECONDS = 0.4
"""After so long without a key, what is typed is meant for the dialog: who goes on typing leaves less between two keys
(at 60 words a minute 200 ms), and who has read the question takes longer."""

_ANSWERS = {
    "y": Reply(True),
    "s": Reply(True, Scope.SESSION),
    "S": Reply(True, Scope.SESSION, exact=True),
    "a": Reply(True, Scope.ALWAYS),
    "A": Reply(True, Scope.ALWAYS, exact=True),
    "p": Reply(True, Scope.SESSION),
    "P": Reply(True, Scope.ALWAYS),
    **dict.fromkeys(("n", "c-m", "c-j", "enter", "escape", "c-d"), Reply(False)),
}
_KEYS = ("y once", "s this session", "a always", "e edit", "n no", "r no, and why")
_ANSWER_KEYS = ("y send", "e edit", "n decline")
_ALLOWING = frozenset("ysSaApP")
_BY_PATTERN = ("p", "P")
_ONWARD = frozenset((" ", "c-m", "c-j", "enter", "pagedown", "down"))
_UNSEEN_KEYS = ("Space: more of it", "n no", "r no, and why")
LEAST_PAGE = 4
"""Rows of a call that are shown at once, however low the screen is."""
_TOO_SOON = "What was typed came too soon to be an answer: wait a moment and press again."
_FURTHER = "S, A: only with these arguments. Enter, Esc: no. Ctrl-C: no, and end the turn."
_ANSWER_FURTHER = "Enter, Esc, Ctrl-C: no answer."


class State(StrEnum):
    QUESTION = "question"
    EDIT = "edit"
    """The host shows an editor that begins with `text`, and calls `submit` or `cancel`."""
    CHECKING = "checking"
    """The host awaits the call's `validate` with `candidate`, and calls `validated`."""
    REASON = "reason"
    """The host asks for a line, and calls `submit` or `cancel`."""
    DONE = "done"


_EDIT_KEYS = ("Enter: check", "Esc: back", "Ctrl-C: no, and end the turn")
_REASON_KEYS = ("Enter: decline", "Esc: back")


class ApprovalDialog:
    """One question about one call. Times are seconds of any clock that does not go back, the same for all methods.

    A key counts once the dialog is on the screen and none has come for `ARMING_SECONDS`; an earlier one is swallowed,
    which `rows` says, and begins that time anew. So nothing typed without a pause since before the dialog opened can
    allow a call.
    """

    def __init__(self, pending: PendingCall) -> None:
        self.state = State.QUESTION
        self.result: Reply | None = None
        self.text = ""
        """What the editor of `State.EDIT` or `State.REASON` begins with."""
        self.candidate: dict[str, Any] = {}
        """In `State.CHECKING`, the edited arguments."""
        self._pending = pending
        self._arguments = pending.call.arguments
        self._like: Likeness | None = None
        """What p and P grant, as `rows` shows it."""
        self._like_text = ""
        self._printed = False
        self._due = False
        self._width = 0
        self._unseen: list[Row] = []
        """Rows of the call that are not printed yet: no key can allow it before."""
        self._problem = ""
        self._quiet_since: float | None = None
        self._too_soon = False

    def take_above(self, width: int, height: int | None = None) -> list[Row]:
        """What is to be printed above the live rows now, once: the call, or the call as edited. Empty if not new.

        A call of more than `height` rows comes in pages; the user asks for the next one.
        """
        if self.state is not State.QUESTION:
            return []
        if not self._printed:
            self._printed = self._due = True
            self._like, self._like_text = offer(self._pending.tool, self._arguments)
            self._width = width
            self._unseen = pending_rows(self._pending, self._arguments, width, edited=self._edited)
        if not self._due:
            return []
        self._due = False
        size = len(self._unseen) if height is None else max(height, LEAST_PAGE)
        page, self._unseen = self._unseen[:size], self._unseen[size:]
        return page

    def resized(self, width: int) -> None:
        """The screen has `width` columns now. What is printed may have been wrapped anew, so that no mark begins a row:
        on a narrower screen the call is printed again, and no key counts until it is `opened`.
        """
        self.covered()
        if width < self._width:
            self._printed = False

    def rows(self, width: int, now: float) -> list[Row]:
        """The live rows, each at most `width` columns."""
        name = sanitize_line(self._pending.tool.name)
        match self.state:
            case State.QUESTION:
                if self._unseen:
                    left = (
                        f"{len(self._unseen):,} more rows of this call of {name}. What you have not seen cannot be run."
                    )
                    below = prose("text", _TOO_SOON, width) if self._too_soon else []
                    return [*prose("title", left, width), *self._key_rows(_UNSEEN_KEYS, width, now), *below]
                asked = self._pending.elicitation is not None
                keys = self._key_rows(_ANSWER_KEYS if asked else _KEYS, width, now)
                below = prose("dim", _ANSWER_FURTHER if asked else _FURTHER, width)
                like = [("text", row) for row in hanging(self._like_text, width)] if self._like_text else []
                if self._too_soon:
                    # In as many rows: nothing moves under the eyes of who reads.
                    told = prose("text", _TOO_SOON, width)
                    below = [*told, *[("dim", "")] * (len(below) - len(told))]
                title = prose("title", question_of(self._pending, changed=self._edited), width)
                return [*title, *keys, *like, *below]
            case State.EDIT:
                problem = prose("error", self._problem, width) if self._problem else []
                return [
                    *prose("title", f"{_edited_text(self._pending)}, as JSON:", width),
                    *problem,
                    *[("dim", row) for row in _joined(_EDIT_KEYS, width)],
                ]
            case State.CHECKING:
                return prose("dim", "The arguments are being checked.", width)
            case State.REASON:
                return [
                    *prose("title", f"Why not? {name} is not run, and the model reads your answer:", width),
                    *[("dim", row) for row in _joined(_REASON_KEYS, width)],
                ]
        return []

    @property
    def arms_at(self) -> float | None:
        """When keys begin to count if none comes before; None while there is no question on the screen."""
        waiting = self.state is State.QUESTION and self._quiet_since is not None
        return self._quiet_since + ARMING_SECONDS if waiting and self._quiet_since is not None else None

    def armed(self, now: float) -> bool:
        """Whether a key counts."""
        return (at := self.arms_at) is not None and now >= at

    def opened(self, now: float, *, dropped: bool = False) -> None:
        """The dialog is on the screen, and what had been typed before is thrown away; `dropped` if there was any."""
        self._quiet_since = now
        self._too_soon |= dropped

    def covered(self) -> None:
        """The question is not on the screen any more, or was not for a while: no key counts until it is `opened`."""
        self._quiet_since = None

    def key(self, name: str, now: float) -> None:
        """A key: a character, or its name in prompt_toolkit ("escape", "c-c"). One that means nothing is swallowed."""
        if self.state is State.DONE:
            return
        if name == "c-c":
            # Never swallowed: it can only decline.
            self._finish(Reply(False, end_turn=True))
        elif self.state is State.QUESTION:
            counts = self.armed(now)
            self._too_soon = not counts
            if counts and self._unseen and name in _ONWARD:
                self._due = True
                self._quiet_since = now
            elif (
                counts
                and not (name in _BY_PATTERN and self._like is None)
                and self._means_something(name)
                and not (self._unseen and name in _ALLOWING)
            ):
                self._answer(name)
            elif self._quiet_since is not None:
                # Also where it was armed: who types what is no answer is typing to something else.
                self._quiet_since = now

    def submit(self, text: str, now: float) -> None:
        """What was written in the editor. Arguments that cannot be read stay in the editor, and `rows` says why."""
        match self.state:
            case State.REASON:
                self._finish(Reply(False, reason=text.strip()))
            case State.EDIT:
                self.text = text
                try:
                    self.candidate = parse_arguments(text)
                except ValueError as error:
                    self._problem = sanitize_line(str(error))
                else:
                    self.state = State.CHECKING

    def validated(self, problem: str | None, now: float) -> None:
        """What `validate` said of `candidate`: back to the question with it, or to the editor."""
        if self.state is not State.CHECKING:
            return
        if problem is not None:
            self._problem = sanitize_line(problem)
            self.state = State.EDIT
            return
        self._printed = self._printed and canonical(self.candidate) == canonical(self._arguments)
        self._arguments = self.candidate
        self._back(now)

    def cancel(self, now: float) -> None:
        """Leave the editor: back to the question, with the arguments as they were."""
        if self.state in (State.EDIT, State.REASON):
            self._back(now)

    def _means_something(self, key: str) -> bool:
        # An answer to a server's question holds for nothing else.
        if self._pending.elicitation is not None and key in ("s", "S", "a", "A", "r"):
            return False
        return key in _ANSWERS or key in ("e", "r")

    @property
    def _edited(self) -> bool:
        # Not by ==, which takes 1 and true for the same.
        return canonical(self._arguments) != canonical(self._pending.call.arguments)

    def _key_rows(self, keys: tuple[str, ...], width: int, now: float) -> list[Row]:
        return [("key" if self.armed(now) else "dim", row) for row in _joined(keys, width)]

    def _answer(self, key: str) -> None:
        match key:
            case "e":
                self.state, self._problem, self.text = State.EDIT, "", editable(self._arguments)
            case "r":
                self.state, self.text = State.REASON, ""
            case _:
                answer = _ANSWERS[key]
                if key in _BY_PATTERN:
                    answer = replace(answer, like=self._like)
                own = self._arguments if answer.allowed and self._edited else None
                self._finish(replace(answer, arguments=own))

    def _back(self, now: float) -> None:
        self.state = State.QUESTION
        self._quiet_since = now

    def _finish(self, reply: Reply) -> None:
        self.state = State.DONE
        self.result = reply


def _edited_text(pending: PendingCall) -> str:
    if pending.elicitation is not None:
        return f"Your answer to the server {sanitize_line(pending.elicitation.server)}"
    return f"The arguments of {sanitize_line(pending.tool.name)}"


def offer(tool: Tool, arguments: Mapping[str, Any]) -> tuple[Likeness | None, str]:
    """The calls like this one that p and P allow, None where there is nothing to offer; and what is said of that."""
    call = call_of(tool, arguments)
    if tool.options.rules.verdict(call) == "ask":
        return (
            None,
            "Its tools file has such calls asked about: of later ones, only S and A answer that, for these arguments.",
        )
    likeness = find_likeness(call) if tool.source_digest else None
    if likeness is None:
        return None, ""
    return likeness, f"p, P: s, a for calls like it: {sanitize_line(likeness.text(call.folder))}"


def _joined(parts: tuple[str, ...], width: int) -> list[str]:
    """`parts` in as few rows as hold them whole."""
    rows: list[str] = []
    for part in parts:
        if rows and len(rows[-1]) + 3 + len(part) <= width:
            rows[-1] += f" · {part}"
        else:
            rows.append(part)
    return [row for long in rows for row in folded(long, width)]


_ROOM_ANSWERS = {"y": True, **dict.fromkeys(("n", "c-m", "c-j", "enter", "escape", "c-d"), False)}
_ROOM_KEYS = "y sum them up · n not now · Ctrl-C: do not ask the question"


def full_text(full: Fullness) -> str:
    from toolchat.session.room import turns_text

    share, tokens = f"{100 * full.used / full.window:.0f} %", f"{full.used:,} of {full.window:,} tokens"
    return f"The context is {share} full ({tokens}). Sum {turns_text(full.turns)} up before the question?"


class RoomDialog:
    """Asks whether older turns are to be summed up. `result` is whether; None for Ctrl-C.

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
        return [*prose("title", full_text(self._full), width), *prose(style, _ROOM_KEYS, width)]

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
        elif at is not None and now >= at and name in _ROOM_ANSWERS:
            self.state, self.result = "done", _ROOM_ANSWERS[name]
        elif self._quiet_since is not None:
            self._quiet_since = now

    def submit(self, text: str, now: float) -> None:
        """There is nothing to write."""

    def validated(self, problem: str | None, now: float) -> None:
        """Nor to check."""

    def cancel(self, now: float) -> None:
        """Nor to leave."""

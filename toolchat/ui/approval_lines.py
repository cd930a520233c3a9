"""Asks about a call by typed lines, where single keys cannot be read: for `ask` and for plain terminals.

A line that was typed before the question could be read is no answer, nor one that was typed at the shell while the
program was stopped (Ctrl-Z and `fg`), which `Stops` notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

from toolchat.chat.approval import PendingCall, Reply, Scope
from toolchat.tools.rules import canonical
from toolchat.ui.approval_text import editable, parse_arguments, pending_rows, question_of
from toolchat.ui.dialogs import ARMING_SECONDS, LEAST_PAGE, offer
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.ui.text.wrapping import hanging

HELP = """\
  y  once               s  this session     a  always
  n  no (also: Enter)   S, A  the same, only with these arguments
  p, P  the same as s and a, only for calls like it, where that is offered
  r WHY   no, and the model reads why
  e JSON  with other arguments
"""
PROMPT = "[y/s/a/e/n/r, ? explains] "
ANSWER_PROMPT = "[y sends it, e JSON another, n declines] "
MORE = "[{:,} more rows: Enter shows them, n is no] "
TOO_SOON = f"That came too soon to be an answer. {PROMPT}"

_COLUMNS = 80
_SIGNAL_SECONDS = 0.05
"""Within these the signal of a `fg` is handled, though a line came with it."""


class Choice(StrEnum):
    ONCE = "once"
    SESSION = "session"
    SESSION_EXACT = "session_exact"
    ALWAYS = "always"
    ALWAYS_EXACT = "always_exact"
    SESSION_LIKE = "session_like"
    ALWAYS_LIKE = "always_like"
    EDIT = "edit"
    NO = "no"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Typed:
    choice: Choice
    text: str = ""
    """What follows the letter: the reason of a no, the arguments of an edit."""


_WORDS = {
    "y": Choice.ONCE,
    "yes": Choice.ONCE,
    "s": Choice.SESSION,
    "session": Choice.SESSION,
    "S": Choice.SESSION_EXACT,
    "a": Choice.ALWAYS,
    "always": Choice.ALWAYS,
    "A": Choice.ALWAYS_EXACT,
    "p": Choice.SESSION_LIKE,
    "P": Choice.ALWAYS_LIKE,
    "e": Choice.EDIT,
    "edit": Choice.EDIT,
    "n": Choice.NO,
    "no": Choice.NO,
    "r": Choice.NO,
    "": Choice.NO,
    "?": Choice.HELP,
}
_WITH_TEXT = (Choice.EDIT, Choice.NO)
_GRANTS = {
    Choice.ONCE: Reply(True),
    Choice.SESSION: Reply(True, Scope.SESSION),
    Choice.SESSION_EXACT: Reply(True, Scope.SESSION, exact=True),
    Choice.ALWAYS: Reply(True, Scope.ALWAYS),
    Choice.ALWAYS_EXACT: Reply(True, Scope.ALWAYS, exact=True),
    Choice.SESSION_LIKE: Reply(True, Scope.SESSION),
    Choice.ALWAYS_LIKE: Reply(True, Scope.ALWAYS),
}
_BY_PATTERN = (Choice.SESSION_LIKE, Choice.ALWAYS_LIKE)


def parse(line: str) -> Typed | None:
    """What a typed line means; None where it is not understood, which allows nothing."""
    word, _, text = line.strip().partition(" ")
    choice = _WORDS.get(word if len(word) == 1 and word in _WORDS else word.lower())
    if choice is None or (text and choice not in _WITH_TEXT):
        return None
    return Typed(choice, text.strip())


def screen_size(stream: TextIO) -> tuple[int, int]:
    """Columns and rows of the terminal that `stream` is; 80 and 24 where it does not tell."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return columns or _COLUMNS, rows or 24


def _pages(pending: PendingCall, arguments: Mapping[str, Any], size: tuple[int, int] | None, offered: str) -> list[str]:
    """The call in full with these arguments, in pages that fit a screen of `size` columns and rows, each with a prompt.

    The last one asks whether it is to be run.
    """
    columns, rows_of_screen = size or (_COLUMNS, 0)
    edited = canonical(arguments) != canonical(pending.call.arguments)
    rows = [row for _, row in pending_rows(pending, arguments, columns, edited=edited)]
    rows += hanging(offered, columns) if offered else []
    most = max(rows_of_screen - 2, LEAST_PAGE) if rows_of_screen else len(rows)
    pages = [rows[at : at + most] for at in range(0, len(rows), most)]
    left = len(rows)
    texts = []
    for page in pages:
        left -= len(page)
        prompt = ANSWER_PROMPT if pending.elicitation is not None else PROMPT
        asks = f"{question_of(pending)} {prompt}" if page is pages[-1] else MORE.format(left)
        texts.append("".join(f"{row}\n" for row in page) + asks)
    return texts


async def ask_by_lines(
    pending: PendingCall,
    prompt: Callable[[str], Awaitable[str | None]],
    screen: Callable[[], tuple[int, int]] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Reply:
    """Ask until a line is understood.

    `prompt` throws away what was typed before, writes the text as it is, and returns the line that is typed then, or
    None at the end of input, which declines. A line that comes within `ARMING_SECONDS` was on its way before the
    question could be read, and is no answer. `screen` tells its columns and rows: a call that does not fit
    comes in pages, and is not allowed before the last one. What was printed is printed again where the screen has
    become narrower meanwhile: it was wrapped anew, and rows that go on with another one have lost their marks.
    """
    arguments = pending.call.arguments
    size = screen() if screen else None
    like, offered = offer(pending.tool, arguments)
    text, *unseen = _pages(pending, arguments, size, offered)
    while True:
        shown = clock()
        line = await prompt(text)
        if line is None:
            return Reply(False)
        if clock() - shown < ARMING_SECONDS:
            text = TOO_SOON if not unseen else f"That came too soon. {_more(unseen)}"
            continue
        if screen and size and screen()[0] < size[0] and line.strip().lower() not in ("n", "no"):
            size = screen()
            text, *unseen = _pages(pending, arguments, size, offered)
            text = f"The screen has become narrower; this is the call again.\n{text}"
            continue
        if unseen and not line.strip():
            text, *unseen = unseen
            continue
        match parse(line):
            case Typed(choice) if unseen and choice in _GRANTS:
                text = f"What you have not seen cannot be run. {_more(unseen)}"
            case None:
                text = f"Not understood, and nothing is run yet. {PROMPT}"
            case Typed(choice) if choice in _BY_PATTERN and like is None:
                text = f"There are no calls like it to allow: write s, S, a or A. {PROMPT}"
            case Typed(Choice.HELP):
                text = f"{HELP}{PROMPT}"
            case Typed(Choice.NO, reason):
                return Reply(False, reason=reason)
            case Typed(Choice.EDIT, ""):
                one_line = " ".join(editable(arguments).split("\n"))
                text = f"Write e, and the arguments on one line; they are:\n{one_line}\n{PROMPT}"
            case Typed(Choice.EDIT, written):
                try:
                    edited = parse_arguments(written)
                    problem = await pending.validate(edited)
                except ValueError as error:
                    problem = str(error)
                if problem is not None:
                    text = f"{sanitize_line(problem)}\n{PROMPT}"
                else:
                    arguments = edited
                    like, offered = offer(pending.tool, arguments)
                    text, *unseen = _pages(pending, arguments, size, offered)
            case Typed(choice):
                reply = _GRANTS[choice]
                changed = canonical(arguments) != canonical(pending.call.arguments)
                return Reply(
                    True,
                    reply.scope,
                    reply.exact,
                    like if choice in _BY_PATTERN else None,
                    arguments=arguments if changed else None,
                )


def _more(unseen: list[str]) -> str:
    return MORE.format(sum(page.count("\n") for page in unseen))


class Stops:
    """Notices that the program goes on after a stop: no line typed at the shell may answer a question."""

    def __init__(self, resumed: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic) -> None:
        """`resumed` is called whenever the program goes on."""
        self._resumed = resumed
        self._clock = clock
        self._last = -ARMING_SECONDS

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for stops in this block, within a running event loop of the main thread."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCONT, self._continued)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCONT)

    async def typed_blindly(self) -> bool:
        """True where a line that has just come may have been typed before the program went on."""
        await asyncio.sleep(_SIGNAL_SECONDS)
        return self._clock() - self._last < ARMING_SECONDS

    def _continued(self) -> None:
        self._last = self._clock()
        self._resumed()


async def read_awake(
    read: Callable[[str], Awaitable[str | None]], stops: Stops, too_soon: str, text: str
) -> str | None:
    """The line that `read` returns for a prompt, first `text`, and `too_soon` as long as it was typed blindly."""
    line = await read(text)
    while await stops.typed_blindly():
        line = await read(too_soon)
    return line

"""The question about a call where there is no key at a time: typed lines, for `ask` and for plain terminals."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from toolchat.chat.approval import Reply, Scope
from toolchat.chat.calls import PendingCall
from toolchat.tools.grant import canonical
from toolchat.ui.approval import ARMING_SECONDS
from toolchat.ui.approval_text import call_rows, editable, parse_arguments
from toolchat.ui.text.sanitize import sanitize_line

HELP = """\
  y  once               s  this session     a  always
  n  no (also: Enter)   S, A  the same, only with these arguments
  r WHY   no, and the model reads why
  e JSON  with other arguments
"""
PROMPT = "[y/s/a/e/n/r, ? explains] "
TOO_SOON = f"That came too soon to be an answer. {PROMPT}"


class Choice(StrEnum):
    ONCE = "once"
    SESSION = "session"
    SESSION_EXACT = "session_exact"
    ALWAYS = "always"
    ALWAYS_EXACT = "always_exact"
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
}


def parse(line: str) -> Typed | None:
    """What a typed line means; None where it is not understood, which allows nothing."""
    word, _, text = line.strip().partition(" ")
    choice = _WORDS.get(word if len(word) == 1 and word in _WORDS else word.lower())
    if choice is None or (text and choice not in _WITH_TEXT):
        return None
    return Typed(choice, text.strip())


def question(pending: PendingCall, arguments: Mapping[str, Any], width: int) -> str:
    """The call in full with these arguments, and the question below it; ends without a newline."""
    edited = canonical(arguments) != canonical(pending.call.arguments)
    rows = call_rows(pending.tool, arguments, width, edited=edited)
    return "".join(f"{row}\n" for _, row in rows) + f"Run {sanitize_line(pending.tool.name)}? {PROMPT}"


async def ask_by_lines(
    pending: PendingCall,
    prompt: Callable[[str], Awaitable[str | None]],
    width: int = 80,
    clock: Callable[[], float] = time.monotonic,
) -> Reply:
    """Ask until a line is understood.

    `prompt` throws away what was typed before, writes the text as it is, and returns the line that is typed then, or
    None at the end of input, which declines. A line that comes within `ARMING_SECONDS` was on its way before the
    question could be read, and is no answer.
    """
    arguments = pending.call.arguments
    text = question(pending, arguments, width)
    while True:
        shown = clock()
        line = await prompt(text)
        if line is None:
            return Reply(False)
        if clock() - shown < ARMING_SECONDS:
            text = TOO_SOON
            continue
        match parse(line):
            case None:
                text = f"Not understood, and nothing is run yet. {PROMPT}"
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
                    text = question(pending, arguments, width)
            case Typed(choice):
                reply = _GRANTS[choice]
                changed = canonical(arguments) != canonical(pending.call.arguments)
                return Reply(True, reply.scope, reply.exact, arguments=arguments if changed else None)

"""Tells input lines that are commands from questions that begin with a slash or an exclamation mark.

A question may begin with any text: a space or a second slash before it says that it is no command.
"""

from __future__ import annotations

import re

_COMMAND = re.compile(r"/[A-Za-z]")
_SHELL = re.compile(r"![\w./~($\"'{][^\n]*\Z")
_ESCAPED = re.compile(r" (?= *[/!])|/(?=/[A-Za-z])")


def is_command(line: str) -> bool:
    """True for a slash and a letter at the very beginning."""
    return _COMMAND.match(line) is not None


def is_shell(line: str) -> bool:
    """True for an exclamation mark and a command of the shell behind it, in one row: "!ls", and not "!= is what?"."""
    return _SHELL.match(line) is not None


def question(line: str) -> str:
    """What a line that is no command asks: "//help me" asks "/help me", and so does " /help me"."""
    return _ESCAPED.sub("", line, count=1) if _ESCAPED.match(line) else line


def as_line(text: str) -> str:
    """The line that asks `text`, whatever it begins with: `question(as_line(text)) == text`."""
    return f" {text}" if is_command(text) or is_shell(text) or _ESCAPED.match(text) else text


def split(line: str) -> tuple[str, str]:
    """A command's name, without the slash, and what follows it. Line ends within the latter stay."""
    name, *rest = line[1:].split(maxsplit=1)
    return name, rest[0].rstrip() if rest else ""

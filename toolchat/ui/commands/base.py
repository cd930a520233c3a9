"""What a slash command is: which input lines are one, its context, and the outcome it returns to the terminal's owner.

A question may begin with any text: a space or a second slash before it says that it is no command. The first line that
is sent waits for this module, so it imports rich only where something is said.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from toolchat.ui.text.sanitize import sanitize
from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from rich.text import Text

    from toolchat.models.choice import LocalModel
    from toolchat.session.session import Session

QUIET = "dim"
WARNING = "yellow"
FAILURE = "red"

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be done now, by whoever owns the terminal."""

    lines: tuple[Text, ...] = ()
    """To print, one after the other; safe for a terminal. They may be longer than it is wide."""
    ask: str | None = None
    """A question to ask at once."""
    retry_round: bool = False
    """Whether to go on at once with the turn that the engine's failure ended."""
    put: str | None = None
    """What the input line is to hold, for the user to go on with."""
    words: tuple[str, ...] = ()
    """Mentions in `put` that stay words: what they name did not go along when it was sent."""
    images: tuple[Image, ...] = ()
    """Those of `ask`, or of `put`."""
    pick: str = ""
    """The beginning of a command, of whose completions the user is to pick one; `lines` are for where none can be."""
    attach: tuple[Image, ...] = ()
    """To go along with the next question."""
    edit: str | None = None
    """A text to open an editor with; what comes of it goes into the input line."""
    folds_thinking: bool | None = None
    """Whether the model's thinking is to be folded from now on; None leaves it."""
    write: str = ""
    """A control sequence for the terminal itself, to be written as it is."""
    quit: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    """What stands in the line afterwards; a space at its end says that more is to follow."""
    help: str
    """One line, safe for a terminal."""
    replaces: int
    """How many characters before the cursor it takes the place of."""


def _models_here() -> Sequence[LocalModel]:
    # Not needed for a prompt to appear, and slow to import.
    from toolchat.models.choice import local_models
    from toolchat.settings import cache_folder

    return local_models(cache_folder())


@dataclass(frozen=True, slots=True)
class Context:
    """What commands act on, and what they know of their surroundings."""

    chat: Session
    width: Callable[[], int] = lambda: shutil.get_terminal_size().columns
    """Columns of the terminal."""
    models: Callable[[], Sequence[LocalModel]] = _models_here
    """Those that are on this machine."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


class Waits(StrEnum):
    """Whether a command has to wait for the turn under way, since it changes what the turn stands on."""

    NEVER = "never"
    WITH_ARGUMENT = "with argument"
    """Without an argument it only shows something."""
    ALWAYS = "always"


def no_completions(_: Context, __: str) -> list[Completion]:
    return []


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    help: str
    """At most 28 characters, so that /help has one row for each in 40 columns."""
    run: Callable[[Context, str], Awaitable[Outcome]]
    """Given what follows the name. Raises UsageError where that is wrong, and what the chat raises."""
    takes: str = ""
    """What may follow the name: "NAME on|off", or "[TEXT]" where it may be left out; empty for nothing."""
    waits: Waits = Waits.NEVER
    complete: Callable[[Context, str], list[Completion]] = no_completions
    """Given what stands between the name and the cursor, which may be nothing."""

    @property
    def usage(self) -> str:
        return f"/{self.name} {self.takes}".rstrip()


def say(text: str, style: str = "") -> Text:
    """`text` as a line, made safe."""
    from rich.text import Text

    return Text(sanitize(text), style=style)


def told(*texts: str, style: str = "") -> Outcome:
    """An outcome that only says something, a line for each text."""
    return Outcome(tuple(say(text, style) for text in texts))


def matching(word: str, names: Sequence[str]) -> list[str]:
    """The names that hold `word`, those that begin with it first."""
    wanted = word.lower()
    found = [name for name in names if wanted in name.lower()]
    return sorted(found, key=lambda name: not name.lower().startswith(wanted))

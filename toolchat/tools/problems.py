"""Collects the problems of a tools file while it is read, and reports them all in the order of the file.

A failure in a person's own code becomes one line that names the place in that code; never a traceback.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from toolchat.wire.errors import UsageError


def reason(error: BaseException, folder: Path) -> str:
    """ "ValueError: no key (my_tools.py:3)": one line, with the line of the person's code that raised it."""
    text, where = _message(error), _raised_at(error, folder)
    if isinstance(error, SyntaxError) and error.filename:
        text, where = error.msg, f"{_relative(error.filename, folder)}:{error.lineno}"
    kind = type(error).__name__
    line = " ".join(f"{kind}: {text}".split()) if text else kind
    return f"{line} ({where})" if where else line


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _raised_at(error: BaseException, folder: Path) -> str | None:
    """The innermost line in `folder`, else the innermost of all, the import machinery left out."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and not _ours(frame.filename)
    ]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(folder)]
    if not frames:
        return None
    frame = (own or frames)[-1]
    return f"{_relative(frame.filename, folder)}:{frame.lineno}"


def _ours(filename: str) -> bool:
    return filename == importlib.__file__ or Path(filename).parent == Path(__file__).parent


def _relative(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else filename


def with_article(noun: str) -> str:
    """ "an int", "a dict"."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where in the file something stands; line and column count from 1."""

    line: int
    column: int

    @classmethod
    def of(cls, node: yaml.Node) -> Place:
        return cls(node.start_mark.line + 1, node.start_mark.column + 1)


class Problems:
    """The problems of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[Place, str]] = []

    def add(self, place: Place | yaml.Node, what: str) -> None:
        """Note `what`: "what is wrong; what was expected; what to do"."""
        self._found.append((place if isinstance(place, Place) else Place.of(place), what))

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def count(self) -> int:
        return len(self._found)

    def where(self, place: Place) -> str:
        """ "FILE:LINE:COL"."""
        return f"{self._path}:{place.line}:{place.column}"

    def error(self) -> UsageError:
        """All of them, one a line."""
        rows = [f"{self.where(place)}: {what}" for place, what in sorted(self._found)]
        # A key of the file may hold newlines, and what follows one would look like a line of toolchat's own.
        return UsageError("\n".join(row.replace("\n", "⏎") for row in rows))


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """'did you mean "greet"?', or `otherwise` where nothing known is near."""
    choices = {choice.lower(): choice for choice in known}
    near = get_close_matches(name.lower(), choices, n=1)
    return f'did you mean "{choices[near[0]]}"?' if near else otherwise

"""Collects the problems of a tools file while it is read, and reports them all in the order of the file.

A failure in a person's own code becomes one line that names the place in that code; never a traceback. Of tools that
work there is `advice`: how they are offered, and what would help a model call them.
"""

from __future__ import annotations

import importlib
import os
import re
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from toolchat.wire.errors import UsageError

if TYPE_CHECKING:  # a chat speaks of names that are near another, and reads no YAML
    import yaml

    from toolchat.tools.toolbox import Tool

_SHOWN_OF_ONE_PLACE = 5
"""Problems of one entry that an error shows where it has more than twice as many: a class may have 160 methods."""
_LISTED = 6
_PLACED = re.compile(r"(?P<where>.*?:\d+:\d+): ")


class ToolsFileError(UsageError):
    """What is wrong with a tools file. The message leaves out most of many problems at one place."""

    def __init__(self, problems: Sequence[str], notes: Sequence[str] = ()) -> None:
        """Both hold rows "FILE:LINE:COL: what"; `notes` are notices of the tools that nothing is wrong with."""
        super().__init__("\n".join(_shortened(problems)))
        self.problems = tuple(problems)
        self.notes = tuple(notes)


def problems_of(error: UsageError) -> tuple[str, ...]:
    """One row for each problem that was found with a tools file."""
    return error.problems if isinstance(error, ToolsFileError) else tuple(str(error).splitlines())


def _shortened(problems: Sequence[str]) -> list[str]:
    shown: list[str] = []
    for where, group in groupby(problems, _where):
        rows = list(group)
        if where and len(rows) > 2 * _SHOWN_OF_ONE_PLACE:
            left_out = len(rows) - _SHOWN_OF_ONE_PLACE
            more = f"{where}: {left_out} more problems at this place; toolchat tools check lists all of them"
            rows = [*rows[:_SHOWN_OF_ONE_PLACE], more]
        shown += rows
    return shown


def _where(problem: str) -> str:
    match = _PLACED.match(problem)
    return match["where"] if match else ""


def reason(error: BaseException, folder: Path) -> str:
    """ "ValueError: no key (my_tools.py:3)": one line, with the line of the person's code that raised it."""
    text, where = _message(error), _raised_at(error, folder)
    if isinstance(error, SyntaxError) and error.filename:
        text, where = error.msg, f"{_relative(error.filename, folder)}:{error.lineno}"
    kind = type(error).__name__
    line = " ".join(f"{kind}: {text}".split()) if text else kind
    line = f"{line} ({where})" if where else line
    name = missing_variable(error)
    return line if name is None else f"{line}: tools see few variables; if {name} is set, add env: [{name}] to the tool"


_OS_FILES = (os.__file__, "<frozen os>")


def missing_variable(error: BaseException) -> str | None:
    """The variable that `os.environ[...]` does not have, where that is what was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, KeyError) or not frames or frames[-1].filename not in _OS_FILES:
        return None
    return str(error.args[0]) if error.args else None


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
    file: str = ""
    """Of an included file, its path; empty for the tools file itself."""

    @classmethod
    def of(cls, node: yaml.Node) -> Place:
        return cls(node.start_mark.line + 1, node.start_mark.column + 1)


class Problems:
    """The problems of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[Place, str]] = []
        self.file = ""
        """The included file that is being read, see `Place.file`."""

    def place(self, node: yaml.Node) -> Place:
        """Of a node of the file that is being read."""
        return replace(Place.of(node), file=self.file)

    def add(self, place: Place | yaml.Node, what: str) -> None:
        """Note `what`: "what is wrong; what was expected; what to do"."""
        self._found.append((place if isinstance(place, Place) else self.place(place), what))

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def count(self) -> int:
        return len(self._found)

    def where(self, place: Place) -> str:
        """ "FILE:LINE:COL"."""
        return f"{place.file or self._path}:{place.line}:{place.column}"

    def error(self, notes: Sequence[str] = ()) -> ToolsFileError:
        """All of them, one a line, in the order of the file; `notes` are of what nothing is wrong with."""
        rows = [f"{self.where(place)}: {what}" for place, what in sorted(self._found, key=_in_order)]
        # A key of the file may hold newlines, and what follows one would look like a line of toolchat's own.
        return ToolsFileError([row.replace("\n", "⏎") for row in rows], notes)


def _in_order(problem: tuple[Place, str]) -> tuple[str, Place, str]:
    return problem[0].file, *problem


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """'did you mean "greet"?', or `otherwise` where nothing known is near."""
    choices = {choice.lower(): choice for choice in known}
    near = get_close_matches(name.lower(), choices, n=1)
    return f'did you mean "{choices[near[0]]}"?' if near else otherwise


def advice(tool: Tool) -> list[str]:
    """Notes of one tool, each "FILE:LINE:COL: what; what to do"."""
    notes = []
    if tool.untyped:
        what = f'"{tool.callable_ref}" has no type for {listed(tool.untyped)}'
        notes.append(f"{tool.place}: {what}; the model is offered what could be told of it; add a type hint, or type:")
    bare = [name for name, part in tool.parameters.get("properties", {}).items() if not _is_described(part)]
    if bare:
        what = f'"{tool.callable_ref}" says nothing of {listed(bare)} but the name'
        notes.append(f"{tool.place}: {what}; describe it in the docstring, or under parameters:")
    return notes


def _is_described(part: object) -> bool:
    match part:
        case {"description": str(text)} if text.strip():
            return True
        case {"enum": _} | {"const": _}:
            return True  # the values say what they are
    return False


def listed(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more

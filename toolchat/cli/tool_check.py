"""`toolchat tools check`: every problem of a tools file, and every note that would help, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.tools.code import NotAccepted, ToolsCode
from toolchat.tools.problems import ToolsFileError, advice, problems_of
from toolchat.tools.run import load_toolbox
from toolchat.tools.trust import refusals_noted
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError

_PLACED = re.compile(r"(?P<file>.*?)(:(?P<line>\d+)(:(?P<column>\d+))?)?: (?P<message>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or a note, and where it is; 0 where it has no line or column."""

    file: str
    line: int
    column: int
    message: str

    @classmethod
    def of(cls, row: str, file: str) -> Finding:
        """From "FILE:LINE:COL: message". A name of a file may hold what looks like a place."""
        match = _PLACED.fullmatch(row.removeprefix(file) if row.startswith(f"{file}:") else row)
        if match is None:
            return cls(file, 0, 0, row)
        return cls(match["file"] or file, int(match["line"] or 0), int(match["column"] or 0), match["message"])

    def row(self, kind: str = "") -> str:
        place = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        return sanitize_line(f"{place}: {kind}{self.message}")

    def json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line or None,
            "column": self.column or None,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found."""

    file: str
    tools: tuple[str, ...]
    """The names of the tools, where nothing is wrong."""
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    def text(self) -> str:
        rows = [problem.row() for problem in self.problems]
        rows += [note.row("note: ") for note in self.notes]
        counts = [_count(len(self.tools), "tool")] if not self.problems else [_count(len(self.problems), "problem")]
        counts.append(_count(len(self.notes), "note") if self.notes or self.problems else "nothing to say")
        return "\n".join([*rows, f"{', '.join(counts)}: {sanitize_line(self.file)}"])

    def json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "tools": list(self.tools),
            "problems": [problem.json() for problem in self.problems],
            "notes": [note.json() for note in self.notes],
        }


def check_file(chosen: Path | ToolsCode) -> Checked:
    """Load the tools of a file and report; this runs their modules. Raises NotAccepted where other code would run."""
    file = str(chosen if isinstance(chosen, Path) else chosen.path)
    try:
        with refusals_noted(chosen):
            toolbox = load_toolbox(chosen)
    except NotAccepted:
        raise
    except UsageError as error:
        known = error.notes if isinstance(error, ToolsFileError) else ()
        return Checked(file, (), _findings(problems_of(error), file), _findings(known, file))
    if toolbox.broken:
        return Checked(file, (), _findings(toolbox.broken, file), _findings(toolbox.notices, file))
    notes = [*toolbox.notices, *(note for tool in toolbox.tools if not tool.server for note in advice(tool))]
    return Checked(file, toolbox.names, (), _findings(notes, file))


def _findings(rows: Iterable[str], file: str) -> tuple[Finding, ...]:
    found = [Finding.of(row, file) for row in dict.fromkeys(rows)]
    return tuple(sorted(found, key=lambda finding: (finding.file != file, finding.file, finding.line, finding.column)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

"""Decides which found tools files a person has accepted: a tools file is code (docs/security.md).

Everything here is decided from the text of files; nothing is imported and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.private_file import PrivateFile
from toolchat.settings import state_folder
from toolchat.tools.code import NotAccepted, ToolsCode, read_code
from toolchat.wire.errors import ToolchatError

_FILE = "trusted-tools.json"
_VERSION = 2


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted of one tools file."""

    files: Mapping[str, str]
    """The digest of each file of code by its path, the tools file's own among them."""
    allows: bool
    """Whether its tools that say `approval: allow` may run without asking."""


class TrustStore:
    """The tools files that a person has accepted, kept in `state_dir` for this user alone."""

    def __init__(self, state_dir: Path) -> None:
        self._file = PrivateFile(state_dir / _FILE)

    def read(self, path: Path) -> ToolsCode:
        """The code of the file as it is now, with the files that its imports were refused before.

        Raises:
            UsageError: the file is not a tools file.
            ToolchatError: one of its modules cannot be read.
        """
        refused = self._row(path).get("refused")
        return read_code(path, [file for file in refused if isinstance(file, str)] if isinstance(refused, list) else ())

    def accepted(self, code: ToolsCode) -> Accepted | None:
        """What was accepted of that tools file the last time, as it was then; compare with `code.contents()`."""
        match self._row(code.real):
            case {"files": dict(files), "allows": bool(allows)}:
                return Accepted({str(file): str(digest) for file, digest in files.items()}, allows)
        return None

    def trust(self, code: ToolsCode, *, allows: bool) -> None:
        """Accept exactly this code; `allows`: also that its `approval: allow` counts.

        Raises:
            ToolchatError: the state directory cannot be written.
        """
        refused = self._row(code.real).get("refused", [])
        self._write(code.real, {"files": dict(code.contents()), "allows": allows, "refused": refused})

    def refused(self, path: Path, files: Iterable[str]) -> None:
        """Note that the tools of the file at `path` import `files`, for a person to be asked about them.

        Raises:
            ToolchatError: the state directory cannot be written.
        """
        row = self._row(path)
        known = row.get("refused")
        kept = [file for file in known if isinstance(file, str)] if isinstance(known, list) else []
        self._write(path, {**row, "refused": sorted({*kept, *files})})

    def _row(self, path: Path) -> dict[str, Any]:
        row = _rows(self._file.read()).get(_key(path))
        return row if isinstance(row, dict) else {}

    def _write(self, path: Path, row: dict[str, Any]) -> None:
        self._file.change(lambda data: {"version": _VERSION, "files": {**_rows(data), _key(path): row}})


def _rows(data: Any) -> dict[str, Any]:
    """By path. What cannot be read, and what an earlier version wrote, was accepted by nobody."""
    match data:
        case {"version": 2, "files": dict(rows)}:
            return {str(key): row for key, row in rows.items()}
    return {}


def _key(path: Path) -> str:
    return str(path.resolve())


def note_refusal(source: Path | ToolsCode, refusal: NotAccepted) -> None:
    """Have the next question about a file that was found name the files which its imports led to."""
    if isinstance(source, Path) or not source.closed:
        return
    with suppress(ToolchatError):
        TrustStore(state_folder()).refused(source.real, refusal.files)


@contextmanager
def refusals_noted(source: Path | ToolsCode) -> Iterator[None]:
    """Note what is refused while the tools of `source` are loaded."""
    try:
        yield
    except NotAccepted as error:
        note_refusal(source, error)
        raise

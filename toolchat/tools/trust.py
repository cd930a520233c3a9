"""Whether a tools file that was merely found may be used: it is code, and code needs consent (DESIGN.md, 11).

Everything here is decided from the text of files; nothing is imported and nobody is asked.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from toolchat.private_file import PrivateFile
from toolchat.tools.local_modules import local_files
from toolchat.tools.spec import read_tools_file
from toolchat.wire.errors import ToolchatError

_FILE = "trusted-tools.json"
_VERSION = 1


def is_samples_only(path: Path) -> bool:
    """Whether every callable of the file is one of toolchat's samples, so that nothing of its folder runs.

    Raises:
        UsageError: the file is not a tools file.
    """
    return all(entry.from_samples for entry in read_tools_file(path).entries)


def describe(path: Path) -> list[str]:
    """The callables of the file as it names them, in its order: what a person is asked to accept.

    Raises:
        UsageError: the file is not a tools file.
    """
    return [entry.callable_ref for entry in read_tools_file(path).entries]


def fingerprint(path: Path) -> str:
    """A SHA-256 (hexadecimal) over the tools file and the modules beside it that it leads to.

    Raises:
        UsageError: the file is not a tools file.
        ToolchatError: one of the modules cannot be read.
    """
    entries = read_tools_file(path).entries
    real = path.resolve()
    modules = {entry.target.where for entry in entries if entry.target.file is None and not entry.from_samples}
    files = {real.parent / entry.target.file for entry in entries if entry.target.file is not None}
    digest = hashlib.sha256()
    for file in [real, *local_files(real.parent, modules, files)]:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ToolchatError(f"{file}: cannot be read ({error.strerror}); make it readable") from None
        name = os.fsencode(file.relative_to(real.parent))
        # Lengths before contents: two files must not hash like one file split elsewhere.
        for part in (name, data):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


class TrustStore:
    """The tools files that a person has accepted, kept in `state_dir` for this user alone."""

    def __init__(self, state_dir: Path) -> None:
        self._file = PrivateFile(state_dir / _FILE)

    def is_trusted(self, path: Path) -> bool:
        """Whether this file was accepted, and neither it nor its modules have changed since.

        Raises:
            UsageError: the file is not a tools file.
        """
        return _accepted(self._file.read()).get(_key(path)) == fingerprint(path)

    def trust(self, path: Path, seen: str | None = None) -> None:
        """Accept the file as it is now, or as it was when its fingerprint was `seen` (what a dialog showed).

        Raises:
            UsageError: the file is not a tools file.
            ToolchatError: the state directory cannot be written.
        """
        accepted = seen or fingerprint(path)
        self._file.change(lambda data: {"version": _VERSION, "files": {**_accepted(data), _key(path): accepted}})


def _accepted(data: Any) -> dict[str, str]:
    """Fingerprints by path. What cannot be read was accepted by nobody."""
    match data:
        case {"version": 1, "files": dict(files)}:
            return {str(key): value for key, value in files.items() if isinstance(value, str)}
    return {}


def _key(path: Path) -> str:
    return str(path.resolve())

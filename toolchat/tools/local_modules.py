"""The code beside a tools file that its callables lead to, found by reading, without running any of it.

Each file is read once: the bytes that are looked through for imports are those that its digest is of.
"""

from __future__ import annotations

import ast
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import SOURCE_SUFFIXES, all_suffixes
from pathlib import Path
from typing import BinaryIO

from toolchat.wire.errors import ToolchatError

MAX_SOURCE = 16 * 1024**2
"""Bytes of one source file; the standard library's longest has half a megabyte."""
MAX_COMPILED = 1024**3
"""Bytes of one compiled module."""
MAX_PLACES = 20_000
"""Files and folders in packages: a link may lead to all that a machine holds, and many links to more than that."""
MAX_DEPTH = 100
"""Of folders in packages."""
_PIECE = 1024**2
_SUFFIXES = tuple(all_suffixes())


class LocalModules:
    """The modules in some folders, as they were when each was first looked at."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = sorted(set(folders))
        self._imports: dict[Path, set[str]] = {}
        self._found: dict[str, list[Path]] = {}
        self._places = 0
        self.digests: dict[Path, str] = {}
        """SHA-256 (hexadecimal) of each file that was read, by its path; links in the path are kept."""

    def leads_to(self, modules: Iterable[str] = (), files: Iterable[Path] = ()) -> list[Path]:
        """The files that importing `modules` and `files` can load, sorted.

        Packages count whole, with what they import and with what links in them lead to; compiled modules count as well
        as .py files. An import that is not written as a statement is not seen.

        Raises:
            ToolchatError: one of the files cannot be read.
        """
        reached: set[Path] = set()
        pending = {module.partition(".")[0] for module in modules}
        for file in files:
            if file.is_file():
                reached.add(file)
                pending |= self._imported(file)
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            seen.add(name)
            for path in self._files_of(name):
                if path not in reached:
                    reached.add(path)
                    pending |= self._imported(path) - seen
        return sorted(reached)

    def _files_of(self, name: str) -> list[Path]:
        if name not in self._found:
            self._found[name] = [path for folder in self._folders for path in self._files_in(folder, name)]
        return self._found[name]

    def _files_in(self, folder: Path, name: str) -> Iterator[Path]:
        for suffix in _SUFFIXES:
            path = folder / f"{name}{suffix}"
            if path.is_file():
                yield path
        if (folder / name).is_dir():
            yield from self._files_below(folder / name, frozenset())

    def _files_below(self, folder: Path, above: frozenset[str]) -> Iterator[Path]:
        """The modules in `folder` and below it, through links too, but not around a circle of them."""
        real = os.path.realpath(folder)
        if real in above:
            return
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            return
        self._places += len(entries)
        if self._places > MAX_PLACES or len(above) > MAX_DEPTH:
            most = f"{MAX_PLACES} files and folders, {MAX_DEPTH} deep"
            what = f"{folder}: belongs to a package that the tools import, and there are too many more"
            raise ToolchatError(
                f"{what}; expected at most {most}; remove the link that leads to them, or move the tools"
            )
        for path in entries:
            # __pycache__ is never read by a process of the tools, see `import_guard`.
            if path.name == "__pycache__":
                continue
            if path.is_dir():
                yield from self._files_below(path, above | {real})
            elif path.name.endswith(_SUFFIXES) and path.is_file():
                yield path

    def _imported(self, path: Path) -> set[str]:
        """The top-level names that a file imports; none where it does not parse."""
        if path not in self._imports:
            self._imports[path] = self._read(path)
        return self._imports[path]

    def _read(self, path: Path) -> set[str]:
        digest, source = hashlib.sha256(), path.suffix in SOURCE_SUFFIXES
        pieces: list[bytes] = []
        with opened(path, MAX_SOURCE if source else MAX_COMPILED) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                if source:
                    pieces.append(piece)
        self.digests[path] = digest.hexdigest()
        return _imports(b"".join(pieces))


@contextmanager
def opened(path: Path, most: int) -> Iterator[BinaryIO]:
    """A regular file of at most `most` bytes.

    Raises:
        ToolchatError: it cannot be read, or is something else.
    """
    try:
        # Not to wait for the writer of a pipe that has taken the file's place.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ToolchatError(f"{path}: is no file; expected Python code; remove it")
            # What is sparse takes no room on disk, and all its length in memory.
            if about.st_size > most:
                raise ToolchatError(f"{path}: is larger than {most // 1024**2} MiB; expected Python code; remove it")
            yield file
    except OSError as error:
        raise ToolchatError(f"{path}: cannot be read ({error.strerror}); make it readable") from None


def _imports(source: bytes) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names

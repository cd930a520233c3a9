"""Finds the local modules that a tools file leads to, by reading imports and without running any; reads each once.

Values only: `code` says what counts as a tools file's code, and `import_guard` holds imports to it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import SOURCE_SUFFIXES, all_suffixes
from pathlib import Path
from typing import BinaryIO

from toolchat.tools.installed import Installed, found_elsewhere, local_key
from toolchat.wire.errors import ToolchatError

MAX_SOURCE = 16 * 1024**2
"""Bytes of one source file; the standard library's longest has half a megabyte."""
MAX_COMPILED = 1024**3
"""Bytes of one compiled module."""
MAX_PLACES = 20_000
"""Files and folders in packages: a link may lead to all that a machine holds, and many links to more than that."""
MAX_DEPTH = 100
"""Of folders in packages."""
MAX_SEEN = 4000
"""Files and folders that are looked at for modules that code imports by names it computes."""
MAX_SEEN_BYTES = 128 * 1024**2
_PIECE = 1024**2
_SUFFIXES = tuple(all_suffixes())

_BY_NAME = {"import_module", "__import__"}
_BUILT_IN = {"exec", "eval"}
_COMPUTED = {
    *_BUILT_IN,
    *("find_spec", "spec_from_file_location", "spec_from_loader", "exec_module", "load_module", "resolve_name"),
    *("run_path", "run_module", "walk_packages", "iter_modules", "zipimporter", "locate"),
    *("pickle", "dill", "cloudpickle", "joblib", "shelve", "runpy", "pkgutil", "imp", "zipimport"),
}
"""Names by which code imports modules that no statement names; what unpickles imports too."""


class LocalModules:
    """The modules in some folders, as they were when each was first looked at."""

    def __init__(self, folder: Path, folders: Iterable[str] = ()) -> None:
        """`folder` is the tools file's; of `folders`, those of installed modules are left out."""
        self._folder = str(folder)
        self._installed = Installed(folder)
        self.folders = tuple(self._installed.local([self._folder, *folders]))
        """What is searched."""
        self._imports: dict[str, _Imports] = {}
        self._found: dict[str, list[str]] = {}
        self._places = 0
        self.digests: dict[str, str] = {}
        """SHA-256 (hexadecimal) of each file that was read, by its `local_key`."""

    def leads_to(self, modules: Iterable[str] = (), files: Iterable[str] = ()) -> list[str]:
        """The files that importing `modules` and `files` can load, sorted.

        Packages count whole, with what they import and with what links in them lead to; compiled modules count as well
        as .py files. An import is seen that is a statement, or `import_module` with the name written out.

        Raises:
            ToolchatError: one of the files cannot be read.
        """
        reached: set[str] = set()
        pending = {module.partition(".")[0] for module in modules}
        for file in files:
            if os.path.isfile(file):  # noqa: PTH113
                reached.add(local_key(file, self._folder))
                pending |= self._imported(file).names
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            seen.add(name)
            for path in self._files_of(name):
                if path not in reached:
                    reached.add(path)
                    pending |= self._imported(path).names - seen
        return sorted(reached)

    def is_computed(self, files: Iterable[str]) -> bool:
        """Whether the code in some files that were read may import others by names that it computes."""
        return any(self._imports[file].computed for file in files if file in self._imports)

    def _files_of(self, name: str) -> list[str]:
        if name not in self._found:
            paths = [path for folder in self.folders for path in self._files_in(Path(folder), name)]
            for place in map(Path, found_elsewhere(name)):
                if not self._installed.has(str(place)):
                    paths += self._files_below(place, frozenset()) if place.is_dir() else [place]
            self._found[name] = list(dict.fromkeys(local_key(str(path), self._folder) for path in paths))
        return self._found[name]

    def _files_in(self, folder: Path, name: str) -> Iterator[Path]:
        if self._installed.has(str(folder / name)):  # toolchat itself, where it is run from its repository
            return
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

    def _imported(self, path: str) -> _Imports:
        """What a file imports; nothing where it does not parse."""
        key = local_key(path, self._folder)
        if key not in self._imports:
            source: list[bytes] = []
            is_source = key.endswith(tuple(SOURCE_SUFFIXES))
            self.digests[key] = _digest(Path(key), MAX_SOURCE if is_source else MAX_COMPILED, source.append)
            self._imports[key] = _imports(b"".join(source)) if is_source else _Imports()
        return self._imports[key]


def digests_below(folder: Path, places: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the local modules in `places` and below, by `local_key`: those that are least deep, up to a limit."""
    installed = Installed(folder)
    found: dict[str, str] = {}
    left, size = MAX_SEEN, MAX_SEEN_BYTES

    def add(path: str) -> None:
        nonlocal size
        key = local_key(path, str(folder))
        with suppress(OSError, ToolchatError):
            if (length := os.stat(key).st_size) <= size:  # noqa: PTH116
                found[key] = _digest(Path(key), MAX_COMPILED)
                size -= length

    places = installed.local(places)
    for place in places:
        if os.path.isfile(place):  # noqa: PTH113 (a zip file)
            add(place)
    pending, seen = deque(places), set[str]()
    while pending and left > 0:
        place = pending.popleft()
        if installed.has(place) or (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        if any(entry.name == "pyvenv.cfg" for entry in entries):
            continue
        left -= len(entries)
        for entry in entries:
            if entry.name.endswith(_SUFFIXES) and entry.is_file():
                add(entry.path)
            elif entry.name.isidentifier() and entry.name != "__pycache__" and entry.is_dir():
                pending.append(entry.path)
    return found


def _digest(path: Path, most: int, take: Callable[[bytes], object] = lambda _: None) -> str:
    digest = hashlib.sha256()
    with opened(path, most) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            take(piece)
    return digest.hexdigest()


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


@dataclass(frozen=True, slots=True)
class _Imports:
    names: frozenset[str] = frozenset()
    """Of top-level modules."""
    computed: bool = False
    """Whether others may be imported by names that the code computes."""


def _imports(source: bytes) -> _Imports:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _Imports()
    names: set[str] = set()
    words: set[str] = set()
    written_out: set[ast.AST] = set()
    # Outer nodes come before inner ones, and so a call before the name of what it calls.
    for node in ast.walk(tree):
        match node:
            case ast.Import(aliases):
                names.update(alias.name.partition(".")[0] for alias in aliases)
                words.update(alias.name for alias in aliases)
            case ast.ImportFrom(module, aliases, level):
                if module and not level:
                    names.add(module.partition(".")[0])
                    words.add(module)
                words.update(alias.name for alias in aliases if alias.asname or alias.name not in _BY_NAME)
            case ast.Call(ast.Name() | ast.Attribute() as called, [ast.Constant(str(name))]) if (
                _word(called) in _BY_NAME
            ):
                names.add(name.partition(".")[0])
                written_out.add(called)
            case ast.Name(word) if node not in written_out:
                words.add(word)
            case ast.Attribute(_, word) if node not in written_out and word not in _BUILT_IN:
                words.add(word)
            case ast.Constant("import_module" | "__import__" as word):
                words.add(word)
    return _Imports(frozenset(names), bool(words & (_BY_NAME | _COMPUTED)))


def _word(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr

"""Holds the imports of a tools' process to the code that was accepted. For the tools' own processes only.

Python's own loaders are changed, rather than a finder put before them, because a module may be loaded past every finder
(`importlib.util.spec_from_file_location`). Of a local file the bytes are read once: those that are compared are those
that run. Bytecode beside it is never looked at: Python runs some of it unread (PEP 552), whatever the source says.
Installed modules load as ever.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from enum import StrEnum
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import toolchat
from toolchat.tools.code import MAX_COMPILED, MAX_SOURCE, NotAccepted, ToolsCode, opened
from toolchat.wire.errors import ToolchatError

_BYTECODE_HEADER = 16
_ACCEPT = "toolchat tools trust"
_UNKNOWN = f"is imported, and is not among what you accepted; look at it, then remove it, or accept it with: {_ACCEPT}"
_CHANGED = f"has changed since you accepted it; look at it, then accept it as it is now with: {_ACCEPT}"
_CHANGED_IN_CHAT = "has changed since the tools were read; expected it to stay; say /reload, or start again"


class Whose(StrEnum):
    FOLDER = "folder"
    """Of the tools file's folder."""
    INSTALLED = "installed"
    """Python's own, or found where this process found modules when it began."""
    OTHER = "other"
    """Of another folder, which code of the tools has put on `sys.path`."""


class CodeRefused(ImportError):  # noqa: N818
    """A local file may not be imported as it is."""


class ImportGuard:
    """See `install`."""

    def __init__(self, code: ToolsCode) -> None:
        self._code = code
        self._folder = str(code.folder)
        self._installed = _installed(self._folder)
        self._loaded: set[str] = set()
        """The names of the local modules."""
        self._refused: dict[str, str] = {}

    def refusal(self) -> NotAccepted | None:
        """What was refused up to now, whatever became of the exception."""
        if not self._refused:
            return None
        return NotAccepted("; ".join(self._refused.values()), self._refused)

    def whose(self, path: str) -> Whose:
        """Whose code a file is."""
        absolute = _absolute(path)
        # A link in the folder is the folder's, wherever it leads, and a link in a place of installed modules is theirs.
        return self._whose(absolute) or self._whose(os.path.realpath(absolute)) or Whose.OTHER

    def _whose(self, path: str) -> Whose | None:
        inside = _below(path, self._folder)
        # A virtual environment may lie in the folder, and the folder below a place of installed modules.
        if any(_below(path, root) and (not inside or _below(root, self._folder)) for root in self._installed):
            return Whose.INSTALLED
        return Whose.FOLDER if inside else None

    def read(self, path: str, most: int) -> bytes:
        """The bytes of a local file, if they may run. Raises CodeRefused."""
        absolute = _absolute(path)
        key = absolute if _below(absolute, self._folder) else os.path.realpath(absolute)
        try:
            with opened(Path(absolute), most) as file:
                data, changed_at = file.read(most), os.fstat(file.fileno()).st_ctime
            # A package that was prepared elsewhere may have been moved here, or linked, whole.
            way = [Path(absolute), *Path(absolute).parents] if _below(absolute, self._folder) else []
            changed_at = max([changed_at, *(part.lstat().st_ctime for part in way if _inside(part, self._folder))])
        except ToolchatError as error:
            raise CodeRefused(str(error)) from None
        accepted = self._code.files.get(key)
        if accepted is not None:
            right, why = hashlib.sha256(data).hexdigest() == accepted, _CHANGED
        else:
            # Nobody can set the time of the last change back, which is that of a rename, too.
            right, why = not self._code.closed and changed_at <= self._code.read_at, _UNKNOWN
        if not right:
            self._refused[key] = f"{self._code.shown(key)} {why if self._code.closed else _CHANGED_IN_CHAT}"
            raise CodeRefused(self._refused[key])
        return data

    def hide(self) -> None:
        """From now on nothing of the folder is found or known by import: what runs now is a sample."""
        sys.path[:] = [entry for entry in sys.path if self.whose(entry) is Whose.INSTALLED]
        for name in self._loaded:
            sys.modules.pop(name, None)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """The same for a while."""
        path, modules = sys.path[:], {name: sys.modules[name] for name in self._loaded if name in sys.modules}
        self.hide()
        try:
            yield
        finally:
            sys.path[:] = path
            sys.modules.update(modules)

    def loading(self, name: str, path: str, *, compiled: bool = False) -> bool:
        """Whether `path` is local, and loaded as the module `name` now. `compiled`: it is an extension module."""
        whose = self.whose(path)
        # Just-in-time compilers make extension modules in folders of their own, and load them: those are no code of the
        # folder, and what makes them is accepted.
        if whose is Whose.INSTALLED or (compiled and whose is Whose.OTHER):
            return False
        self._loaded.add(name)
        return True


_guard: ImportGuard | None = None


def current() -> ImportGuard | None:
    """The guard of this process; none in the tests that load tools without a process."""
    return _guard


def install(code: ToolsCode) -> ImportGuard:
    """From now on this process, and those forked from it, import local files only as `code` has them."""
    global _guard
    first = _guard is None
    _guard = ImportGuard(code)
    if first:
        _change_loaders()
    return _guard


@contextmanager
def without_the_folder() -> Iterator[None]:
    """Nothing of the folder is found by import meanwhile."""
    if _guard is None:
        yield
    else:
        with _guard.hidden():
            yield


def _change_loaders() -> None:
    get_source_code = SourceFileLoader.get_code
    get_bytecode = SourcelessFileLoader.get_code
    create_extension = ExtensionFileLoader.create_module

    def source_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        path = loader.get_filename(name)
        if _guard is None or not _guard.loading(name, path):
            return get_source_code(loader, name)
        code: CodeType = loader.source_to_code(_guard.read(path, MAX_SOURCE), path)
        return code

    def bytecode(loader: SourcelessFileLoader, name: str) -> CodeType | None:
        path = loader.get_filename(name)
        if _guard is None or not _guard.loading(name, path):
            return get_bytecode(loader, name)
        data = _guard.read(path, MAX_SOURCE)
        if not data.startswith(importlib.util.MAGIC_NUMBER) or len(data) < _BYTECODE_HEADER:
            raise ImportError(f"{path} is not bytecode of this Python", name=name, path=path)
        code: CodeType = marshal.loads(data[_BYTECODE_HEADER:])
        return code

    def extension(loader: ExtensionFileLoader, spec: ModuleSpec) -> Any:
        path = loader.path
        if _guard is None or not _guard.loading(spec.name, path, compiled=True):
            return create_extension(loader, spec)
        data = _guard.read(path, MAX_COMPILED)
        # The system's loader takes a path; this one leads to bytes that nobody else can reach. It stays open, so that
        # its number never means other bytes.
        memory = os.memfd_create(Path(path).name, os.MFD_CLOEXEC)
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(data)
        private = copy(spec)
        private.origin = f"/proc/self/fd/{memory}"
        module = create_extension(loader, private)
        module.__file__ = path
        return module

    SourceFileLoader.get_code = source_code  # type: ignore[method-assign,assignment]
    SourcelessFileLoader.get_code = bytecode  # type: ignore[method-assign,assignment]
    ExtensionFileLoader.create_module = extension  # type: ignore[method-assign,assignment]


def _installed(folder: str) -> tuple[str, ...]:
    """The folders of installed modules. Below `folder` only a virtual environment's count, not all of PYTHONPATH."""
    found = {
        path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    found |= {*site.getsitepackages(), site.getusersitepackages()}
    found |= {path for path in sys.path if Path(path).is_absolute() and not _below(os.path.realpath(path), folder)}
    found |= {str(Path(toolchat.__file__).parent)}
    roots = {_absolute(path) for path in found} | {os.path.realpath(path) for path in found}
    return tuple(sorted(roots - {folder}))


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)  # noqa: PTH100 (`resolve` would follow links, which are told apart here)
    except OSError:  # the folder that it would begin in has been deleted: nothing is there
        return os.path.join("/", path)  # noqa: PTH118


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _inside(path: Path, folder: str) -> bool:
    return str(path) != folder and _below(str(path), folder)

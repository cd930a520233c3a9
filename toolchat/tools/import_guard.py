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
import sys
import zipimport
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from enum import StrEnum
from functools import wraps
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from toolchat.tools.code import NotAccepted, ToolsCode, with_imported
from toolchat.tools.installed import Installed, absolute, below, is_compiled_just_in_time, local_key
from toolchat.tools.local_modules import MAX_COMPILED, MAX_SOURCE, opened
from toolchat.wire.errors import ToolchatError

_BYTECODE_HEADER = 16
_ACCEPT = "toolchat tools trust"
_UNKNOWN = f"is imported, and is not among what you accepted; look at it, then remove it, or accept it with: {_ACCEPT}"
_CHANGED = f"has changed since you accepted it; look at it, then accept it as it is now with: {_ACCEPT}"
_CHANGED_IN_CHAT = "has changed since the tools were read; expected it to stay; say /reload, or start again"
_UNKNOWN_IN_CHAT = (
    "was not read with the tools: it has come since, or no import statement leads to it; "
    "import it at the top of a module, then say /reload, or start again"
)


class Whose(StrEnum):
    FOLDER = "folder"
    """Of the tools file's folder."""
    INSTALLED = "installed"
    """Python's own, or of site-packages."""
    OTHER = "other"
    """Of another folder: of PYTHONPATH, of an editable install, or one that code of the tools has put on `sys.path`."""


class CodeRefused(ImportError):  # noqa: N818
    """A local file may not be imported as it is."""


class ImportGuard:
    """See `install`."""

    def __init__(self, code: ToolsCode) -> None:
        self.code = code
        """What may be imported."""
        self._folder = str(code.folder)
        self._installed = Installed(code.folder)
        self._names: set[str] = set()
        """Of the local modules that were loaded."""
        self._imported: dict[str, str] = {}
        """The digest of each local file that was, by its `local_key`."""
        self._made: set[str] = set()
        """The folders that this process has made."""
        self._refused: dict[str, str] = {}
        self._zips: dict[str, zipimport.zipimporter] = {}

    def refusal(self) -> NotAccepted | None:
        """What was refused up to now, whatever became of the exception."""
        if not self._refused:
            return None
        return NotAccepted("; ".join(self._refused.values()), self._refused)

    def loaded(self) -> tuple[ToolsCode, tuple[str, ...]]:
        """The tools have been imported: from now on no local file may be imported that is not in the code returned.

        With the files that were imported up to now. Raises ToolchatError where a module cannot be read.
        """
        self.code = with_imported(self.code, self._imported, sys.path)
        return self.code, tuple(sorted(self._imported))

    def whose(self, path: str) -> Whose:
        """Whose code a file is."""
        path = absolute(path)
        # A link in a place of installed modules is theirs. One that leads there is not: it may lead elsewhere by the
        # time that the file is read.
        if self._installed.has(path):
            return Whose.INSTALLED
        inside = below(path, self._folder) or below(os.path.realpath(path), self._folder)
        return Whose.FOLDER if inside else Whose.OTHER

    def read(self, path: str, most: int) -> bytes:
        """The bytes of a local file, if they may run. Raises CodeRefused."""
        key = local_key(path, self._folder)
        try:
            with opened(Path(path), most) as file:
                data = file.read(most)
        except ToolchatError as error:
            raise CodeRefused(str(error)) from None
        digest, expected = hashlib.sha256(data).hexdigest(), self.code.files.get(key)
        if expected is None and not (self.code.closed or self.code.loaded):
            # The person named the tools file: what its import leads to is recorded as it is read now.
            expected = self._imported.get(key, digest)
        if digest != expected:
            reasons = (_UNKNOWN, _CHANGED) if self.code.closed else (_UNKNOWN_IN_CHAT, _CHANGED_IN_CHAT)
            self._refused[key] = f"{self.code.shown(key)} {reasons[expected is not None]}"
            raise CodeRefused(self._refused[key])
        self._imported[key] = digest
        return data

    def made(self, folder: str) -> None:
        """This process has made `folder`."""
        self._made.add(os.path.realpath(folder))

    def zip_file(self, loader: zipimport.zipimporter) -> zipimport.zipimporter:
        """One that reads the same modules from a copy which nobody else can reach. Raises CodeRefused."""
        data = self.read(loader.archive, MAX_COMPILED)
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._zips:
            self._zips[digest] = zipimport.zipimporter(_private(Path(loader.archive).name, data))
        return zipimport.zipimporter(f"{self._zips[digest].archive}/{loader.prefix}".rstrip("/"))

    def hide(self) -> None:
        """From now on nothing of the folder is found or known by import: what runs now is a sample."""
        sys.path[:] = [entry for entry in sys.path if self.whose(entry) is Whose.INSTALLED]
        for name in self._names:
            sys.modules.pop(name, None)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """The same for a while."""
        path, modules = sys.path[:], {name: sys.modules[name] for name in self._names if name in sys.modules}
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
        if whose is Whose.INSTALLED or (compiled and whose is Whose.OTHER and self._is_just_made(path)):
            return False
        self._names.add(name)
        return True

    def in_place(self, path: str, data: bytes) -> bool:
        """Whether a compiled module is loaded from where it lies, because it finds its libraries from there."""
        return self.whose(path) is Whose.OTHER and b"$ORIGIN" in data

    def _is_just_made(self, path: str) -> bool:
        return is_compiled_just_in_time(path) or any(below(os.path.realpath(path), made) for made in self._made)


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
    get_zipped_code = zipimport.zipimporter.get_code
    make_folder = os.mkdir

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
        if _guard.in_place(path, data):
            return create_extension(loader, spec)
        private = copy(spec)
        private.origin = _private(Path(path).name, data)
        module = create_extension(loader, private)
        module.__file__ = path
        return module

    def zipped_code(loader: zipimport.zipimporter, fullname: str) -> CodeType:
        if _guard is None or not _guard.loading(fullname, loader.archive):
            return get_zipped_code(loader, fullname)
        return get_zipped_code(_guard.zip_file(loader), fullname)

    def zipped_module(loader: zipimport.zipimporter, fullname: str) -> Any:
        # Python's own reads the archive past `get_code`.
        if (spec := loader.find_spec(fullname)) is None:
            raise ImportError(f"there is no module {fullname} in {loader.archive}", name=fullname)
        module = sys.modules.setdefault(fullname, importlib.util.module_from_spec(spec))
        loader.exec_module(module)
        return module

    @wraps(make_folder)
    def folder_made(path: Any, *arguments: Any, **named: Any) -> None:
        make_folder(path, *arguments, **named)
        if _guard is not None and not named.get("dir_fd"):
            _guard.made(os.fsdecode(path))

    folder_made.__module__ = "os"  # where pickle looks for it
    SourceFileLoader.get_code = source_code  # type: ignore[method-assign,assignment]
    SourcelessFileLoader.get_code = bytecode  # type: ignore[method-assign,assignment]
    ExtensionFileLoader.create_module = extension  # type: ignore[method-assign,assignment]
    zipimport.zipimporter.get_code = zipped_code  # type: ignore[method-assign,assignment]
    zipimport.zipimporter.load_module = zipped_module  # type: ignore[method-assign,assignment]
    os.mkdir = folder_made
    os.supports_dir_fd.add(folder_made)


def _private(name: str, data: bytes) -> str:
    """A path to bytes that nobody else can reach, for what opens by path. It stays open, so that its number never means
    other bytes."""
    memory = os.memfd_create(name, os.MFD_CLOEXEC)
    with os.fdopen(os.dup(memory), "wb") as file:
        file.write(data)
    return f"/proc/self/fd/{memory}"

"""The code of a tools file: the file, the local modules that it leads to, and the digests that identify them.

Each file is read once, so that what a person is shown is what the tools' processes run. Local modules are found by
reading imports, without running any of them. Values only; `trust` says what was accepted, and `import_guard` holds
imports to it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from functools import cache
from importlib.machinery import SOURCE_SUFFIXES, all_suffixes
from pathlib import Path
from typing import Any, BinaryIO

from toolchat.tools.callable_text import SAMPLES
from toolchat.tools.spec import ToolEntry, read_tools_file, scan_tools_file
from toolchat.tools.toolbox import Approval, Toolbox
from toolchat.tools.yaml_file import read_bytes
from toolchat.wire.errors import ToolchatError, UsageError

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


class NotAccepted(UsageError):  # noqa: N818
    """Code would run that was not accepted, or not as it is now."""

    def __init__(self, message: str, files: Iterable[str]) -> None:
        super().__init__(message)
        self.files = tuple(files)


@dataclass(frozen=True, slots=True)
class ToolsCode:
    """One tools file and its local code at one moment."""

    path: Path
    """Of the tools file, as it was named."""
    real: Path
    """The same without links."""
    text: bytes
    """Of the tools file."""
    files: Mapping[str, str]
    """SHA-256 (hexadecimal) of each file of local code, by its absolute path."""
    reach: Mapping[str, tuple[str, ...]]
    """Of `files`, those that a callable's module or file can load, by what its entry calls that."""
    read_at: float
    """Seconds since the epoch, before anything was read."""
    closed: bool = False
    """Whether no other local file may be imported, because a person accepted exactly these. Where not, the person named
    the tools file, and other files may be imported that are older than `read_at`."""
    allows: bool = True
    """Whether `approval: allow` in the tools file counts."""

    @property
    def folder(self) -> Path:
        """Where the tools file lies."""
        return self.real.parent

    def entries(self) -> tuple[ToolEntry, ...]:
        """What the tools file lists. Raises UsageError where something is wrong with it."""
        return read_tools_file(self.path, self.text).entries

    @property
    def samples_only(self) -> bool:
        """Whether every callable is one of the sample tools, so that nothing of the folder runs. Raises UsageError."""
        return all(entry.is_sample for entry in self.entries())

    def approved(self, toolbox: Toolbox) -> Toolbox:
        """`toolbox` with calls that ask where the file's own `allow` does not count; the samples' always does."""
        if self.allows:
            return toolbox
        tools = tuple(
            replace(tool, options=replace(tool.options, approval=Approval.ASK))
            if tool.options.approval is Approval.ALLOW and tool.callable_ref not in SAMPLES
            else tool
            for tool in toolbox.tools
        )
        return replace(toolbox, tools=tools)

    def contents(self) -> dict[str, str]:
        """All that is accepted with it: the digest of every file, the tools file's own among them."""
        return {str(self.real): hashlib.sha256(self.text).hexdigest(), **self.files}

    def shown(self, file: str) -> str:
        """`file` as people know it: from the folder of the tools file, where it lies below that."""
        return os.path.relpath(file, self.folder) if Path(file).is_relative_to(self.folder) else file

    def to_descriptor(self) -> int:
        """An open file that holds all this, for `from_descriptor` in another process; nobody can change it."""
        data = {**asdict(self), "path": str(self.path), "real": str(self.real), "text": self.text.decode("latin-1")}
        descriptor = os.memfd_create("toolchat-code", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(json.dumps(data).encode())
        fcntl(descriptor, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
        return descriptor

    @classmethod
    def from_descriptor(cls, descriptor: int) -> ToolsCode:
        """What `to_descriptor` was called on; may be read again, since the place in the file stays."""
        data: dict[str, Any] = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        path, real = Path(data.pop("path")), Path(data.pop("real"))
        reach = {name: tuple(files) for name, files in data.pop("reach").items()}
        return cls(path=path, real=real, text=data.pop("text").encode("latin-1"), reach=reach, **data)


def read_code(path: Path, also: Iterable[str] = ()) -> ToolsCode:
    """Read the tools file at `path` and the code beside it that it leads to; `also` are more files that count.

    What is wrong within the tools file is not told here.

    Raises:
        UsageError: the file cannot be read at all, or is not YAML.
        ToolchatError: one of the modules cannot be read.
    """
    read_at = time.time()
    real = path.resolve()
    folder = real.parent
    text = read_bytes(path)
    file, _ = scan_tools_file(path, text)
    entries = [entry for entry in file.entries if not entry.is_sample]
    named = {entry.target.where: folder / entry.target.file for entry in entries if entry.target.file is not None}
    extra = [Path(one) for one in also]
    packages = [_top(one) for one in extra]
    modules = LocalModules([folder, *(one.parent for one in (*named.values(), *packages))])
    reach: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        where = entry.target.where
        if where not in reach:
            files = modules.leads_to(files=[named[where]]) if where in named else modules.leads_to([where])
            reach[where] = tuple(map(str, files))
    modules.leads_to([one.stem for one in packages if one not in extra], extra)
    digests = {str(one): digest for one, digest in sorted(modules.digests.items())}
    return ToolsCode(path, real, text, digests, reach, read_at)


def _top(file: Path) -> Path:
    """The outermost package that `file` is in, which counts whole; itself where it is in none."""
    top = file
    while (top.parent / "__init__.py").is_file():
        top = top.parent
    return top


def source_digest(
    function: Callable[..., Any],
    entry: ToolEntry,
    code: ToolsCode,
    *,
    parameters: Mapping[str, Any],
    reference: str,
    made_of: type | None = None,
) -> str:
    """A SHA-256 (hexadecimal) over a tool's code, its schema, its reference, and its entry in the tools file.

    Of a method, `made_of` is the class. The name that the model uses is no part of it. The same words in another folder
    have another digest: they may lead to other helpers there.
    """
    local = {file: code.files[file] for file in code.reach.get(entry.target.where, ())}
    parts = [reference.encode(), _json(parameters), _json(_of_entry(entry)), _json(local)]
    items = [function, inspect.unwrap(function)]
    items += [base for base in (made_of.__mro__ if made_of is not None else ()) if not _of_python(base)]
    for item in items:
        paths = _files_of(item)
        # Local files are known by what was read of them; they may be others by now.
        parts += [part for path in paths if path not in local for part in (os.fsencode(path), _digest_of(path))]
        if not paths:
            # An object that can be called has no such name of its own.
            name = getattr(item, "__qualname__", type(item).__qualname__)
            parts.append(f"{item.__module__}.{name} of Python {sys.version}".encode())
    digest = hashlib.sha256()
    for part in parts:
        # Lengths before contents: two lists must not hash like one that is split elsewhere.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _of_entry(entry: ToolEntry) -> dict[str, Any]:
    return {
        "description": entry.description,
        "options": asdict(entry.options),
        "parameters": {name: dict(parameter.keywords) for name, parameter in entry.parameters.items()},
        "arguments": entry.arguments,
        "methods": entry.methods,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def _of_python(item: type) -> bool:
    return item.__module__.partition(".")[0] in sys.stdlib_module_names


def _files_of(item: Any) -> list[str]:
    """The file that holds a function or class, and that which its module is; none of what is built into Python."""
    paths: set[str] = set()
    module = sys.modules.get(item.__module__ or "")
    if module is not None and isinstance(file := vars(module).get("__file__"), str):
        paths.add(file)
    # Whatever inspect stumbles over in generated or compiled code; the module's file serves as well.
    with suppress(Exception):
        if (source := inspect.getsourcefile(item)) is not None and Path(source).is_file():
            paths.add(source)
    return sorted(paths)


@cache
def _digest_of(path: str) -> bytes:
    # Once for a file and not for each of its functions.
    with suppress(OSError):
        return hashlib.sha256(Path(path).read_bytes()).digest()
    return b""

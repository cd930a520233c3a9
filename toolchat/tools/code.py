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
import re
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from functools import cache
from importlib.machinery import SOURCE_SUFFIXES, all_suffixes
from pathlib import Path
from typing import Any, BinaryIO

from toolchat.tools.callable_reference import SAMPLES
from toolchat.tools.command_line import CommandLine
from toolchat.tools.entry import MethodEntry, ToolEntry
from toolchat.tools.packages import Package
from toolchat.tools.places import Installed, found_elsewhere, local_key
from toolchat.tools.problems import Problems
from toolchat.tools.spec import Known, ToolsFile, scan_tools_file
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
MAX_SEEN = 4000
"""Files and folders that are looked at for modules that code imports by names it computes."""
MAX_SEEN_BYTES = 128 * 1024**2
_PIECE = 1024**2
_LOCAL = re.compile(r"(?<![\w./-])\./[\w./-]+")
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
    computed: tuple[str, ...] = ()
    """Of `reach`, whose code may import more, by names that it computes."""
    folders: tuple[str, ...] = ()
    """Those that local modules were looked for in."""
    closed: bool = False
    """Whether a person accepted exactly these files. Where not, the person named the tools file, and the first process
    of the tools adds what else it imports to `files`."""
    loaded: bool = False
    """Whether it has done so. Then, as where `closed`, no other local file may be imported."""
    allows: bool = True
    """Whether `approval: allow` in the tools file counts."""
    included: Mapping[str, bytes] = field(default_factory=dict)
    """What each included tools file holds, by its path from the folder."""
    packages: Mapping[str, Package] = field(default_factory=dict)
    """The installed packages that the file names."""
    imported: tuple[str, ...] = ()
    """The local files that the first process has imported, where it has."""

    @property
    def folder(self) -> Path:
        """Where the tools file lies."""
        return self.real.parent

    def scan(self) -> tuple[ToolsFile, Problems]:
        """What the tools file says, with the files that it includes as they were read. Raises as `scan_tools_file`."""
        return scan_tools_file(self.path, self.text, Known(self.folder, self.included, self.packages))

    def entries(self) -> tuple[ToolEntry, ...]:
        """What the tools file lists. Raises UsageError where something is wrong with it."""
        file, problems = self.scan()
        if problems:
            raise problems.error()
        return file.entries

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

    def of_tool(self, where: str, loaded: Iterable[str]) -> dict[str, str]:
        """The local files that a callable's code is in or may import, with their digests; `loaded` are those that the
        tools' process has imported by now.

        What no entry is known to lead to counts for every tool.
        """
        reached = {file for files in self.reach.values() for file in files}
        files = {*self.reach.get(where, ()), *(set(self.files if self.closed else loaded) - reached)}
        if where in self.computed:
            files |= self.files.keys()
        return {file: self.files[file] for file in sorted(files) if file in self.files}

    def contents(self) -> dict[str, str]:
        """All that is accepted with it: the digest of every file, the tools file's own among them, and of packages that
        it names, by "package NAME"."""
        included = {str(self.folder / name): hashlib.sha256(data).hexdigest() for name, data in self.included.items()}
        packages = {f"package {name}": package.digest for name, package in self.packages.items()}
        return {str(self.real): hashlib.sha256(self.text).hexdigest(), **included, **packages, **self.files}

    def shown(self, file: str) -> str:
        """`file` as people know it: from the folder of the tools file, where it lies below that."""
        return os.path.relpath(file, self.folder) if Path(file).is_relative_to(self.folder) else file

    def to_descriptor(self) -> int:
        """An open file that holds all this, for `from_descriptor` in another process; nobody can change it."""
        included = {name: held.decode("latin-1") for name, held in self.included.items()}
        data = {**asdict(self), "path": str(self.path), "real": str(self.real), "text": self.text.decode("latin-1")}
        data["included"] = included
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
        text = data.pop("text").encode("latin-1")
        reach = {name: tuple(files) for name, files in data.pop("reach").items()}
        for key in ("computed", "folders", "imported"):
            data[key] = tuple(data[key])
        data["included"] = {name: held.encode("latin-1") for name, held in data["included"].items()}
        data["packages"] = {name: Package.decode(held) for name, held in data["packages"].items()}
        return cls(path=path, real=real, text=text, reach=reach, **data)


def read_code(path: Path, also: Iterable[str] = ()) -> ToolsCode:
    """Read the tools file at `path` and the code beside it that it leads to; `also` are more files that count.

    What is wrong within the tools file is not told here.

    Raises:
        UsageError: the file cannot be read at all, or is not YAML.
        ToolchatError: one of the modules cannot be read.
    """
    real = path.resolve()
    folder = real.parent
    text = read_bytes(path)
    extra = [Path(one) for one in also]
    packages = [_top(one) for one in extra]
    file = scan_tools_file(path, text, Known(folder))[0]
    entries = [entry for entry in file.entries if not entry.is_sample]
    named = [str((folder / entry.target.file).parent) for entry in entries if entry.target.file is not None]
    folders = [*named, *(str(one.parent) for one in packages), *Installed(folder).searched()]
    modules = LocalModules(folder, folders)
    reach, computed = _reach(entries, folder, modules)
    modules.leads_to([one.stem for one in packages if one not in extra], map(str, extra))
    digests = dict(sorted(modules.digests.items()))
    read = ToolsCode(path, real, text, digests, reach, computed, modules.folders)
    return replace(read, included=file.included, packages=file.packages)


def with_imported(code: ToolsCode, imported: Mapping[str, str], search_path: Iterable[str]) -> ToolsCode:
    """`code` after its first process has imported it: with the files which that has `imported`, by `local_key`, and
    with those that calls may import from `search_path`, as the code has made that.

    What was accepted stays as it is.

    Raises:
        ToolchatError: one of the modules cannot be read.
    """
    if code.closed:
        return replace(code, loaded=True)
    entries = [entry for entry in code.scan()[0].entries if not entry.is_sample]
    reach, computed, files = code.reach, code.computed, {**imported, **code.files}
    folders = Installed(code.folder).local([*code.folders, *search_path])
    if set(folders) - set(code.folders):
        modules = LocalModules(code.folder, folders)
        reach, computed = _reach(entries, code.folder, modules)
        if not code.loaded:
            files = {**modules.digests, **files}
    if computed and not code.loaded:
        files = {**digests_below(code.folder, folders), **files}
    return replace(
        code, files=dict(sorted(files.items())), reach=reach, computed=computed, folders=tuple(folders), loaded=True
    )


def _reach(
    entries: Iterable[ToolEntry], folder: Path, modules: LocalModules
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    reach: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        where = entry.target.where
        if entry.command is not None:
            reach[where] = tuple(modules.leads_to(files=local_programs(entry.command, folder)))
        elif where not in reach:
            file = entry.target.file
            files = modules.leads_to([where]) if file is None else modules.leads_to(files=[str(folder / file)])
            reach[where] = tuple(files)
    return reach, tuple(where for where, files in reach.items() if modules.is_computed(files))


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
    plain: Callable[..., Any] | None = None,
    made_of: type | None = None,
    loaded: Iterable[str] = (),
    programs: Iterable[str] = (),
) -> str:
    """A SHA-256 (hexadecimal) over a tool's code, its schema, its reference, and its entry in the tools file.

    `plain` is the function below partials and objects. Of a method, `made_of` is the class; `loaded` is of
    `ToolsCode.of_tool`. Of a command, `programs` are the installed programs that it runs. The name that the model uses
    is no part of it. The same words in another folder have another digest: they may lead to other helpers there.
    """
    local = code.of_tool(entry.target.where, {*loaded, *code.imported})
    package = code.packages[entry.package].digest if entry.package is not None else None
    parts = [reference.encode(), _json(parameters), _json(_of_entry(entry)), _json(local), _json(package)]
    parts += [part for path in programs for part in (os.fsencode(path), _digest_of(path))]
    items = [function, inspect.unwrap(function)]
    items += [plain] if plain is not None and plain not in items else []
    items += [base for base in (made_of.__mro__ if made_of is not None else ()) if not _of_python(base)]
    for item in items:
        paths = _files_of(item)
        # Local files are known by what was read of them; they may be others by now.
        parts += [
            part
            for path in paths
            if local_key(path, str(code.folder)) not in local
            for part in (os.fsencode(path), _digest_of(path))
        ]
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
        # With `${NAME}` as the file writes it: the values of variables are no part of any digest.
        "arguments": entry.arguments,
        "methods": entry.methods,
        "settings": {name: _of_method(one) for name, one in entry.settings.items()},
        "chosen": [entry.include, entry.exclude, entry.instance],
        "command": asdict(entry.command) if entry.command is not None else None,
        "package": entry.package,
    }


def _of_method(entry: MethodEntry) -> dict[str, Any]:
    return {
        "description": entry.description,
        "options": dict(entry.options),
        "parameters": {name: dict(parameter.keywords) for name, parameter in entry.parameters.items()},
        "arguments": entry.arguments,
    }


def local_programs(command: CommandLine, folder: Path) -> list[str]:
    """The files beside the tools file that the words of a command name as "./file": the program itself, or a script."""
    words = [word.plain for group in command.groups for word in group]
    words += _LOCAL.findall(command.shown)
    paths = [folder / word for word in words if word is not None and word.startswith("./")]
    return [str(path) for path in paths if path.is_file()]


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

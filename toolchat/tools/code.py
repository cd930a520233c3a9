"""Holds the code of a tools file: the file, the local modules that it leads to, and the digests that identify a tool.

What a person is shown is what the tools' processes run: each file is read once. Values only; `local_modules` finds the
files, `trust` says what was accepted, and `import_guard` holds imports to it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from functools import cache
from pathlib import Path
from typing import Any

from toolchat.tools.command_line import CommandLine
from toolchat.tools.entry import MethodEntry, ToolEntry
from toolchat.tools.installed import Installed, Package, local_key
from toolchat.tools.local_modules import LocalModules, digests_below
from toolchat.tools.mcp.entry import McpServer
from toolchat.tools.problems import Problems
from toolchat.tools.rules import NO_RULES, Rules
from toolchat.tools.toolbox import Approval, Toolbox, ToolOptions
from toolchat.tools.tools_file import Known, ToolsFile, scan_tools_file
from toolchat.tools.yaml_file import read_bytes
from toolchat.wire.errors import UsageError

_LOCAL = re.compile(r"(?<![\w./-])\./[\w./-]+")
"""In a line for a shell, what may name a file beside the tools file."""


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

    def servers(self) -> tuple[McpServer, ...]:
        """The MCP servers that it names. Raises UsageError where something is wrong with it."""
        file, problems = self.scan()
        if problems:
            raise problems.error()
        return file.servers

    @property
    def samples_only(self) -> bool:
        """Whether every callable is one of the sample tools, so that nothing of the folder runs. Raises UsageError."""
        return all(entry.is_sample for entry in self.entries()) and not self.servers()

    def approved(self, toolbox: Toolbox) -> Toolbox:
        """`toolbox` with calls that ask where the file's own `allow` does not count; the samples' always does."""
        if self.allows:
            return toolbox
        samples = {entry.order for entry in self.scan()[0].entries if entry.is_sample}
        tools = tuple(
            replace(tool, options=asking(tool.options)) if tool.order not in samples else tool for tool in toolbox.tools
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

    def learned(self, imported: Iterable[str]) -> dict[str, Any]:
        """What a process that has `imported` its tools knows beyond the code as it was read, for `with_learned` in
        another: JSON. Code that is imported there is then the same, and so are the tools' digests."""
        return {
            "files": self.files,
            "imported": [*imported],
            "reach": self.reach,
            "computed": self.computed,
            "folders": self.folders,
        }

    def with_learned(self, learned: Mapping[str, Any]) -> ToolsCode:
        """The code that a process has told by `learned`; where it told nothing, it has kept to this."""
        if not learned:
            return replace(self, loaded=True)
        return replace(
            self,
            files={**learned["files"], **self.files},
            reach={where: tuple(files) for where, files in learned["reach"].items()},
            loaded=True,
            imported=tuple(learned["imported"]),
            computed=tuple(learned["computed"]),
            folders=tuple(learned["folders"]),
        )

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


def asking(options: ToolOptions) -> ToolOptions:
    """With what refuses and asks as it is, and nothing that allows."""
    approval = Approval.ASK if options.approval is Approval.ALLOW else options.approval
    return replace(options, approval=approval, rules=replace(options.rules, allow=()))


def read_code(path: Path, also: Iterable[str] = (), text: bytes | None = None) -> ToolsCode:
    """Read the tools file at `path` and the code beside it that it leads to; `also` are more files that count.

    `text` is what the tools file holds, for one that is on no disk.

    What is wrong within the tools file is not told here.

    Raises:
        UsageError: the file cannot be read at all, or is not YAML.
        ToolchatError: one of the modules cannot be read.
    """
    real = path.resolve()
    folder = real.parent
    text = read_bytes(path) if text is None else text
    extra = [Path(one) for one in also]
    packages = [_top(one) for one in extra]
    file = scan_tools_file(path, text, Known(folder))[0]
    entries = [entry for entry in file.entries if not entry.is_sample]
    named = [str((folder / entry.target.file).parent) for entry in entries if entry.target.file is not None]
    folders = [*named, *(str(one.parent) for one in packages), *Installed(folder).searched()]
    modules = LocalModules(folder, folders)
    reach, computed = _reach(entries, folder, modules)
    reach |= {server.reach: tuple(modules.leads_to(files=server.local_files(folder))) for server in file.servers}
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
        reach |= {name: files for name, files in code.reach.items() if name not in reach}
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
        "options": _of_options(asdict(entry.options)),
        "parameters": {name: dict(parameter.keywords) for name, parameter in entry.parameters.items()},
        # With `${NAME}` as the file writes it: the values of variables are no part of any digest.
        "arguments": entry.arguments,
        "methods": entry.methods,
        "settings": {name: _of_method(one) for name, one in entry.settings.items()},
        "chosen": [entry.include, entry.exclude, entry.instance],
        "command": asdict(entry.command) if entry.command is not None else None,
        "package": entry.package,
    }


def _of_options(options: dict[str, Any]) -> dict[str, Any]:
    """Without rules and marks where there are none: a grant of a version that knew none is one still."""
    options = {key: value for key, value in options.items() if key not in ("effects", "untrusted") or value}
    rules = options.pop("rules", NO_RULES)
    rules = asdict(rules) if isinstance(rules, Rules) else rules
    return options | {"rules": rules} if any(rules.values()) else options


def _of_method(entry: MethodEntry) -> dict[str, Any]:
    return {
        "description": entry.description,
        "options": _of_options(dict(entry.options)),
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

"""A tools file and the local code that it leads to, read once: what a person is shown is what the tools' processes run.

Values only; `trust` says what was accepted, and `import_guard` holds imports to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl
from pathlib import Path
from typing import Any

from toolchat.tools.callable_text import SAMPLES
from toolchat.tools.local_modules import LocalModules
from toolchat.tools.spec import ToolEntry, read_tools_file, scan_tools_file
from toolchat.tools.toolbox import Approval, Toolbox
from toolchat.tools.yaml_file import read_bytes
from toolchat.wire.errors import UsageError


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

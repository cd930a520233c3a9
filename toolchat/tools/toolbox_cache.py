"""What a tools file offered when it was last loaded, so that a model can be asked before its modules are imported.

A toolbox is found again by a fingerprint of all that it came from: tools file, local code, toolchat, Python and
folders of installed packages. It is never more than what a model is told: a call is checked, decided on and run with
the tool as it was loaded now.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import toolchat
from toolchat.private_file import private_folder, read_believed, write_whole
from toolchat.settings import cache_folder
from toolchat.tools.host.protocol import decode_toolbox, encode_toolbox
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Tool, Toolbox, unknown_tool_message
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

if TYPE_CHECKING:  # what reads YAML is imported where a file has to be read
    from toolchat.tools.code import ToolsCode
    from toolchat.tools.host.call import Prepared
    from toolchat.tools.mcp.call import McpCall

FOLDER = "tools"
"""Below the cache folder."""
KEPT = 100
_MOST = 16 * 1024**2


class EarlyRunner:
    """A runner whose tools are known and whose processes are still starting; see `ToolRunner`.

    What goes wrong with the start is raised by the first call, as `ToolRunner.start` would have raised it.
    """

    def __init__(self, known: Toolbox, starting: asyncio.Task[ToolRunner]) -> None:
        self.toolbox = known
        self._starting = starting

    async def prepare(
        self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None
    ) -> Prepared | McpCall | ToolResult:
        """As `ToolRunner.prepare`, with the tool of that name as it was loaded. Raises UsageError."""
        interrupted = {asyncio.create_task(cancel.wait())} if cancel is not None else set()
        try:
            await asyncio.wait({self._starting, *interrupted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in interrupted:
                task.cancel()
        if not self._starting.done():
            return ToolResult(call.id, call.name, "Error: interrupted by the user", ResultStatus.INTERRUPTED)
        runner = self._starting.result()
        loaded = runner.toolbox.get(tool.name)
        if loaded is None:
            return ToolResult(call.id, call.name, unknown_tool_message(tool.name, runner.toolbox), ResultStatus.ERROR)
        return await runner.prepare(loaded, call, cancel)

    async def close(self) -> None:
        """End every process of the tools, however far they are."""
        self._starting.cancel()
        (runner,) = await asyncio.gather(self._starting, return_exceptions=True)
        if isinstance(runner, ToolRunner):
            await runner.close()


def known_at(path: Path) -> Toolbox | None:
    """What the tools file at `path`, which the user named, offered the last time, where it and all that it led to have
    the times and sizes of then. Reads no YAML, and looks for no modules."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        note = json.loads(read_believed(_note(path), _MOST))
        if all(_stamp(Path(file)) == stamp for file, stamp in note["stamps"].items()):
            return decode_toolbox(path, json.loads(read_believed(_folder() / note["toolbox"], _MOST)))
    return None


def known_toolbox(code: ToolsCode) -> Toolbox | None:
    """What `code` offered the last time, if all that it comes from is the same."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return decode_toolbox(code.path, json.loads(read_believed(_file(code), _MOST)))
    return None


def remember(code: ToolsCode, toolbox: Toolbox) -> None:
    """Have `known_toolbox` return `toolbox` the next time. Where nothing can be written, it is loaded again."""
    # Servers tell their tools anew each time.
    if code.scan()[0].servers:
        return
    # Of an installed module it is not known which files make its schema. What a person is to be told comes from now.
    if toolbox.notices or not all(_is_followed(code, tool) for tool in toolbox.tools):
        return
    file = _file(code)
    with suppress(OSError):
        # Packages are followed by more than their files.
        stamps = {} if code.closed or code.packages else _stamps(code.contents())
        private_folder(file.parent, doubtful="*")
        write_whole(file, json.dumps(encode_toolbox(toolbox)).encode())
        if stamps:
            write_whole(_note(code.path), json.dumps({"toolbox": file.name, "stamps": stamps}).encode())
        old = sorted(file.parent.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]
        for path in old:
            path.unlink()


def _stamps(contents: Mapping[str, str]) -> dict[str, list[int]]:
    """The stamps of files that still hold what was read of them, which is known by its digest; none at all where one
    has changed since, as while its code was imported. Raises OSError."""
    stamps = {}
    for path, digest in contents.items():
        # Before it is read: what changes meanwhile has another stamp.
        stamps[path] = _stamp(Path(path))
        with Path(path).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return {}
    return stamps


def forget(code: ToolsCode) -> None:
    for file in (_note(code.path), _file(code)):
        with suppress(OSError):
            file.unlink()


def _is_followed(code: ToolsCode, tool: Tool) -> bool:
    where = tool.callable_ref.partition(":")[0]
    return where.startswith("toolchat.samples.") or bool(code.reach.get(where))


def _file(code: ToolsCode) -> Path:
    own = [str(code.path), str(code.real), hashlib.sha256(code.text).hexdigest(), code.closed, code.allows]
    return _named("", [own, sorted(code.files.items())])


def _note(path: Path) -> Path:
    """Of a file that is used as its user named it."""
    return _named("at-", [str(path), str(path.resolve())])


def _named(kind: str, whole: list[Any]) -> Path:
    home = Path(toolchat.__file__).parent
    around = [
        [toolchat.__version__, *_times(home / "tools"), *_times(home / "tools" / "host"), *_times(home / "samples")],
        [sys.version, sys.prefix],
        # A folder's time changes with each package that is installed or removed.
        [[folder, _time(Path(folder))] for folder in _import_folders()],
    ]
    text = json.dumps([*around, *whole]).encode(errors="surrogateescape")
    return _folder() / f"{kind}{hashlib.sha256(text).hexdigest()[:32]}.json"


def _import_folders() -> list[str]:
    """Where modules are found, but for the folder that the user is in, which `python -m toolchat` puts first: no
    process of the tools has that, and its time changes with each file."""
    try:
        here = os.getcwd()  # noqa: PTH109
    except OSError:
        here = ""
    return sys.path[1:] if sys.path[:1] in ([here], [""]) else sys.path


def _folder() -> Path:
    return cache_folder() / FOLDER


def _stamp(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino]


def _times(folder: Path) -> list[tuple[str, int]]:
    return sorted((path.name, _time(path)) for path in folder.glob("*.py"))


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

"""Runs tools in processes of their own (`toolchat.tools.host`), and always comes back with a result.

Whatever a tool does ends its call and nothing else: the chat's process imports no tool, and believes nothing that a
tool's process says beyond the text of its own result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

if TYPE_CHECKING:  # what starts processes is imported when they are started: a question may have been sent by then
    from toolchat.tools.code import NotAccepted, ToolsCode
    from toolchat.tools.host.call import Prepared
    from toolchat.tools.host.supervisor import Supervisor


class ToolRunner:
    """The tools of one file, ready to be called; several calls may run at once. See `start` and `none`."""

    def __init__(self, supervisor: Supervisor | None, *, debug: bool = False) -> None:
        self.toolbox: Toolbox = supervisor.toolbox if supervisor is not None else Toolbox(Path(), ())
        self._supervisor = supervisor
        self._debug = debug

    @classmethod
    async def start(
        cls,
        source: Path | ToolsCode,
        log: Path | None = None,
        *,
        debug: bool = False,
        import_seconds: float | None = None,
        on_refusal: Callable[[NotAccepted], None] | None = None,
    ) -> ToolRunner:
        """Import the tools of a file, in a process of their own. Call in the main thread.

        A file that is given by its path is read now; whose it is, the caller knows. What runs from then on is the code
        as it was read: what is changed is refused, and `on_refusal` told of it.

        Tracebacks, and what the modules print, are appended to `log`; with `debug`, tracebacks are also shown to the
        user, as output of the tool.

        Raises:
            UsageError: one line for each problem, "FILE:LINE:COL: what is wrong; what was expected; what to do".
        """
        from toolchat.tools.code import read_code
        from toolchat.tools.host.client import IMPORT_SECONDS
        from toolchat.tools.host.supervisor import Supervisor

        code = read_code(source) if isinstance(source, Path) else source
        seconds = IMPORT_SECONDS if import_seconds is None else import_seconds
        supervisor = await Supervisor.start(code, log=log, import_seconds=seconds, on_refusal=on_refusal)
        return cls(supervisor, debug=debug)

    @classmethod
    def none(cls) -> ToolRunner:
        """A runner without tools, and without a process."""
        return cls(None)

    async def prepare(self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None) -> Prepared | ToolResult:
        """Check and convert the arguments of `call`, in the process that is to run it.

        The call is then run, or discarded; until then its process waits. Where it cannot run, the result says why.
        """
        if self._supervisor is None:
            return ToolResult(call.id, call.name, "Error: there are no tools", ResultStatus.ERROR)
        from toolchat.tools.host.call import Prepared

        return await Prepared(self._supervisor, tool, call, debug=self._debug).check(cancel)

    async def close(self) -> None:
        """End every process of the tools."""
        if self._supervisor is not None:
            await self._supervisor.close()


def load_toolbox(source: Path | ToolsCode, log: Path | None = None) -> Toolbox:
    """The tools of a file, loaded in a process that has ended by the time this returns.

    Not for use within a running event loop. Raises UsageError as `ToolRunner.start` does.
    """
    from toolchat.tools.code import read_code
    from toolchat.tools.host.supervisor import Supervisor

    async def load() -> Toolbox:
        supervisor = await Supervisor.start(read_code(source) if isinstance(source, Path) else source, log=log)
        await supervisor.close()
        return supervisor.toolbox

    return asyncio.run(load())

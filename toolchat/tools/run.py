"""Runs tools in processes of their own (`toolchat.tools.host`), and always comes back with a result.

Whatever a tool does ends its call and nothing else: the chat's process imports no tool, and believes nothing that a
tool's process says beyond the text of its own result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.tools.toolbox import Tool, Toolbox, unknown_tool_message
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

if TYPE_CHECKING:  # what starts processes is imported when they are started: a question may have been sent by then
    from toolchat.tools.code import NotAccepted, ToolsCode
    from toolchat.tools.host.call import Prepared
    from toolchat.tools.host.supervisor import Supervisor
    from toolchat.tools.mcp.call import McpCall
    from toolchat.tools.mcp.client import McpTools
    from toolchat.tools.mcp.elicitation import Elicit


class ToolRunner:
    """The tools of one file, ready to be called; several calls may run at once. See `start` and `none`."""

    def __init__(
        self,
        supervisor: Supervisor | None,
        *,
        debug: bool = False,
        mcp: McpTools | None = None,
        path: Path | None = None,
    ) -> None:
        """`path` is the tools file's where there is no supervisor: it has servers only."""
        self._own: Toolbox = supervisor.toolbox if supervisor is not None else Toolbox(path or Path(), ())
        self._supervisor = supervisor
        self._debug = debug
        self.mcp = mcp
        """The MCP servers of the file; None where it names none."""

    @property
    def toolbox(self) -> Toolbox:
        """The tools that there are now: those of servers come, change and go."""
        if self.mcp is None:
            return self._own
        own, mcp = self._own, self.mcp
        return replace(
            own, tools=(*own.tools, *mcp.tools), notices=(*own.notices, *mcp.notices), broken=(*own.broken, *mcp.broken)
        )

    @property
    def pending(self) -> tuple[str, ...]:
        """The MCP servers that have neither told their tools nor failed."""
        return self.mcp.pending if self.mcp is not None else ()

    async def settled(self) -> None:
        """Wait until there are none of these."""
        if self.mcp is not None:
            await self.mcp.settled()

    @property
    def prompts(self) -> Mapping[str, Mapping[str, Any]]:
        """The servers' prompts by "server:prompt", as the servers describe them."""
        return self.mcp.prompts if self.mcp is not None else {}

    @property
    def serves_resources(self) -> tuple[str, ...]:
        """The servers that have resources."""
        return self.mcp.serves_resources if self.mcp is not None else ()

    @property
    def resources(self) -> Mapping[str, Mapping[str, str]]:
        """By server, the addresses of its resources, and what they are: what it has told, nothing is asked."""
        return self.mcp.resources if self.mcp is not None else {}

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> tuple[str, list[str]]:
        """The text of a prompt of `prompts`, and its images' files in base64. Raises ToolchatError."""
        assert self.mcp is not None
        return await self.mcp.prompt(name, arguments)

    async def resource(self, server: str, uri: str) -> str:
        """The text of a server's resource. Raises ToolchatError."""
        assert self.mcp is not None
        return str(await self.mcp.ask(server, "read", {"uri": uri}))

    def attach(self, on_notice: Callable[[str], None], elicit: Elicit | None) -> None:
        """Have `on_notice` told what becomes of servers, and `elicit` ask the user what they want to know."""
        if self.mcp is not None:
            self.mcp.on_notice, self.mcp.questions.elicit = on_notice, elicit

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
        mcp, supervisor = None, None
        file, problems = code.scan()
        if file.servers and not problems:
            from toolchat.tools.mcp.client import McpTools

            # Before the functions are imported: servers take longer, and none of them is waited for here.
            mcp = McpTools.start(code, log)
        try:
            if file.entries or mcp is None:
                supervisor = await Supervisor.start(code, log=log, import_seconds=seconds, on_refusal=on_refusal)
        except BaseException:
            if mcp is not None:
                await mcp.close()
            raise
        if mcp is not None and supervisor is not None:
            mcp.reserve(supervisor.toolbox.names)
        notices = tuple(file.notices) if supervisor is None else ()
        runner = cls(supervisor, debug=debug, mcp=mcp, path=code.path)
        runner._own = replace(runner._own, notices=(*runner._own.notices, *notices))
        return runner

    @classmethod
    def none(cls) -> ToolRunner:
        """A runner without tools, and without a process."""
        return cls(None)

    async def prepare(
        self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None
    ) -> Prepared | McpCall | ToolResult:
        """Check and convert the arguments of `call`, in the process that is to run it.

        The call is then run, or discarded; until then its process waits. Where it cannot run, the result says why.
        """
        if tool.server:
            return await self._prepare_served(tool, call, cancel)
        if self._supervisor is None:
            return ToolResult(call.id, call.name, "Error: there are no tools", ResultStatus.ERROR)
        from toolchat.tools.host.call import Prepared

        return await Prepared(self._supervisor, tool, call, debug=self._debug).check(cancel)

    async def _prepare_served(self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None) -> McpCall | ToolResult:
        from toolchat.tools.mcp.call import McpCall

        state = self.mcp.state_of(tool) if self.mcp is not None else None
        if self.mcp is None or state is None:
            content = unknown_tool_message(tool.name, self.toolbox)
            return ToolResult(call.id, call.name, content, ResultStatus.ERROR)
        current = self.mcp.current(tool)
        if current is None:
            why = state.line if state.state != "ready" else f"the server {tool.server} does not offer it any more"
            return ToolResult(call.id, call.name, f"Error: {why}", ResultStatus.ERROR)
        if current.source_digest != tool.source_digest:
            why = f"{tool.name} has changed since it was shown; it is offered anew from the next turn on"
            return ToolResult(call.id, call.name, f"Error: not run: {why}", ResultStatus.ERROR)
        return await McpCall(self.mcp, state, current, call).check(cancel)

    async def close(self) -> None:
        """End every process of the tools."""
        await asyncio.gather(
            *([self._supervisor.close()] if self._supervisor is not None else []),
            *([self.mcp.close()] if self.mcp is not None else []),
        )


def load_toolbox(source: Path | ToolsCode, log: Path | None = None) -> Toolbox:
    """The tools of a file, loaded in processes that have ended by the time this returns.

    Not for use within a running event loop. Raises UsageError as `ToolRunner.start` does.
    """

    async def load() -> Toolbox:
        runner = await ToolRunner.start(source, log)
        try:
            await runner.settled()
            return runner.toolbox
        finally:
            await runner.close()

    return asyncio.run(load())

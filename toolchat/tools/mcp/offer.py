"""The reverse: offers the tools of a file as an MCP server on standard streams, with their checks and isolation.

Approval stays here. A call that is to be asked about is put to the client's user by an elicitation; where the client
knows none, it is declined. Runs in a process of its own, which has the SDK.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

import toolchat
from toolchat.mistral.ids import new_call_id
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Approval, Tool
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

Judge = Callable[[Tool, ToolCall], Approval]
"""Whether a call, with converted arguments, runs, does not, or is asked about."""

_ASKED = "allow"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {_ASKED: {"type": "boolean", "title": "Run it", "default": False}},
    "required": [_ASKED],
}
_NOBODY = "Error: it needs the user's approval, and this client cannot ask; answer without it"
_DENIED = "Error: the user does not allow this tool; answer without it"
_DECLINED = "Error: the user declined this call"


class Offer:
    """The server; see `serve`."""

    def __init__(self, runner: ToolRunner, judge: Judge) -> None:
        """`judge` decides on calls."""
        self._runner = runner
        self._judge = judge
        self._key = secrets.token_bytes(32)

        self.server: Server[Any] = Server(
            "toolchat",
            version=toolchat.__version__,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def serve(self) -> None:
        """On standard input and output, until the client goes."""
        async with stdio_server() as (read, write):
            await self.server.run(read, write, self.server.create_initialization_options())

    async def _list(
        self, context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        tools = [
            types.Tool(name=tool.name, description=tool.description, input_schema=tool.parameters)
            for tool in self._runner.toolbox.tools
        ]
        return types.ListToolsResult(tools=tools)

    async def _call(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        tool = self._runner.toolbox.get(params.name)
        if tool is None:
            names = ", ".join(self._runner.toolbox.names)
            return _error(f'Error: there is no tool "{params.name}"; the tools are {names}')
        call = ToolCall(new_call_id(), tool.name, dict(params.arguments or {}))
        prepared = await self._runner.prepare(tool, call)
        if isinstance(prepared, ToolResult):
            return _error(prepared.content)
        try:
            match self._judge(prepared.tool, prepared.call):
                case Approval.DENY:
                    return _error(_DENIED)
                case Approval.ASK:
                    answer = await self._asked(context, params, prepared.tool, prepared.call)
                    if answer is not None:
                        return answer
            return await self._ran(context, prepared)
        finally:
            with anyio.CancelScope(shield=True):
                await prepared.discard()

    async def _ran(self, context: ServerRequestContext[Any], prepared: Any) -> types.CallToolResult:
        cancel = asyncio.Event()
        lines: asyncio.Queue[str] = asyncio.Queue()
        telling = asyncio.create_task(_tell(context, lines))
        running = asyncio.create_task(prepared.run(cancel, lines.put_nowait, lambda _: None))
        try:
            result: ToolResult = await asyncio.shield(running)
        except asyncio.CancelledError:
            cancel.set()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({running})
            raise
        finally:
            telling.cancel()
        content: list[Any] = [types.TextContent(text=result.content)]
        content += [types.ImageContent(data=image.data, mime_type=image.media_type) for image in result.images]
        return types.CallToolResult(content=content, is_error=result.status is not ResultStatus.OK)

    async def _asked(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams, tool: Tool, call: ToolCall
    ) -> types.CallToolResult | types.InputRequiredResult | None:
        """Ask the client's user; None where the call may run."""
        capabilities = context.session.client_capabilities
        if capabilities is None or capabilities.elicitation is None:
            return _error(_NOBODY)
        arguments = json.dumps(call.arguments, ensure_ascii=False, indent=1)
        message = f"Run {tool.name} with these arguments?\n{arguments}\nIt is {tool.callable_ref}."
        if context.session.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            answer = await context.session.elicit_form(message, _SCHEMA, context.request_id)
            return None if _allows(answer) else _error(_DECLINED)
        # From 2026 on a server does not ask by itself: the call comes again, with the answer.
        state = self._state(tool, call)
        given = (params.input_responses or {}).get(_ASKED)
        if given is None or params.request_state is None:
            asked = types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=_SCHEMA))
            return types.InputRequiredResult(input_requests={_ASKED: asked}, request_state=state)
        # The answer is to this very call, by this very process.
        if not hmac.compare_digest(state, params.request_state):
            return _error("Error: not run: the answer was given to another call")
        return None if isinstance(given, types.ElicitResult) and _allows(given) else _error(_DECLINED)

    def _state(self, tool: Tool, call: ToolCall) -> str:
        what = json.dumps([tool.name, tool.source_digest, call.arguments], sort_keys=True)
        return hmac.new(self._key, what.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _allows(answer: types.ElicitResult) -> bool:
    return answer.action == "accept" and (answer.content or {}).get(_ASKED) is True


async def _tell(context: ServerRequestContext[Any], lines: asyncio.Queue[str]) -> None:
    """Tell the client what a tool says meanwhile, as progress; where it wants none, nothing is sent."""
    number = 0
    while True:
        text = await lines.get()
        number += 1
        with suppress(Exception):
            await context.session.report_progress(number, message=text.rstrip("\n"))


def _error(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)

"""MCP without a model: `tools mcp` tells what becomes of a tools file's servers, `tools serve` serves its tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolchat.chat.calls import PendingCall
from toolchat.cli.approval import make_policy
from toolchat.cli.signals import run_async
from toolchat.settings import state_folder
from toolchat.store.state import appendable
from toolchat.tools.code import ToolsCode, read_code
from toolchat.tools.mcp.client import McpTools, ServerState
from toolchat.tools.mcp.entry import unpinned
from toolchat.tools.run import ToolRunner
from toolchat.tools.trust import note_refusal
from toolchat.ui.tables import ServerRow
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError


def started_servers(source: Path | ToolsCode) -> Sequence[ServerState]:
    """The servers of the file, each as it was once it had told its tools, or failed; they have ended by now.

    Raises UsageError where something is wrong with the file.
    """
    code = source if isinstance(source, ToolsCode) else read_code(source)

    async def main(_: Any) -> Sequence[ServerState]:
        mcp = McpTools.start(code, appendable(state_folder() / "logs" / "tools.log"))
        try:
            await mcp.settled()
            return mcp.states
        finally:
            await mcp.close()

    return run_async(main)


def server_row(state: ServerState) -> ServerRow:
    about, server = state.about, state.server
    is_ = " ".join(filter(None, (str(about.get("name", "")), str(about.get("version", "")))))
    offers = ", ".join(map(str, about.get("capabilities", ())))
    loose = unpinned(server.command)
    where = f"{server.shown} (not pinned)" if loose is not None else server.shown
    tools = str(len(state.tools)) if state.state == "ready" else ""
    return ServerRow(server.name, state.state, is_, str(about.get("protocol", "")), offers, tools, where, state.why)


def server_json(state: ServerState) -> dict[str, Any]:
    server = state.server
    return {
        "name": server.name,
        "state": state.state,
        "why": state.why or None,
        "command": list(server.command) or None,
        "url": server.url or None,
        "unpinned": unpinned(server.command),
        "about": dict(state.about),
        "tools": [tool.name for tool in state.tools],
        "notes": list(state.notes),
    }


def serve_tools(
    source: Path | ToolsCode, *, yes: bool, allow: Sequence[str] | None, deny: Sequence[str] | None
) -> None:
    """Serve on standard input and output until the client goes. Raises UsageError."""
    if find_spec("mcp") is None:
        raise UsageError("the package mcp is not installed; run: pip install 'toolchat[mcp]'")
    if sys.stdin.isatty():
        print("toolchat: serves a program on standard input and output; Ctrl-C ends it", file=sys.stderr)
    from toolchat.tools.mcp.offer import Offer

    policy = make_policy(yes=yes, allow=allow, deny=deny)

    async def main(_: Any) -> None:
        log = appendable(state_folder() / "logs" / "tools.log")
        debug = bool(os.environ.get("TOOLCHAT_DEBUG"))
        runner = await ToolRunner.start(source, log, debug=debug, on_refusal=partial(note_refusal, source))
        try:
            await runner.settled()
            for line in (*runner.toolbox.broken, *runner.toolbox.notices):
                print(f"toolchat: {sanitize_line(line)}", file=sys.stderr)
            policy.check(runner.toolbox)
            await Offer(runner, lambda tool, call: policy.judge(PendingCall(call, tool))).serve()
        finally:
            await runner.close()

    run_async(main)

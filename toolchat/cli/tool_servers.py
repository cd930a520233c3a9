"""`toolchat tools mcp`: what becomes of the MCP servers of a tools file, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolchat.cli.signals import run_async
from toolchat.settings import state_folder
from toolchat.store.state import appendable
from toolchat.tools.code import ToolsCode, read_code
from toolchat.tools.mcp.client import McpTools, ServerState
from toolchat.tools.mcp.entry import unpinned
from toolchat.ui.tables import ServerRow


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

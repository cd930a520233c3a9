"""A runner with MCP servers, driven from synchronous tests on one event loop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchat.tools.mcp.client import McpTools, ServerState
from toolchat.tools.mcp.elicitation import Elicit
from toolchat.tools.run import ToolRunner
from toolchat.wire.messages import ToolCall, ToolResult

HOSTILE = Path(__file__).parent / "hostile_server.py"


def hostile(word: str, **options: Any) -> dict[str, Any]:
    """An entry for the hostile server with this behaviour."""
    return {"command": [sys.executable, "-I", "-S", str(HOSTILE), word], "start_timeout": 30, **options}


def write_servers(folder: Path, servers: Mapping[str, Mapping[str, Any]], **keys: Any) -> Path:
    """A tools file with these servers; JSON is YAML."""
    path = folder / "tools.yaml"
    path.write_text(json.dumps({"version": 1, "mcp": servers, **keys}))
    return path


@dataclass
class Said:
    """A call's result, and what was said under it."""

    result: ToolResult
    lines: str
    parts: str = ""


@dataclass
class McpBench:
    loop: asyncio.Runner
    runner: ToolRunner
    notices: list[str] = field(default_factory=list)

    @property
    def mcp(self) -> McpTools:
        assert self.runner.mcp is not None
        return self.runner.mcp

    def state(self, name: str) -> ServerState:
        return next(state for state in self.mcp.states if state.server.name == name)

    def names(self, server: str) -> list[str]:
        return [tool.name for tool in self.state(server).tools]

    def attach(self, elicit: Elicit | None = None) -> None:
        self.runner.attach(self.notices.append, elicit)

    async def call_async(
        self,
        name: str,
        cancel: asyncio.Event | None = None,
        arguments: Mapping[str, Any] | None = None,
        spoke: asyncio.Event | None = None,
    ) -> Said:
        """Call a tool; `spoke` is set once something stands under the call."""
        tool = self.runner.toolbox.get(name)
        assert tool is not None, f"{name} is not among {self.runner.toolbox.names}"
        said: list[str] = []
        parts: list[str] = []
        prepared = await self.runner.prepare(tool, ToolCall("abcdefghi", name, dict(arguments or {})), cancel)
        if isinstance(prepared, ToolResult):
            return Said(prepared, "")

        def heard(text: str) -> None:
            said.append(text)
            if spoke is not None:
                spoke.set()

        result = await prepared.run(cancel, heard, parts.append)
        return Said(result, "".join(said), "".join(parts))

    def call(self, name: str, /, **arguments: Any) -> Said:
        return self.loop.run(self.call_async(name, arguments=arguments))

    async def until(self, condition: Any, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    def wait(self, condition: Any, seconds: float = 10.0) -> None:
        self.loop.run(self.until(condition, seconds))


def start(loop: asyncio.Runner, path: Path, names: Sequence[str] = ()) -> McpBench:
    runner = loop.run(ToolRunner.start(path, path.parent / "tools.log"))
    bench = McpBench(loop, runner)
    bench.attach()
    loop.run(runner.settled())
    return bench

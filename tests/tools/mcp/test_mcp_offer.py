"""`toolchat tools serve`, by the SDK's own client: its whole life, before and after the protocol of 2026."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

CODE = '''
import time
from PIL import Image

def add(a: int, b: int) -> int:
    """Add two numbers."""
    print("adding")
    return a + b

def fail(why: str) -> str:
    """Fail."""
    raise RuntimeError(why)

def send(text: str) -> str:
    """Send it."""
    return f"sent {text}"

def never() -> str:
    """Never."""
    return "ran"

def slow() -> str:
    """Take long."""
    time.sleep(60)
    return "done"

def draw() -> Image.Image:
    """Draw."""
    return Image.new("RGB", (4, 4), "red")
'''
FILE = """version: 1
defaults: {approval: allow}
tools:
- ./mine.py:add
- ./mine.py:fail
- {callable: ./mine.py:send, approval: ask}
- {callable: ./mine.py:never, approval: deny}
- ./mine.py:slow
- ./mine.py:draw
"""


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_of_a_file_are_a_server(tmp_path: Path, mode: str) -> None:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters
    from mcp_types import ElicitResult

    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "tools.yaml").write_text(FILE)
    words = ["-m", "toolchat", "tools", "serve", "--tools", str(tmp_path / "tools.yaml")]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ), cwd=str(tmp_path))
    asked: list[Any] = []
    answers = [True, False]

    async def elicit(context: Any, params: Any) -> ElicitResult:
        asked.append(params)
        return ElicitResult(action="accept", content={"allow": answers.pop(0)})

    async def life() -> None:
        progress: list[Any] = []

        async def said(number: float, total: float | None, message: str | None) -> None:
            progress.append(message)

        async with Client(server, mode=mode, elicitation_callback=elicit) as client:
            assert client.server_info is not None
            assert client.server_info.name == "toolchat"
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names == ["add", "fail", "send", "never", "slow", "draw"]

            async def call(name: str, **arguments: Any) -> tuple[bool, str]:
                result = await client.call_tool(name, arguments, progress_callback=said)
                return bool(result.is_error), getattr(result.content[0], "text", "")

            assert await call("add", a="2", b=3) == (False, "5")
            assert progress == ["adding"]
            wrong = await call("add", a="x", b=3)
            assert wrong[0]
            assert "a must be an integer" in wrong[1]
            assert await call("fail", why="so") == (True, "Error: RuntimeError: so")
            assert await call("never") == (True, "Error: the user does not allow this tool; answer without it")
            assert (await call("nothing"))[0]
            assert await call("send", text="one") == (False, "sent one")
            assert await call("send", text="two") == (True, "Error: the user declined this call")
            assert '"text": "one"' in asked[0].message
            image = (await client.call_tool("draw", {})).content[1]
            assert image.type == "image"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.call_tool("slow", {}), 0.2)
            assert await call("add", a=1, b=1) == (False, "2")

    asyncio.run(life())


def test_a_client_that_cannot_ask_gets_no_call_that_asks(tmp_path: Path) -> None:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters

    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "tools.yaml").write_text(FILE)
    words = ["-m", "toolchat", "tools", "serve", "--tools", str(tmp_path / "tools.yaml")]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ), cwd=str(tmp_path))

    async def life() -> None:
        async with Client(server) as client:
            result = await client.call_tool("send", {"text": "one"})
            assert result.is_error
            assert "this client cannot ask" in getattr(result.content[0], "text", "")

    asyncio.run(life())

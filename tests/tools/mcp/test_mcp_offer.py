"""`toolchat tools serve`, by the SDK's own client: its whole life, before and after the protocol of 2026."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from inprocess_tools import InProcessRunner

from toolchat.tools.load import load_tools
from toolchat.tools.run import ToolRunner

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


async def elicits(context: Any, params: Any) -> Any:
    from mcp_types import ElicitResult

    ASKED.append(params.message)
    return ElicitResult(action="accept", content={"allow": "yes, run this" in params.message})


ASKED: list[str] = []


async def called(client: Any, name: str, **arguments: Any) -> tuple[bool, str]:
    result = await client.call_tool(name, arguments)
    return bool(result.is_error), getattr(result.content[0], "text", "")


@pytest.fixture(autouse=True)
def written(tmp_path: Path) -> Path:
    ASKED.clear()
    (tmp_path / "mine.py").write_text(CODE)
    path = tmp_path / "tools.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.process
def test_the_tools_of_a_file_are_a_server(written: Path) -> None:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters

    words = ["-m", "toolchat", "tools", "serve", "--tools", str(written)]
    server = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ), cwd=str(written.parent))

    async def life() -> None:
        progress: list[Any] = []

        async def said(number: float, total: float | None, message: str | None) -> None:
            progress.append(message)

        async with Client(server, elicitation_callback=elicits) as client:
            assert client.server_info is not None
            assert client.server_info.name == "toolchat"
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names == ["add", "fail", "send", "never", "slow", "draw"]
            await client.call_tool("add", {"a": 1, "b": 1}, progress_callback=said)
            assert progress == ["adding"]
            assert await called(client, "add", a="2", b=3) == (False, "5")
            wrong = await called(client, "add", a="x", b=3)
            assert wrong[0]
            assert "a must be an integer" in wrong[1]
            assert await called(client, "fail", why="so") == (True, "Error: RuntimeError: so")
            assert await called(client, "never") == (
                True,
                "Error: the user does not allow this tool; answer without it",
            )
            assert (await called(client, "nothing"))[0]
            assert await called(client, "send", text="yes, run this") == (False, "sent yes, run this")
            assert await called(client, "send", text="two") == (True, "Error: the user declined this call")
            image = (await client.call_tool("draw", {})).content[1]
            assert image.type == "image"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.call_tool("slow", {}), 0.2)
            assert await called(client, "add", a=1, b=1) == (False, "2")

    asyncio.run(life())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_call_that_asks_is_put_to_the_clients_user_if_there_is_one(written: Path, mode: str) -> None:
    from mcp import Client

    from toolchat.tools.mcp.offer import Offer

    runner = InProcessRunner(load_tools(written))

    async def life() -> None:
        offer = Offer(cast(ToolRunner, runner), lambda tool, _: tool.options.approval)
        async with Client(offer.server, mode=mode, elicitation_callback=elicits) as client:
            assert await called(client, "send", text="yes, run this") == (False, "sent yes, run this")
            assert await called(client, "send", text="no") == (True, "Error: the user declined this call")
        async with Client(offer.server, mode=mode) as client:
            declined = await called(client, "send", text="yes, run this")
        assert declined == (True, "Error: it needs the user's approval, and this client cannot ask; answer without it")

    asyncio.run(life())
    assert len(ASKED) == 2
    assert '"text": "no"' in ASKED[1]


def test_an_answer_to_one_call_allows_no_other(written: Path) -> None:
    from mcp import Client
    from mcp_types import ElicitResult, InputRequiredResult

    from toolchat.tools.mcp.offer import Offer

    runner = InProcessRunner(load_tools(written))

    async def life() -> None:
        offer = Offer(cast(ToolRunner, runner), lambda tool, _: tool.options.approval)
        async with Client(offer.server, elicitation_callback=elicits) as client:
            first = await client.session.call_tool("send", {"text": "harmless"}, allow_input_required=True)
            assert isinstance(first, InputRequiredResult)
            yes = {"allow": ElicitResult(action="accept", content={"allow": True})}
            for state in (first.request_state, "made up"):
                result = await client.call_tool("send", {"text": "harmful"}, input_responses=yes, request_state=state)
                assert result.is_error
                assert "another call" in getattr(result.content[0], "text", "")

    asyncio.run(life())

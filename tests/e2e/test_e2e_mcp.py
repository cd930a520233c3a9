"""The demo model calls a tool of an MCP server, through the real engine and its grammar."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from e2e_engine import Running

from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import GenerateOptions
from toolchat.tools.run import ToolRunner
from toolchat.wire.events import CallFinished, CallProposed, Stamper, TurnFinished, TurnStatus
from toolchat.wire.messages import CallOrigin, ResultStatus, ToolCall

pytestmark = pytest.mark.engine

SERVER = '''
from typing import Literal

from mcp.server.mcpserver import MCPServer

server = MCPServer("weather")


@server.tool()
def current_weather(city: str, state: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    """Get the current weather in a given location."""
    return f"The weather in {city}, {state} is 85 degrees {unit}. It is partly cloudy."


server.run("stdio")
'''


def test_the_model_calls_a_tool_of_a_server(running: Running, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    entry = {"command": [sys.executable, "server.py"], "prefix": "get_"}
    (tmp_path / "tools.yaml").write_text(json.dumps({"version": 1, "mcp": {"weather": entry}}))

    async def chat() -> list[object]:
        runner = await ToolRunner.start(tmp_path / "tools.yaml")
        try:
            await runner.settled()
            loop = ChatLoop(
                engine=running.engine,
                conversation=Conversation(),
                runner=runner,
                options=GenerateOptions(max_tokens=64),
                stamp=Stamper("s", time.time),
            )
            question = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"
            return [event.body async for event in loop.turn(question)]
        finally:
            await runner.close()

    bodies = running.loop.run(chat())
    (call,) = [body.call for body in bodies if isinstance(body, CallProposed)]
    assert isinstance(call, ToolCall)
    assert (call.name, call.origin) == ("get_current_weather", CallOrigin.CONSTRAINED)
    assert call.arguments["city"] == "Dallas"
    (result,) = [body.result for body in bodies if isinstance(body, CallFinished)]
    assert result.status is ResultStatus.OK
    assert "is 85 degrees fahrenheit" in result.content
    (finished,) = [body for body in bodies if isinstance(body, TurnFinished)]
    assert finished.status is TurnStatus.ANSWERED

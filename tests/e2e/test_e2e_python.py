from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from e2e_engine import Running
from pydantic import BaseModel

from toolchat import Chat
from toolchat.engine.base import EngineInfo, GenerateOptions
from toolchat.samples.weather import get_current_weather
from toolchat.wire.deltas import Delta, TokenCount
from toolchat.wire.events import EngineState
from toolchat.wire.messages import Message, ToolSpec

QUESTION = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"


class Elsewhere:
    """The shared engine for a chat in another thread: all that is asked of it is done on the engine's own loop."""

    def __init__(self, running: Running) -> None:
        self._engine = running.engine
        self._loop = running.loop.get_loop()

    @property
    def info(self) -> EngineInfo | None:
        return self._engine.info

    async def start(self) -> AsyncIterator[EngineState]:
        yield EngineState("ready")

    async def generate(
        self, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> AsyncIterator[Delta]:
        here, deltas = asyncio.get_running_loop(), asyncio.Queue[Delta | None]()

        async def there() -> None:
            try:
                async for delta in self._engine.generate(request_id, messages, tools, options):
                    here.call_soon_threadsafe(deltas.put_nowait, delta)
            finally:
                here.call_soon_threadsafe(deltas.put_nowait, None)

        generating = asyncio.run_coroutine_threadsafe(there(), self._loop)
        while (delta := await deltas.get()) is not None:
            yield delta
        await asyncio.wrap_future(generating)

    def abort(self, request_id: str) -> None:
        self._loop.call_soon_threadsafe(self._engine.abort, request_id)

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        counting = self._engine.count(messages, tools, reasoning_effort)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(counting, self._loop))

    async def ended(self) -> str:
        return await asyncio.Event().wait() and ""

    async def close(self) -> None:
        """It is others' too."""


class Sum(BaseModel):
    result: int


@pytest.mark.engine
def test_a_program_asks_the_demo_model_which_calls_its_function_and_holds_to_its_schema(running: Running) -> None:
    done: list[Any] = []

    def program() -> None:
        engine: Any = Elsewhere(running)
        with Chat(tools=[get_current_weather], approve="allow", engine=engine, max_tokens=256, temperature=0) as chat:
            done.append(chat.ask(QUESTION))
        with Chat(engine=engine, max_tokens=64, temperature=0) as chat:
            done.append(chat.ask("How much is 3 + 4?", schema=Sum))

    async def until_done() -> None:
        await asyncio.to_thread(thread.join)

    thread = threading.Thread(target=program, daemon=True)
    thread.start()
    running.loop.run(until_done())
    answer, value = done
    (call,) = answer.calls
    assert (call.name, call.status, call.mark) == ("get_current_weather", "ok", "constrained")
    assert call.arguments["city"] == "Dallas"
    assert "85" in answer.text
    assert answer.usage.completion_tokens > 20
    assert isinstance(value, Sum)

"""An engine whose model may have to be built or fetched first: that is a part of its start, and can fail like it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from toolchat.engine.base import Engine, EngineCrashedError, EngineInfo, GenerateOptions
from toolchat.wire.deltas import Delta
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec
from toolchat.wire.tokens import TokenCount

Make = Callable[[Callable[[str], None]], Awaitable[Engine]]
"""Makes the engine, and tells each stage on the way. Raises EngineError or UsageError where there can be none."""


class LateEngine:
    """See `Engine` for the protocol. Where `make` fails, `start` does, and the next one tries again."""

    def __init__(self, model: str, make: Make) -> None:
        self._model = model
        self._make = make
        self._engine: Engine | None = None

    @property
    def info(self) -> EngineInfo | None:
        return self._engine.info if self._engine is not None else None

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        if self._engine is None:
            stages: asyncio.Queue[str | None] = asyncio.Queue()
            making = asyncio.ensure_future(self._make(stages.put_nowait))
            making.add_done_callback(lambda _: stages.put_nowait(None))
            try:
                while (stage := await stages.get()) is not None:
                    yield EngineState(stage, self._model)
                self._engine = await making
            except UsageError as error:
                # It was found too late for a usage error: the chat goes on, and may have another model.
                raise EngineError(str(error)) from error
            finally:
                making.cancel()
        async for state in self._engine.start():
            yield state

    async def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        async for delta in self._there().generate(request_id, messages, tools, options):
            yield delta

    def abort(self, request_id: str) -> None:
        if self._engine is not None:
            self._engine.abort(request_id)

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        return await self._there().count(messages, tools, reasoning_effort)

    async def ended(self) -> str:
        return await self._there().ended()

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()

    def _there(self) -> Engine:
        if self._engine is None:
            raise EngineCrashedError("the engine is not running")
        return self._engine

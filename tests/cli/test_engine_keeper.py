from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from toolchat.cli.engine_keeper import EngineKeeper
from toolchat.engine.scripted import ScriptedEngine
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, EventBody


def test_an_engine_that_died_after_it_was_loaded_is_not_ready_and_not_loading() -> None:
    async def play() -> None:
        engine = ScriptedEngine()
        keeper = EngineKeeper(engine, lambda body: None)
        await keeper.launch()
        assert keeper.loading
        await keeper.ready()
        assert not keeper.loading
        engine.info = None
        with pytest.raises(EngineError, match="has ended"):
            await keeper.ready()
        await keeper.launch()
        await keeper.ready()
        assert engine.info is not None
        await keeper.close()

    asyncio.run(play())


class Unstartable(ScriptedEngine):
    async def start(self) -> AsyncIterator[EngineState]:
        yield EngineState("starting")
        raise PermissionError(13, "Permission denied", "engine.log")


def test_what_the_system_refuses_is_told_as_a_failed_load() -> None:
    said: list[EventBody] = []

    async def play() -> None:
        keeper = EngineKeeper(Unstartable(), said.append)
        await keeper.launch()
        with pytest.raises(EngineError, match=r"cannot be started: Permission denied \(engine\.log\)"):
            await keeper.ready()
        await keeper.close()

    asyncio.run(play())
    assert said[-1] == EngineState("failed", "the engine cannot be started: Permission denied (engine.log)")

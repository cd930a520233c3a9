from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from session_bench import settled

from toolchat.engine.scripted import ScriptedEngine
from toolchat.session.keeper import EngineKeeper
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


def test_an_engine_that_dies_while_nothing_is_asked_of_it_is_told_of_and_one_that_is_closed_is_not() -> None:
    deaths: list[str] = []

    async def play() -> None:
        engine = ScriptedEngine()
        keeper = EngineKeeper(engine, lambda body: None, deaths.append)
        for _ in range(2):
            await keeper.launch()
            await keeper.ready()
            await settled()
            engine.death.set()
            await settled()
        await keeper.launch()
        await keeper.ready()
        await settled()
        keeper.kill()
        await keeper.close()
        engine.death.set()
        await settled()

    asyncio.run(play())
    assert deaths == ["the engine's process ended unexpectedly"] * 2


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


class Shared(ScriptedEngine):
    stopped = 0

    async def stop(self) -> None:
        self.stopped += 1


def test_an_engine_that_others_use_is_ended_by_force_and_not_by_closing() -> None:
    async def play() -> None:
        engine = Shared()
        keeper = EngineKeeper(engine, lambda body: None)
        await keeper.launch()
        await keeper.ready()
        keeper.kill()
        await settled()
        assert engine.stopped == 1
        await keeper.close()
        assert engine.stopped == 1

    asyncio.run(play())

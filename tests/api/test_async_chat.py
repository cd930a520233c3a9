from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pydantic import BaseModel

from toolchat import AsyncChat, CallRequest, Chat, UsageError, events
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.wire.events import TurnStatus


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


def act_tool(ran: list[int]) -> Any:
    def act() -> str:
        """Do something."""
        ran.append(threading.get_ident())
        return "done"

    return act


async def until(ready: Callable[[], Any]) -> None:
    """Wait for what happens in another thread."""
    async with asyncio.timeout(30):
        while not ready():  # noqa: ASYNC110
            await asyncio.sleep(0)


class City(BaseModel):
    name: str


def test_an_async_chat_answers_streams_and_holds_answers_to_schemas() -> None:
    engine = ScriptedEngine()
    engine.enqueue("one", Answer(["t", "wo"]), '{"name": "Bonn"}')

    async def scene() -> None:
        async with AsyncChat(engine=engine) as chat:
            assert (await chat.ask("a")).text == "one"
            async for event in (stream := chat.stream("b")):
                assert isinstance(event, events.Event)
            assert stream.answer.text == "two"
            assert await chat.ask("c", schema=City) == City(name="Bonn")
            await chat.save("mine")
            id_ = await chat.session()
        other = ScriptedEngine()
        other.enqueue("four")
        async with AsyncChat.resume("mine", engine=other) as chat:
            assert await chat.session() == id_
            assert (await chat.ask("d")).text == "four"
        assert len(other.requests[0].messages) == 7

    play(scene())
    assert engine.closed


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_approve_is_called_on_the_callers_loop(kind: str) -> None:
    ran: list[int] = []
    asked: list[tuple[str, int]] = []

    def approve(request: CallRequest) -> bool:
        asked.append((str(request), threading.get_ident()))
        return True

    async def approve_later(request: CallRequest) -> bool:
        await asyncio.sleep(0)
        return approve(request)

    async def scene() -> None:
        engine = ScriptedEngine()
        engine.enqueue(Answer("", [call("act")]), "ok")
        deciding = approve if kind == "function" else approve_later
        async with AsyncChat(engine=engine, tools=[act_tool(ran)], approve=deciding) as chat:
            assert (await chat.ask("x")).calls[0].status == "ok"

    play(scene())
    assert asked == [("act()", threading.get_ident())]
    assert ran != [threading.get_ident()]


def test_the_callers_loop_is_not_held_up_by_a_tool_that_blocks() -> None:
    turned = threading.Event()

    def act() -> str:
        """Do something."""
        # Set by the caller's loop: were that held up, this would wait in vain.
        return "turned" if turned.wait(30) else "held up"

    async def scene() -> None:
        engine = ScriptedEngine()
        engine.enqueue(Answer("", [call("act")]), "ok")
        async with AsyncChat(engine=engine, tools=[act], approve="allow") as chat:
            asking = asyncio.create_task(chat.ask("x"))
            await until(lambda: engine.requests)
            turned.set()
            assert (await asking).calls[0].result == "turned"

    play(scene())


@pytest.mark.parametrize("when", ["answering", "deciding"])
def test_a_question_that_is_cancelled_stops_and_the_chat_goes_on(when: str) -> None:
    ran: list[int] = []
    deciding = asyncio.Event()

    async def approve(_: CallRequest) -> bool:
        deciding.set()
        await asyncio.Event().wait()
        return True

    async def scene() -> None:
        engine = ScriptedEngine()
        first = Answer(["word "] * 2000, delay=0.01) if when == "answering" else Answer("", [call("act")])
        engine.enqueue(first, "next")
        async with AsyncChat(engine=engine, tools=[act_tool(ran)], approve=approve) as chat:
            asking = asyncio.create_task(chat.ask("x"))
            await until(lambda: engine.requests if when == "answering" else deciding.is_set())
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert chat.last is None or chat.last.status is TurnStatus.INTERRUPTED
            assert (await chat.ask("y")).text == "next"

    play(scene())
    assert not ran


def test_a_stream_that_is_left_early_is_stopped_by_the_next_question() -> None:
    async def scene() -> None:
        engine = ScriptedEngine()
        engine.enqueue(Answer(["word "] * 2000, delay=0.01), "next", Answer(["word "] * 2000, delay=0.01), "last")
        async with AsyncChat(engine=engine) as chat:
            stream = chat.stream("x")
            async for event in stream:
                if isinstance(event.body, events.TextDelta):
                    break
            assert (await chat.ask("y")).text == "next"
            assert stream.answer.status is TurnStatus.INTERRUPTED
            async with chat.stream("z") as left:
                await anext(left)
            assert (await chat.ask("y")).text == "last"

    play(scene())


def test_an_error_of_approve_comes_out_of_ask() -> None:
    async def approve(_: CallRequest) -> bool:
        raise KeyError("mine")

    async def scene() -> None:
        engine = ScriptedEngine()
        engine.enqueue(Answer("", [call("act")]), "next")
        async with AsyncChat(engine=engine, tools=[act_tool([])], approve=approve) as chat:
            with pytest.raises(KeyError, match="mine"):
                await chat.ask("x")
            assert (await chat.ask("y")).text == "next"

    play(scene())


def test_many_questions_at_once_are_answered_one_after_the_other() -> None:
    async def scene() -> None:
        engine = ScriptedEngine()
        engine.enqueue(*(Answer([f"{number}"], delay=0.001) for number in range(8)))
        chat = AsyncChat(engine=engine)
        answers = await asyncio.gather(*(chat.ask("x") for _ in range(8)))
        await chat.close()
        assert sorted(answer.text for answer in answers) == [f"{number}" for number in range(8)]
        with pytest.raises(UsageError, match="is closed"):
            await chat.ask("x")

    play(scene())


def test_a_chat_works_within_a_running_loop_as_in_a_notebook() -> None:
    async def scene() -> None:
        engine = ScriptedEngine()
        engine.enqueue("here")
        with Chat(engine=engine) as chat:
            assert chat.ask("x").text == "here"

    play(scene())

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from toolchat.chat.frames import InterruptedGeneration, frames
from toolchat.wire.deltas import (
    CallArguments,
    CallBegun,
    CallEnded,
    Delta,
    Finished,
    FinishReason,
    Text,
    Thinking,
    Usage,
)
from toolchat.wire.messages import ToolCall

END = Finished(FinishReason.STOP, Usage())


async def stream(deltas: Sequence[Delta], delay: float = 0.0) -> AsyncIterator[Delta]:
    for delta in deltas:
        await asyncio.sleep(delay)
        yield delta


def test_a_burst_of_tokens_is_few_frames_and_loses_nothing() -> None:
    async def play() -> list[list[Delta]]:
        source = stream([*[Text(str(i % 10)) for i in range(500)], END])
        return [batch async for batch in frames(source, asyncio.Event(), seconds=0.02)]

    batches = asyncio.run(play())
    assert len(batches) < 20
    texts = [delta.text for batch in batches for delta in batch if isinstance(delta, Text)]
    assert "".join(texts) == "".join(str(i % 10) for i in range(500))
    assert batches[-1][-1] == END


def test_slow_tokens_are_not_held_back() -> None:
    async def play() -> list[list[Delta]]:
        source = stream([Text("a"), Text("b"), END], delay=0.05)
        return [batch async for batch in frames(source, asyncio.Event(), seconds=0.01)]

    assert asyncio.run(play())[:2] == [[Text("a")], [Text("b")]]


def test_thinking_and_text_are_not_mixed() -> None:
    async def play() -> list[Delta]:
        source = stream([Thinking("a"), Thinking("b"), Text("c"), Text("d"), END])
        return [delta async for batch in frames(source, asyncio.Event()) for delta in batch]

    thoughts, texts = "", ""
    for delta in asyncio.run(play()):
        match delta:
            case Thinking(text):
                assert not texts
                thoughts += text
            case Text(text):
                texts += text
    assert (thoughts, texts) == ("ab", "cd")


def test_the_pieces_of_a_call_are_few_frames() -> None:
    call = ToolCall("abcdefghi", "f", {})

    async def play() -> tuple[list[list[Delta]], float]:
        clock = asyncio.get_running_loop().time
        began = clock()
        source = stream([CallBegun(0, "f"), *[CallArguments(0, "ab")] * 60, CallEnded(0, call), END], delay=0.002)
        return [batch async for batch in frames(source, asyncio.Event(), seconds=0.02)], clock() - began

    batches, took = asyncio.run(play())
    assert len(batches) <= took / 0.02 + 3
    # What came with the call's end is left out, all before it is there.
    at = next(index for index, batch in enumerate(batches) if CallEnded(0, call) in batch)
    assert all(len(batch) <= 2 for batch in batches[:at])
    assert batches[0][0] == CallBegun(0, "f")
    assert any(isinstance(delta, CallArguments) for batch in batches[:at] for delta in batch)


def test_of_a_call_within_one_frame_there_is_its_end_alone() -> None:
    ended = CallEnded(0, ToolCall("abcdefghi", "f", {}))

    async def burst() -> AsyncIterator[Delta]:
        for delta in (CallBegun(0, "f"), CallArguments(0, "{}"), ended, CallBegun(1, "g"), END):
            yield delta

    async def play() -> list[list[Delta]]:
        return [batch async for batch in frames(burst(), asyncio.Event())]

    assert asyncio.run(play()) == [[ended, CallBegun(1, "g"), END]]


def test_interrupt_overtakes_a_stream_that_says_nothing_more() -> None:
    async def silent() -> AsyncIterator[Delta]:
        yield Text("a")
        await asyncio.sleep(60)

    async def play() -> list[Delta]:
        interrupt = asyncio.Event()
        got: list[Delta] = []
        with pytest.raises(InterruptedGeneration):
            async for batch in frames(silent(), interrupt):
                got += batch
                interrupt.set()
        return got

    assert asyncio.run(asyncio.wait_for(play(), 5)) == [Text("a")]


def test_what_the_stream_raises_comes_after_what_it_gave() -> None:
    async def broken() -> AsyncIterator[Delta]:
        yield Text("a")
        raise RuntimeError("gone")

    async def play() -> list[Delta]:
        got: list[Delta] = []
        with pytest.raises(RuntimeError, match="gone"):
            async for batch in frames(broken(), asyncio.Event()):
                got += batch
        return got

    assert asyncio.run(play()) == [Text("a")]

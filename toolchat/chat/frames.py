"""Coalesces what an engine streams into display frames, and lets an interrupt overtake it.

At most thirty frames a second: a reader sees no more, and what each frame costs (a record flushed, a screen drawn)
is then paid per frame and not per token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from toolchat.wire.deltas import CallArguments, CallBegun, CallEnded, Delta, Text, Thinking

FRAME_SECONDS = 1 / 30


class InterruptedGeneration(Exception):  # noqa: N818  # not an error
    """The user stopped the answer."""


async def frames(
    stream: AsyncIterator[Delta], interrupt: asyncio.Event, seconds: float = FRAME_SECONDS
) -> AsyncGenerator[list[Delta], None]:
    """Yield lists of deltas, adjacent texts joined, no two lists less than `seconds` apart.

    Of a call that ends in a list, the list holds only its end: there is no time to see it written.

    Raises InterruptedGeneration as soon as `interrupt` is set, without waiting for the stream; what had arrived by
    then is yielded first. The stream is closed in every case.
    """
    queue: asyncio.Queue[Delta | BaseException | None] = asyncio.Queue()

    async def pump() -> None:
        try:
            async for delta in stream:
                queue.put_nowait(delta)
            queue.put_nowait(None)
        except Exception as error:
            queue.put_nowait(error)

    async def watch() -> None:
        await interrupt.wait()
        queue.put_nowait(InterruptedGeneration())

    clock = asyncio.get_running_loop().time
    tasks = [asyncio.create_task(pump()), asyncio.create_task(watch())]
    due = 0.0
    try:
        while True:
            items = [await queue.get()]
            if (wait := due - clock()) > 0 and isinstance(items[0], Text | Thinking | CallBegun | CallArguments):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(interrupt.wait(), wait)
            while not queue.empty():
                items.append(queue.get_nowait())
            deltas = _join([item for item in items if item is not None and not isinstance(item, BaseException)])
            if deltas:
                due = clock() + seconds
                yield deltas
            for item in items:
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closer = getattr(stream, "aclose", None)
        if closer is not None:
            await closer()


def _join(deltas: list[Delta]) -> list[Delta]:
    joined: list[Delta] = []
    ended = {delta.index for delta in deltas if isinstance(delta, CallEnded)}
    for delta in deltas:
        if isinstance(delta, CallBegun | CallArguments) and delta.index in ended:
            continue
        match joined[-1:], delta:
            case [Text(before)], Text(text):
                joined[-1] = Text(before + text)
            case [Thinking(before)], Thinking(text):
                joined[-1] = Thinking(before + text)
            case [CallArguments(index, before)], CallArguments(same, text) if index == same:
                joined[-1] = CallArguments(index, before + text)
            case _:
                joined.append(delta)
    return joined

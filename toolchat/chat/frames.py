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

_GROWING = (Text, Thinking, CallBegun, CallArguments)
"""What is shown as it grows; whatever else comes is passed on at once."""


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
    frame: list[Delta] = []
    ends: list[BaseException | None] = []
    """What the stream came to, None for its end; or the interrupt."""
    woken = asyncio.Event()

    async def gather() -> None:
        end: Exception | None = None
        try:
            async for delta in stream:
                _join(frame, delta)
                woken.set()
        except Exception as error:
            end = error
        ends.append(end)
        woken.set()

    async def watch() -> None:
        await interrupt.wait()
        ends.append(InterruptedGeneration())
        woken.set()

    clock = asyncio.get_running_loop().time
    tasks = [asyncio.create_task(gather()), asyncio.create_task(watch())]
    due = 0.0
    try:
        while True:
            await woken.wait()
            if frame and isinstance(frame[0], _GROWING) and (wait := due - clock()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(interrupt.wait(), wait)
            woken.clear()
            # Nothing can come between these lines: what ended the stream came after all that is in the frame.
            end = ends[0] if ends else None
            ended = bool(ends)
            if frame:
                due = clock() + seconds
                full = frame.copy()
                frame.clear()
                yield full
            if end is not None:
                raise end
            if ended:
                return
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closer = getattr(stream, "aclose", None)
        if closer is not None:
            await closer()


def _join(frame: list[Delta], delta: Delta) -> None:
    """Add a delta to a frame, to the last text where it goes on. A call that has ended replaces its parts."""
    match frame[-1:], delta:
        case [Text(before)], Text(text):
            frame[-1] = Text(before + text)
        case [Thinking(before)], Thinking(text):
            frame[-1] = Thinking(before + text)
        case [CallArguments(index, before)], CallArguments(same, text) if index == same:
            frame[-1] = CallArguments(index, before + text)
        case _, CallEnded(index):
            frame[:] = [one for one in frame if not (isinstance(one, CallBegun | CallArguments) and one.index == index)]
            frame.append(delta)
        case _:
            frame.append(delta)

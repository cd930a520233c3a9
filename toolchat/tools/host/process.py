"""One process that runs calls, as the chat sees it: asked, listened to, and killed when it is too late."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from toolchat.tools.host.channel import Message
from toolchat.tools.host.link import Link
from toolchat.tools.host.output import Output

_EOF_SECONDS = 0.5
"""A process that closed its channel has this long to end, and so to say how."""

_KILL_SECONDS = 0.7
"""For the host to report a killed process."""


class Cause(StrEnum):
    """Why there is no answer."""

    ENDED = "ended"
    MEMORY = "memory"
    """It was ended for taking too much, with what it had started."""
    HIDDEN = "hidden"
    """It was ended because what it takes could not be counted."""
    CLOSED = "closed"
    """It goes on, but closed the channel, so that no answer can come."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NoAnswer:
    cause: Cause
    how: str = ""
    """How it ended, where it did by itself."""


class Process:
    """Takes one request at a time."""

    def __init__(self, sock: socket.socket, token: str, output: int, kill: Callable[[], None]) -> None:
        self._heard: asyncio.Queue[Message | None] = asyncio.Queue()
        """None for the channel's end."""
        self._exit: asyncio.Future[NoAnswer] = asyncio.get_running_loop().create_future()
        self._link = Link(sock, token, self._heard.put_nowait, self._closed)
        self._open = True
        self._kill = kill
        self.output = Output(output)

    @property
    def alive(self) -> bool:
        """Whether it can take a request, as far as is known."""
        return self._open and not self._exit.done()

    def exited(self, how: NoAnswer) -> None:
        """The host says so."""
        if not self._exit.done():
            self._exit.set_result(how)
            # What it sent before its end may not have been read yet.
            self._link.pump()
            self._heard.put_nowait(None)

    async def ask(
        self,
        message: Message,
        seconds: float,
        cancel: asyncio.Event | None = None,
        on_part: Callable[[str], None] | None = None,
    ) -> Message | NoAnswer:
        """The answer to `message`, waited for until `seconds` have passed or `cancel` is set.

        `on_part` is given the parts of a long result, which come before its answer. A process that gave no answer is of
        no further use; see `end`.
        """
        self._link.send(message)
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while True:
            match answer := await self._next(max(0.0, deadline - clock()), cancel):
                case {"op": "part", "text": str(text)}:
                    if on_part is not None:
                        on_part(text)
                case _:
                    return answer

    async def _next(self, seconds: float, cancel: asyncio.Event | None) -> Message | NoAnswer:
        answer = asyncio.create_task(self._heard.get())
        cancelled = asyncio.create_task(cancel.wait()) if cancel is not None else None
        tasks = {task for task in (answer, cancelled) if task is not None}
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self.output.pump()
        # An answer that came in the same instant as the interruption is still the answer.
        if answer.done() and not answer.cancelled():
            heard = answer.result()
            return heard if heard is not None else await self._end_of()
        return NoAnswer(Cause.CANCELLED if cancel is not None and cancel.is_set() else Cause.TIMEOUT)

    async def end(self) -> bool:
        """Kill it with everything below it, and wait for that. False where the host does not confirm it in time."""
        self.drop()
        return await self.ended(_KILL_SECONDS)

    async def ended(self, seconds: float) -> bool:
        """Wait for its end, for at most so long; whether it has come."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._exit), seconds)
        return self._exit.done()

    def drop(self) -> None:
        """Kill it with everything below it, soon. May be called again."""
        self._open = False
        self._link.close()
        self.output.close()
        if not self._exit.done():
            self._kill()

    def _closed(self) -> None:
        self._open = False
        self._heard.put_nowait(None)

    async def _end_of(self) -> NoAnswer:
        if await self.ended(_EOF_SECONDS):
            return self._exit.result()
        return NoAnswer(Cause.CLOSED)

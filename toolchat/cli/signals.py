"""SIGINT, SIGTERM and SIGHUP unwind the program, so that every `finally` runs and no process is left.

Where SIGINT or SIGHUP are ignored when it starts, they stay so.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, Never, TypeVar

T = TypeVar("T")


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; unwinds as KeyboardInterrupt does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def install() -> None:
    """Have SIGTERM and SIGHUP raise `Terminated` in the main thread, while no event loop runs."""
    for number in _ending():
        signal.signal(number, _raise)


def _ending(*more: signal.Signals) -> list[signal.Signals]:
    # nohup(1) has SIGHUP ignored, and a script SIGINT for what it starts with "&": both mean it.
    heeded = [number for number in (*more, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    return [signal.SIGTERM, *heeded]


def _raise(number: int, _: FrameType | None) -> Never:
    # Once is enough: a second one would cut the cleaning up short.
    for other in _ending():
        signal.signal(other, signal.SIG_IGN)
    raise Terminated(number)


def run_async(main: Callable[[Interrupts], Coroutine[Any, Any, T]]) -> T:
    """Run `main` in a new event loop. A signal cancels it, and is raised once it has cleaned up.

    `main` is given an `Interrupts`, with which it can take Ctrl-C for itself for a while.
    """
    import asyncio

    async def supervised() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        interrupts = Interrupts()
        came: list[int] = []

        def stop(number: int) -> None:
            if number == signal.SIGINT and interrupts.taken_by is not None:
                interrupts.taken_by()
                return
            # A second one, while the first is being cleaned up, changes nothing.
            if not came:
                task.cancel()
            came.append(number)

        for number in _ending(signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        try:
            return await main(interrupts)
        except asyncio.CancelledError:
            if not came:
                raise
            if came[0] == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise Terminated(came[0]) from None

    with asyncio.Runner() as runner:
        return runner.run(supervised())


class Interrupts:
    """Who is told of Ctrl-C; nobody means that it ends the program."""

    def __init__(self) -> None:
        self.taken_by: Callable[[], None] | None = None

    @contextlib.contextmanager
    def to(self, handler: Callable[[], None]) -> Iterator[None]:
        """Within the block, Ctrl-C calls `handler` and nothing else."""
        self.taken_by = handler
        try:
            yield
        finally:
            self.taken_by = None

"""Notices that the program goes on after a stop (Ctrl-Z and `fg`): no line typed at the shell may answer a question."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterator

from toolchat.ui.approval import ARMING_SECONDS

_SIGNAL_SECONDS = 0.05
"""Within these the signal of a `fg` is handled, though a line came with it."""


class Stops:
    def __init__(self, resumed: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic) -> None:
        """`resumed` is called whenever the program goes on."""
        self._resumed = resumed
        self._clock = clock
        self._last = -ARMING_SECONDS

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for stops in this block, within a running event loop of the main thread."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCONT, self._continued)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGCONT)

    async def typed_blindly(self) -> bool:
        """True where a line that has just come may have been typed before the program went on."""
        await asyncio.sleep(_SIGNAL_SECONDS)
        return self._clock() - self._last < ARMING_SECONDS

    def _continued(self) -> None:
        self._last = self._clock()
        self._resumed()


async def read_awake(
    read: Callable[[str], Awaitable[str | None]], stops: Stops, too_soon: str, text: str
) -> str | None:
    """The line that `read` returns for a prompt, first `text`, and `too_soon` as long as it was typed blindly."""
    line = await read(text)
    while await stops.typed_blindly():
        line = await read(too_soon)
    return line

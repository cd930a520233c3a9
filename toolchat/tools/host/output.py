"""What a tool prints, as the user sees it: the beginning as it comes, the end when it is over, the rest counted.

However much and however fast a tool prints, it is neither held up nor kept in memory.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

HEAD = 32 * 1024
TAIL = 4 * 1024
"""Characters shown of what one call prints."""

_EVERY = 0.1
"""Seconds between two messages, at least."""
_READ = 256 * 1024
# Of what faulthandler writes when a tool crashes: the frames of this package, below the tool's own, and what follows.
_NOT_THE_TOOLS = re.compile(
    rf'^  File "(?:{re.escape(str(Path(__file__).parent))}/[^"]*|<frozen runpy>)", line \d+ in .*\n'
    r"|^\nExtension modules: .*\n",
    re.MULTILINE,
)

Listener = Callable[[str], None]


class Window:
    """What is shown of one call's output. The listener is given whole lines."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self._room = HEAD
        self._tail = ""
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        shown, rest = text[: self._room], text[self._room :]
        self._room -= len(shown)
        self._pending += shown
        if rest:
            tail = self._tail + rest[-TAIL:]
            self._left_out += len(rest)
            self._tail = tail[-TAIL:]
        if self._pending and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self._show_lines)

    def finish(self) -> None:
        """Show what is left."""
        if self._timer is not None:
            self._timer.cancel()
        text = self._pending + self._decoder.decode(b"", final=True)
        self._pending = ""
        missing = self._left_out - len(self._tail)
        if missing > 0:
            text += f"\n[… {missing:,} characters of its output are not shown …]\n"
        text += self._tail
        self._tell(text)

    def _show_lines(self) -> None:
        self._timer = None
        whole, newline, self._pending = self._pending.rpartition("\n")
        self._tell(whole + newline)

    def _tell(self, text: str) -> None:
        if text := _NOT_THE_TOOLS.sub("", text):
            self._listener(text)


class Output:
    """The chat's end of the pipe that a tool's process prints into."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._window: Window | None = None
        os.set_blocking(fd, False)
        asyncio.get_running_loop().add_reader(fd, self._read)

    def show(self, window: Window | None) -> None:
        """Have what comes from now on shown in `window`, or nowhere."""
        self._window = window

    def pump(self) -> None:
        """Read what has been printed up to now."""
        # One pipe's worth: something that goes on printing must not keep the chat here.
        for _ in range(8):
            if not self._read():
                return

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> bool:
        if self._fd < 0:
            return False
        data = b""
        with suppress(BlockingIOError):
            if not (data := os.read(self._fd, _READ)):
                asyncio.get_running_loop().remove_reader(self._fd)
        if data and self._window is not None:
            self._window.feed(data)
        return bool(data)

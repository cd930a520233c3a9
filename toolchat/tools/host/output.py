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

from toolchat.wire.excerpt import gap_line

HEAD = 32 * 1024
TAIL = 4 * 1024
"""Characters shown of what one call prints."""

_EVERY = 0.1
"""Seconds between two messages, at least."""
_EVERY_ROW = 0.25
"""As above, where only the row has changed that carriage returns replace: each of these goes into the record."""
_ERASE = re.compile("\x1b\\[[012]?K")
_READ = 256 * 1024
# Of what faulthandler writes when a tool crashes: the frames of this package, below the tool's own, and what follows.
_NOT_THE_TOOLS = re.compile(
    rf'^  File "(?:{re.escape(str(Path(__file__).parent))}/[^"]*|<frozen runpy>)", line \d+ in .*\n'
    r"|^\nExtension modules: .*\n",
    re.MULTILINE,
)

Listener = Callable[[str], None]


class Window:
    """What is shown of one call's output, as text in whole lines.

    A row that carriage returns replace, such as a progress bar, is shown as it is at the moment, and ends with "\\r"
    until it is final: what comes next takes its place.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._row = ""
        """The unfinished one: without "\\r", or its last state with one before or behind it."""
        self._shown_row = ""
        self._pending = ""
        self._room = HEAD
        self._tail = ""
        self._total = 0
        """Characters of all rows that are final."""
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        self._take(self._decoder.decode(data))
        if self._timer is None and (self._pending or "\r" in self._row):
            delay = _EVERY if self._pending else _EVERY_ROW
            self._timer = asyncio.get_running_loop().call_later(delay, self._show)

    def finish(self) -> None:
        """Show what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._take(self._decoder.decode(b"", final=True))
        row = _last_state(self._row)
        if "\r" in self._row and not row.strip():
            # It was wiped, as bars are that are to leave nothing.
            row = "\r" if self._shown_row else ""
        self._keep(row)
        text, self._pending = self._pending, ""
        if (missing := self._total - HEAD - len(self._tail)) > 0:
            text += f"\n{gap_line(missing, self._total)}\n"
        self._tell(text + self._tail)

    def _take(self, text: str) -> None:
        """Keep the rows that are final; the last one may still be replaced."""
        text = self._row + text
        if "\r" in text:
            *rows, last = text.replace("\r\n", "\n").split("\n")
            self._keep("".join(f"{_last_state(row)}\n" for row in rows))
            if "\r" in last:
                # What comes next goes on with this state of the row, or begins another, or makes a line's end of this.
                last = f"{_last_state(last)}\r" if last.endswith("\r") else f"\r{_last_state(last)}"
            self._row = last
        else:
            whole, newline, self._row = text.rpartition("\n")
            self._keep(whole + newline)
        if len(self._row) > HEAD:
            self._keep(_last_state(self._row))
            self._row = ""

    def _keep(self, text: str) -> None:
        shown, rest = text[: self._room], text[self._room :]
        self._room -= len(shown)
        self._pending += shown
        self._total += len(text)
        if rest:
            self._tail = (self._tail + rest[-TAIL:])[-TAIL:]

    def _show(self) -> None:
        self._timer = None
        text, self._pending = self._pending, ""
        if text:
            self._shown_row = ""
        if "\r" in self._row and (row := _last_state(self._row)) != self._shown_row:
            self._shown_row = row
            text += f"{row}\r"
        self._tell(text)

    def _tell(self, text: str) -> None:
        if text := _NOT_THE_TOOLS.sub("", text):
            self._listener(text)


def _last_state(row: str) -> str:
    """What a row with carriage returns shows in the end: what stands behind the last of them, or before it."""
    if "\r" not in row:
        return row
    return next((state for state in reversed(_ERASE.sub("", row).split("\r")) if state), "")


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

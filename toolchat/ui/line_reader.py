"""Reads lines of standard input (terminal, pipe or file) without blocking the event loop."""

from __future__ import annotations

import asyncio
import codecs
import os
import queue
import termios
import threading
from contextlib import suppress

from toolchat.standard_streams import read_some


class LineReader:
    """Reads in a thread, and only when it is asked: what nobody asked for stays where it is.

    The thread reads the file descriptor itself. A thread that is stuck in `sys.stdin.readline` when the program ends
    makes the interpreter abort.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._asked: queue.SimpleQueue[asyncio.Future[str | None]] = queue.SimpleQueue()
        self._pending: asyncio.Future[str | None] | None = None
        self._thread: threading.Thread | None = None
        self._rest = ""
        self._ended = False
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")

    async def line(self) -> str | None:
        """The next line without its newline; None at the end. Where this is cancelled, the next call gets that line."""
        if self._pending is None:
            self._pending = asyncio.get_running_loop().create_future()
            self._asked.put(self._pending)
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="standard-input", daemon=True)
                self._thread.start()
        line = await asyncio.shield(self._pending)
        self._pending = None
        return line

    def drop_pending(self) -> None:
        """Forget what was typed and not yet read, where this is a terminal."""
        with suppress(termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)
            self._rest = ""

    def _read(self) -> None:
        while True:
            future = self._asked.get()
            line = self._next()

            def answer(future: asyncio.Future[str | None] = future, line: str | None = line) -> None:
                if not future.done():
                    future.set_result(line)

            # The loop may have been closed meanwhile.
            with suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(answer)

    def _next(self) -> str | None:
        while "\n" not in self._rest and not self._ended:
            try:
                data = read_some(self._fd)
            except OSError:
                data = b""
            self._ended = not data
            self._rest += self._decoder.decode(data, final=self._ended)
        line, newline, self._rest = self._rest.partition("\n")
        if os.isatty(self._fd):
            # Ctrl-D ends what is being asked, and not the terminal.
            self._ended = False
            from toolchat.ui.keys import typed  # prompt-toolkit takes a while to import

            line = typed(line)
        # Files that were joined have a mark of the beginning each.
        line = line.removeprefix("\ufeff")
        return line if line or newline else None

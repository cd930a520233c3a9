"""One process that runs calls, as the chat sees it: what it is asked, what it prints, when it is killed, how it ended.

However much and however fast a tool prints, it is neither held up nor kept in memory: the beginning is shown as it
comes, the end when the call is over, and the rest is counted.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from toolchat.tools.host.channel import LOST_CHANNEL, AsyncChannel, Message
from toolchat.tools.variables import Redactor
from toolchat.wire.excerpt import gap_line

_EOF_SECONDS = 0.5
"""A process that closed its channel has this long to end, and so to say how."""

_KILL_SECONDS = 0.7
"""For the host to report a killed process."""


_MOST_UNREAD = 16
"""Messages that wait to be read; each request has one answer."""

HEAD = 32 * 1024
TAIL = 4 * 1024
"""Characters shown of what one call prints."""

_EVERY = 0.1
"""Seconds between two messages, at least."""
_EVERY_ROW = 0.25
"""As above, where only the row has changed that carriage returns replace: each of these goes into the record."""
_FIRST_COLUMN = re.compile(r"\x1b\[[01]?G")
_ERASE = re.compile("\x1b\\[[012]?K")
_READ = 256 * 1024
# Of what faulthandler writes when a tool crashes: the frames of this package, below the tool's own, and what follows.
_NOT_THE_TOOLS = re.compile(
    rf'^  File "(?:{re.escape(str(Path(__file__).parent))}/[^"]*|<frozen runpy>)", line \d+ in .*\n'
    r"|^\nExtension modules: .*\n",
    re.MULTILINE,
)

Listener = Callable[[str], None]

CLOSED = "it closed the connection that its result goes through"


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


class CallProcess:
    """Takes one request at a time, see `ask`."""

    def __init__(self, sock: socket.socket, token: str, output: int, kill: Callable[[], None]) -> None:
        self._heard: asyncio.Queue[Message | None] = asyncio.Queue()
        """None for the channel's end."""
        self._exit: asyncio.Future[NoAnswer] = asyncio.get_running_loop().create_future()
        self._on_part: Callable[[str], None] | None = None
        """Of the request under way."""
        self._channel = AsyncChannel(sock, token, self._hear, self._closed)
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
            self._channel.pump()
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
        self._on_part = on_part
        self._channel.send(message)
        answer = asyncio.create_task(self._heard.get())
        cancelled = asyncio.create_task(cancel.wait()) if cancel is not None else None
        tasks = {task for task in (answer, cancelled) if task is not None}
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._on_part = None
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

    async def end_in_peace(self, seconds: float) -> None:
        """Have it close what it has open and end, within so many seconds; then it is killed."""
        self._channel.send({"op": "end"})
        if not await self.ended(seconds):
            await self.end()

    async def ended(self, seconds: float) -> bool:
        """Wait for its end, for at most so long; whether it has come."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._exit), seconds)
        return self._exit.done()

    def drop(self) -> None:
        """Kill it with everything below it, soon. May be called again."""
        self._open = False
        self._channel.close()
        self.output.close()
        if not self._exit.done():
            self._kill()

    def _hear(self, message: Message) -> None:
        # A process may send what it likes, as fast as it likes: none of it may pile up, nor hold up the deadline.
        match message:
            case {"op": "part", "text": str(text)}:
                if self._on_part is not None:
                    self._on_part(text)
            case _ if self._heard.qsize() < _MOST_UNREAD:
                self._heard.put_nowait(message)

    def _closed(self) -> None:
        self._open = False
        self._heard.put_nowait(None)

    async def _end_of(self) -> NoAnswer:
        if await self.ended(_EOF_SECONDS):
            return self._exit.result()
        return NoAnswer(Cause.CLOSED)


class Window:
    """What is shown of one call's output, as text in whole lines.

    A row that carriage returns replace, such as a progress bar, is shown as it is at the moment, and ends with "\\r"
    until it is final: what comes next takes its place.
    """

    def __init__(self, listener: Listener, redactor: Redactor | None = None) -> None:
        """`redactor` replaces what the listener is not to see."""
        self._listener = listener
        self._redactor = redactor or Redactor({})
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
        row = _last_state(self._row).rstrip("\b")
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
        text = _moved(self._row + text)
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
            row = self._redactor.text(_last_state(self._row))
            # What is to be replaced may have come in part.
            end = len(row) - min(self._redactor.longest, HEAD)
            self._keep(row[:end])
            self._row = row[end:]

    def _keep(self, text: str) -> None:
        text = self._redactor.text(text)
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
        if "\r" in self._row and (row := self._redactor.text(_last_state(self._row))) != self._shown_row:
            self._shown_row = row
            text += f"{row}\r"
        self._tell(text)

    def _tell(self, text: str) -> None:
        if text := _NOT_THE_TOOLS.sub("", text):
            self._listener(text)


def _moved(text: str) -> str:
    """`text` as it is after its other ways to go back in a row: to the first column, or by backspaces.

    Backspaces that end an unfinished row stay: what comes next is written over what stands before them.
    """
    if "\x1b" in text:
        text = _FIRST_COLUMN.sub("\r", text)
    if "\b" in text:
        text = re.sub(r"\x08+(?=[\r\n])", "", re.sub(r"[^\r\n]+", _overwritten, text))
    return text


def _overwritten(row: re.Match[str]) -> str:
    cells: list[str] = []
    at = 0
    for character in row[0]:
        if character == "\b":
            at = max(at - 1, 0)
        else:
            cells[at : at + 1] = character
            at += 1
    return "".join(cells) + "\b" * (len(cells) - at)


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


def how_it_ended(code: int) -> str:
    """How a process ended: "exit code 3", "killed by SIGSEGV". `code` is as `Popen.returncode` gives it."""
    if code == LOST_CHANNEL:
        return CLOSED
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}{', perhaps for want of memory' if code == -signal.SIGKILL else ''}"


def seconds_text(number: float) -> str:
    return "1 second" if number == 1 else f"{number:g} seconds"

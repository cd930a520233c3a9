"""Lends the terminal to a program of the user's: a command behind `!`, an editor. Keeps what a command said.

The program has a terminal of its own (a pty), whose ends are copied: Ctrl-C, which the user's terminal in raw mode only
passes on, is a signal there, and ends the program alone.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import select
import signal
import struct
import sys
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

HEAD_BYTES, TAIL_BYTES = 8_000, 24_000
"""Of an output that is kept: its beginning and its end."""
END_SECONDS = 1.0
"""For so long a program that is to end may go on after it was told."""

# `subprocess` makes the session; only a process in it can take the terminal. Nothing of this program is imported.
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    print(f"{sys.argv[1]}: {error.strerror}", file=sys.stderr)
    sys.exit(127)
"""
_READ = 65536
_LAST_READS = 64
"""Of what is in a pty's buffer when its program has ended: some kilobytes."""

_SEQUENCES = re.compile(
    r"\x1b[PX\]^_].*?(?:\x07|\x1b\\|\Z)"  # OSC, DCS …
    r"|\x1b\[[\x20-\x3f]*[\x40-\x7e]"  # CSI
    r"|\x1b[\x20-\x2f]*[\x30-\x7e]",
    re.DOTALL,
)
_OTHER_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FULL_SCREEN = re.compile(rb"\x1b\[\?(?:1049|1047|47)h")


class Kept:
    """What a program has written: its beginning and its end, at most so much in memory."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self.left_out = 0
        """Bytes between the two."""
        self.full_screen = False
        """Whether it drew on the whole screen, as an editor does: that is no text."""
        self.ends_row = True
        self._before = b""

    def add(self, data: bytes) -> None:
        self.full_screen = self.full_screen or _FULL_SCREEN.search(self._before + data) is not None
        self._before = data[-8:]
        self.ends_row = data.endswith((b"\n", b"\r"))
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        self._tail += data[max(room, 0) :]
        if len(self._tail) > 2 * TAIL_BYTES:
            self._cut()

    def _cut(self) -> None:
        excess = len(self._tail) - TAIL_BYTES
        if excess > 0:
            self.left_out += excess
            del self._tail[:excess]

    @property
    def text(self) -> str:
        """As it read on the screen, without colours, and without control characters but newlines and tabs."""
        self._cut()
        if not self.left_out:
            return plain_text(bytes(self._head + self._tail).decode("utf-8", "replace"))
        # Both whole rows: half a sequence, or half a character, is no text.
        head = bytes(self._head).rpartition(b"\n")[0]
        tail = bytes(self._tail).partition(b"\n")[2]
        parts = [plain_text(part.decode("utf-8", "replace")) for part in (head, tail)]
        return f"{parts[0]}\n[… {self.left_out:,} bytes left out …]\n{parts[1]}"


def plain_text(text: str) -> str:
    """What a terminal would show of `text`, as far as rows go: of one that was written over the last state."""
    text = _SEQUENCES.sub("", text).replace("\r\n", "\n")
    rows = []
    for row in text.split("\n"):
        row = row.rstrip("\r").rpartition("\r")[2]
        while "\b" in row:
            shorter = re.sub("[^\b]\b", "", row)
            row = shorter if shorter != row else row.replace("\b", "")
        rows.append(_OTHER_CONTROLS.sub("", row).rstrip())
    return "\n".join(rows).strip("\n")


class PtyProgram:
    """One program in a terminal of its own, which is closed when the program has ended."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        keyboard: int,
        screen: Callable[[bytes], None],
        size: tuple[int, int],
        attributes: list[Any] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        """`keyboard` is read from while the program runs; it must be in raw mode. `size` is rows and columns."""
        self._arguments = arguments
        self._keyboard = keyboard
        self._screen = screen
        self._size = size
        self._attributes = attributes
        self._environment = environment
        self._master = -1
        self._unsent = b""

    def resize(self, rows: int, columns: int) -> None:
        self._size = rows, columns
        if self._master >= 0:
            with suppress(OSError):
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def run(self) -> int:
        """The exit code; negative for a signal, 127 where there is no such program, as for a shell."""
        loop = asyncio.get_running_loop()
        self._master, slave = os.openpty()
        process = None
        try:
            try:
                self._prepare(slave)
                helper = [sys.executable, "-I", "-S", "-c", _TAKE_TERMINAL, *self._arguments]
                process = await asyncio.create_subprocess_exec(
                    *helper, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=self._environment
                )
            finally:
                os.close(slave)
            os.set_blocking(self._master, False)
            loop.add_reader(self._master, self._to_screen)
            loop.add_reader(self._keyboard, self._to_program)
            code = await process.wait()
            # What it wrote last may still be there to be read; what it left running may write for ever.
            for _ in range(_LAST_READS):
                if not self._to_screen():
                    break
            return code
        finally:
            loop.remove_reader(self._keyboard)
            loop.remove_reader(self._master)
            loop.remove_writer(self._master)
            # All that is left in its terminal is told that it hangs up.
            os.close(self._master)
            self._master = -1
            if process is not None:
                await _end(process)

    def _prepare(self, slave: int) -> None:
        self.resize(*self._size)
        attributes = self._attributes or termios.tcgetattr(slave)
        characters = list(attributes[6])
        # Nobody would ever let a suspended program go on.
        characters[termios.VSUSP] = b"\x00"
        termios.tcsetattr(slave, termios.TCSANOW, [*attributes[:6], characters])

    def _to_screen(self) -> bool:
        """Copy what there is; False where there is nothing now."""
        try:
            data = os.read(self._master, _READ)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
            return False
        self._screen(data)
        return True

    def _to_program(self) -> None:
        try:
            data = os.read(self._keyboard, 4096)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._keyboard)
            return
        self._unsent += data
        self._send()

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            sent = os.write(self._master, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._unsent = b""
            sent = 0
        self._unsent = self._unsent[sent:]
        if self._unsent:
            # A program that reads nothing: what is typed waits, and is not read on either.
            loop.remove_reader(self._keyboard)
            loop.add_writer(self._master, self._send)
        else:
            loop.remove_writer(self._master)
            loop.add_reader(self._keyboard, self._to_program)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what is left of a program and of its process group."""
    if process.returncode is not None:
        return
    for number in (signal.SIGHUP, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await asyncio.shield(process.wait())
            return


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, also where another program has set the terminal not to wait."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])

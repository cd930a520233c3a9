from __future__ import annotations

import asyncio
import os
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from toolchat.ui.pty_program import HEAD_BYTES, TAIL_BYTES, Kept, PtyProgram, plain_text


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("a\r\nb\r\n", "a\nb"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("10 %\r50 %\r100 %\r\ndone", "100 %\ndone"),
        ("\x1b]0;title\x07x\x1b]8;;https://a\x1b\\y", "xy"),
        ("ab\b\bc_\bd", "cd"),
        ("a\x00\x07b\x9b1mc\u202e", "ab1mc\u202e"),
        ("\n\n  x  \n\n", "  x"),
        ("\x1b]never ends", ""),
    ],
)
def test_what_was_written_reads_as_on_the_screen(written: str, seen: str) -> None:
    assert plain_text(written) == seen


def test_a_long_output_is_kept_by_its_beginning_and_its_end() -> None:
    kept = Kept()
    for number in range(20_000):
        kept.add(f"row {number}\r\n".encode())
    rows = kept.text.split("\n")
    assert (rows[0], rows[-1]) == ("row 0", "row 19999")
    assert len(kept.text) < HEAD_BYTES + TAIL_BYTES
    (gap,) = [row for row in rows if row.startswith("[…")]
    assert gap == f"[… {kept.left_out:,} bytes left out …]"


def test_one_row_of_megabytes_is_bounded_too() -> None:
    kept = Kept()
    for _ in range(200):
        kept.add("ü".encode() * 10_000)
    assert len(kept.text) < HEAD_BYTES + TAIL_BYTES + 100


def test_a_program_on_the_whole_screen_has_said_nothing() -> None:
    kept = Kept()
    kept.add(b"x\x1b[?10")
    assert not kept.full_screen
    kept.add(b"49h")
    assert kept.full_screen


class Keyboard:
    """A user's terminal in raw mode: what is typed at it, and what the program writes."""

    def __init__(self) -> None:
        self._typing, self.end = os.openpty()
        tty.setraw(self.end)
        os.set_blocking(self._typing, False)
        self.seen = b""

    def type(self, text: bytes) -> None:
        with suppress(BlockingIOError):  # nobody reads: a person would hear a beep
            os.write(self._typing, text)

    def lent(self, *arguments: str, **environment: str) -> PtyProgram:
        return PtyProgram(
            arguments, keyboard=self.end, screen=self._see, size=(7, 33), environment={**os.environ, **environment}
        )

    def _see(self, data: bytes) -> None:
        self.seen += data

    async def wait_for(self, text: bytes) -> None:
        async with asyncio.timeout(30):
            while text not in self.seen:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def close(self) -> None:
        os.close(self._typing)
        os.close(self.end)


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    made = Keyboard()
    yield made
    made.close()


a_process = pytest.mark.process


@a_process
def test_a_program_has_a_terminal_of_the_same_size_and_what_is_typed(keyboard: Keyboard) -> None:
    async def play() -> int:
        lent = keyboard.lent("/bin/sh", "-c", "stty size; read line; echo got $line; stty size; exit 3")
        running = asyncio.create_task(lent.run())
        await keyboard.wait_for(b"7 33")
        lent.resize(9, 44)
        keyboard.type(b"word\r")
        return await running

    assert asyncio.run(play()) == 3
    assert b"got word" in keyboard.seen
    assert b"9 44" in keyboard.seen


@a_process
def test_ctrl_c_ends_the_program_and_not_who_lent_the_terminal(keyboard: Keyboard) -> None:
    async def play() -> int:
        running = asyncio.create_task(keyboard.lent("/bin/sh", "-c", "echo begun; exec sleep 100").run())
        await keyboard.wait_for(b"begun")
        keyboard.type(b"\x1a")  # Ctrl-Z does nothing
        keyboard.type(b"\x03")
        return await running

    assert asyncio.run(play()) == -2


@a_process
def test_a_program_that_is_not_there_is_told_in_a_line(keyboard: Keyboard) -> None:
    assert asyncio.run(keyboard.lent("/nowhere/editor").run()) == 127
    assert keyboard.seen == b"/nowhere/editor: No such file or directory\r\n"


@a_process
def test_what_is_cancelled_ends_with_all_that_it_started(
    keyboard: Keyboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchat.ui.pty_program.END_SECONDS", 0.05)
    script = "echo $$ > pid; trap '' HUP INT TERM; sleep 100 & echo $! > child; echo begun; wait; sleep 100"

    async def play() -> None:
        running = asyncio.create_task(keyboard.lent("/bin/sh", "-c", f"cd {tmp_path}; {script}").run())
        await keyboard.wait_for(b"begun")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(play())
    deadline = time.monotonic() + 30
    pids = [int((tmp_path / name).read_text()) for name in ("pid", "child")]
    while not all(map(is_gone, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@a_process
def test_a_program_that_reads_nothing_holds_nothing_up(keyboard: Keyboard, tmp_path: Path) -> None:
    until = f"while not pathlib.Path({str(tmp_path / 'end')!r}).exists(): time.sleep(.01)"
    program = f"import pathlib, time\nprint('begun', flush=True)\n{until}"

    async def play() -> int:
        running = asyncio.create_task(keyboard.lent(sys.executable, "-S", "-c", program).run())
        await keyboard.wait_for(b"begun")
        for _ in range(20):
            keyboard.type(b"x" * 1000)
            await asyncio.sleep(0)
        (tmp_path / "end").touch()
        return await running

    assert asyncio.run(play()) == 0


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True

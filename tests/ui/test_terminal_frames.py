"""The frames that `Terminal` writes while its terminal becomes another size in the midst of drawing them."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.layout import Window
from prompt_toolkit.layout.controls import FormattedTextControl

from toolchat.ui.frame import BEGIN_FRAME, END_FRAME
from toolchat.ui.terminal import LIVE_SHARE, Terminal

ROWS, COLUMNS, NARROWER = 24, 60, 25


class Pty:
    """A terminal; `written` is what has been written to it since that was last asked for."""

    def __init__(self) -> None:
        self._ours, self._theirs = os.openpty()
        os.set_blocking(self._ours, False)

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Be the terminal of this process."""
        with (
            open(self._theirs, closefd=False) as stdin,
            open(self._theirs, "w", closefd=False) as stdout,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "stdin", stdin)
            patch.setattr(sys, "stdout", stdout)
            patch.setenv("TERM", "tmux-256color")
            yield

    def close(self) -> None:
        os.close(self._ours)
        os.close(self._theirs)

    def resize(self, columns: int) -> None:
        termios.tcsetwinsize(self._theirs, (ROWS, columns))

    @property
    def written(self) -> str:
        data = b""
        with suppress(BlockingIOError):
            while True:
                data += os.read(self._ours, 65536)
        return data.decode()


@pytest.fixture
def pty() -> Iterator[Pty]:
    made = Pty()
    made.resize(COLUMNS)
    yield made
    made.close()


class Shown:
    """Two live rows as wide as they may be; what `meanwhile` holds is done once, in the midst of the next frame."""

    def __init__(self) -> None:
        self.mark = "a"
        self.meanwhile: Callable[[], object] | None = None
        self.told: list[int] = []

    def live(self, columns: int, rows: int) -> list[str]:
        assert rows == ROWS // LIVE_SHARE
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return [self.mark * (columns - 1)] * 2


@asynccontextmanager
async def opened(shown: Shown) -> AsyncIterator[Terminal]:
    bar = Window(FormattedTextControl(lambda: [("", "x" * (terminal.columns - 1))]), height=1)
    focused = Window(FormattedTextControl("› ", focusable=True, show_cursor=True), height=1)
    terminal = Terminal(
        shown.live,
        [focused, bar],
        focused,
        KeyBindings(),
        color=True,
        resized=lambda: shown.told.append(terminal.columns),
        covered=lambda: None,
        uncovered=lambda: None,
    )
    drawn = asyncio.Event()
    running = asyncio.create_task(terminal.run(first_drawn=drawn.set, ending=lambda: None))
    await drawn.wait()
    await terminal.drawn()
    yield terminal
    terminal.leave(0)
    assert await running == 0


def in_a_terminal(pty: Pty, test: Callable[[Terminal, Shown], Awaitable[None]]) -> Shown:
    shown = Shown()

    async def run() -> None:
        async with opened(shown) as terminal:
            await test(terminal, shown)

    with pty.standing_in():
        asyncio.run(run())
    return shown


def test_a_frame_whose_terminal_has_been_resized_meanwhile_is_not_written(pty: Pty) -> None:
    async def test(terminal: Terminal, shown: Shown) -> None:
        assert "a" * (COLUMNS - 1) in pty.written
        shown.mark, shown.meanwhile = "b", lambda: pty.resize(NARROWER)
        terminal.print("printed")
        await terminal.drawn()
        written = pty.written
        # One frame, for the new size alone; it begins where the one before does now, whose rows take three each.
        assert written.count(BEGIN_FRAME) == written.count(END_FRAME) == 1
        assert written.count("printed") == 1
        assert "b" * NARROWER not in written
        assert "b" * (NARROWER - 1) in written.replace("\r\x1b[23C", "")
        assert written.index("\x1b[4A\x1b[2A") < written.index("printed")

    assert in_a_terminal(pty, test).told == [COLUMNS, NARROWER]


def test_a_size_that_comes_back_meanwhile_leaves_all_as_it_was(pty: Pty) -> None:
    async def test(terminal: Terminal, shown: Shown) -> None:
        def narrower_and_back() -> None:
            pty.resize(NARROWER)
            shown.meanwhile = lambda: pty.resize(COLUMNS)

        pty.written  # noqa: B018
        shown.meanwhile = narrower_and_back
        terminal.print("printed")
        await terminal.drawn()
        written = pty.written
        assert written.count(BEGIN_FRAME) == written.count("printed") == 1
        assert "a" * (COLUMNS - 1) in written

    assert in_a_terminal(pty, test).told == [COLUMNS, NARROWER, COLUMNS]


def test_the_last_frame_is_written_whatever_the_size(pty: Pty) -> None:
    async def test(terminal: Terminal, shown: Shown) -> None:
        pty.written  # noqa: B018
        shown.meanwhile = lambda: pty.resize(NARROWER)
        terminal.print("printed")
        terminal.leave(0)

    in_a_terminal(pty, test)
    written = pty.written
    assert written.count("printed") == 1
    assert written.endswith("\x1b[?2004l\x1b[?1004l")

"""The one owner of the terminal. Its bottom rows are a prompt-toolkit application; all else is printed above them.

The terminal stays in raw mode throughout: what is typed while an answer streams is neither echoed by the terminal nor
turned into signals. So printing must not go by prompt-toolkit's `run_in_terminal`, which leaves raw mode each time;
it is a part of drawing instead: erase the bottom rows, print, draw them again, written out in one piece.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import termios
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from prompt_toolkit.application import in_terminal, run_in_terminal
from prompt_toolkit.cursor_shapes import ModalCursorShapeConfig
from prompt_toolkit.data_structures import Point, Size
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindingsBase
from prompt_toolkit.layout import ConditionalContainer, HSplit, Layout, Window
from prompt_toolkit.layout.containers import AnyContainer
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.layout.screen import Screen
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from toolchat.ui.frame import BEGIN_FRAME, END_FRAME, FrameApplication, FrameOutput, became_narrower, reflows, rows_more
from toolchat.ui.keys import KeyParser
from toolchat.ui.terminal_window import TerminalWindow

if TYPE_CHECKING:
    from toolchat.ui.pty_program import Kept, PtyProgram

FRAME_SECONDS = 1 / 30
SETTLE_SECONDS = 0.3
"""For so long after a resize, nothing is drawn where the terminal reflows. tmux tells of a second one up to 0.25 s
after it has moved all rows: what is drawn meanwhile would start from a row that is another one there, and erase what
was printed. A frame is written only while the terminal has the size that it was drawn for. One that is on its way
while the terminal reflows cannot be known of: if it became narrower, a row of the live region may stay there, which was
not seen in 300 resizes during an answer on a busy machine. The other mistake would erase a printed row."""
LIVE_SHARE = 3
"""The live region takes at most one row in so many of the screen."""

_JOINED = re.compile("[\u200d\U0001f1e6-\U0001f1ff]")
"""The joiner of emoji, and the letters that flags are made of."""

STYLE = Style.from_dict(
    {
        "toolbar": "ansibrightblack",
        "auto-suggestion": "ansibrightblack",
        "paste": "ansibrightblack",
        "completion-menu": "noinherit",
        "completion-menu.completion": "noinherit",
        "completion-menu.completion.current": "noinherit reverse",
        "completion-menu.meta.completion": "noinherit ansibrightblack",
        "completion-menu.meta.completion.current": "noinherit ansibrightblack",
    }
)
"""No backgrounds: rows that reach the edge would wrap when the terminal becomes narrower."""

LiveRows = Callable[[int, int], Sequence[str]]
"""Given the columns and the most rows, the rows of the live region: ANSI text, each narrower than the columns."""


class Terminal:
    """Holds the bottom rows: the live region, and below it what the REPL puts there."""

    def __init__(
        self,
        live: LiveRows,
        bottom: Sequence[AnyContainer],
        focused: Window,
        bindings: KeyBindingsBase,
        *,
        color: bool,
        resized: Callable[[], None],
        covered: Callable[[], None],
        uncovered: Callable[[], None],
        vi: bool = False,
        theme: str = "dark",
    ) -> None:
        """`theme` is "light", "dark", or "auto" for what the terminal says of its background."""
        self._live = live
        self._told_resized = resized
        self._told_covered = covered
        self._told_uncovered = uncovered
        self._focused = focused
        self._drawn: list[asyncio.Future[None]] = []
        self._rows: StyleAndTextTuples = []
        self._pending: list[str] = []
        self._printed = ""
        """With the frame that is being drawn."""
        self._framed = False
        self._joined = False
        self._own_stop = False
        self.window = TerminalWindow(self.write_raw, self.redraw, os.environ, theme)
        self._left = False
        self._lent: PtyProgram | None = None
        self._before: list[Any] | None = None
        self._reflows = reflows(os.environ)
        self._settles_at = 0.0
        self._seen = Size(rows=0, columns=0)
        self._told_size = self._seen
        self._drawn_in = self._seen
        """The size that what is on the terminal was drawn for."""
        self._before_frame: dict[str, Any] = {}
        """Of the renderer."""
        self._drawn_over: Screen | None = None
        """What was on the terminal when the frame began; None where it was erased."""
        self._cursor = Point(x=0, y=0)
        self._output = FrameOutput(None if color else ColorDepth.DEPTH_1_BIT)
        region = Window(FormattedTextControl(lambda: self._rows), dont_extend_height=True, wrap_lines=False)
        self._root = HSplit([ConditionalContainer(region, Condition(lambda: bool(self._rows))), *bottom])
        self.input: Input = create_input()
        if isinstance(self.input, Vt100Input):
            self.input.vt100_parser = KeyParser(self.input.vt100_parser.feed_key_callback, self.window.reported)
        self.app = FrameApplication(
            Layout(self._root, focused_element=focused),
            key_bindings=bindings,
            erase_when_done=True,
            min_redraw_interval=FRAME_SECONDS,
            terminal_size_polling_interval=None,
            style=STYLE,
            input=self.input,
            output=self._output,
            editing_mode=EditingMode.VI if vi else EditingMode.EMACS,
            cursor=ModalCursorShapeConfig() if vi else None,
        )
        # A lone Escape is told from Alt by what follows at once; half a second of waiting for it would be felt.
        self.app.ttimeoutlen = 0.05
        # Nor is Escape by itself told late from Escape and Enter, which the editor of a dialog knows both of.
        self.app.timeoutlen = 0.2
        self.app.may_draw = self._has_settled
        self.app.before_render += self._begin_frame
        self.app.after_render += self._end_frame

    @property
    def size(self) -> Size:
        return self._output.get_size()

    @property
    def columns(self) -> int:
        return self.size.columns

    @property
    def rows(self) -> int:
        return self.size.rows

    @property
    def descriptor(self) -> int:
        """Of the terminal's output."""
        return self._output.fileno()

    async def run(self, *, first_drawn: Callable[[], None], ending: Callable[[], None]) -> int:
        """Hold the terminal until `leave`; returns the code given there. The terminal is restored in any case.

        `ending` may print what only the bottom rows have shown so far.
        """
        loop = asyncio.get_running_loop()
        own = {
            signal.SIGWINCH: self._resized,
            signal.SIGTSTP: self.suspend,
            signal.SIGCONT: self._continued,
        }

        with suppress(termios.error):
            self._before = termios.tcgetattr(self.input.fileno())

        def drawn(_: object) -> None:
            self.app.after_render -= drawn
            loop.call_soon(self._take_type_ahead)
            # Only now: prompt-toolkit has set a handler of its own for a resize, which knows nothing of reflowing.
            for number, handler in own.items():
                loop.add_signal_handler(number, handler)
            self.window.take()
            first_drawn()

        self.app.after_render += drawn
        try:
            return await self.app.run_async(set_exception_handler=False, handle_sigint=False)
        finally:
            for number in own:
                loop.remove_signal_handler(number)
            ending()
            self._write_pending()
            self._release()
            # The last frame has erased the bottom rows, and erasing within a frame leaves this on.
            self._output.disable_bracketed_paste()
            self.window.give_back(for_good=True)
            self._output.flush()

    def leave(self, code: int) -> None:
        """Have `run` return, once; the bottom rows are erased, what was printed stays."""
        if not self.window.owes_answer:
            self._exit(code)
        elif not self._left:
            self._left = True
            # What the terminal has yet to answer would be typed at the shell.
            answered = asyncio.ensure_future(self.window.answered())
            answered.add_done_callback(lambda _: self._exit(code))

    def _exit(self, code: int) -> None:
        if self.app.is_running and not self.app.is_done:
            self.app.exit(result=code)

    def fail(self, error: BaseException) -> None:
        """Have `run` raise."""
        if self.app.is_running and not self.app.is_done:
            self.app.exit(exception=error)

    def print(self, ansi: str) -> None:
        """Print whole lines above the bottom rows, with the next frame. Nothing in them may move the cursor."""
        if not ansi:
            return
        self._pending.append(ansi if ansi.endswith("\n") else f"{ansi}\n")
        if self.app.is_running:
            self.app.invalidate()

    def redraw(self) -> None:
        """Draw the bottom rows again, with the next frame."""
        if self.app.is_running:
            self.app.invalidate()

    async def drawn(self) -> None:
        """Wait until all that has been printed and changed by now is on the screen."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drawn.append(future)
        self.redraw()
        await future

    def focus(self, window: Window | None) -> None:
        """Have keys go to a window of the bottom rows; None for the one that had them first. Ends a search."""
        if self.app.layout.is_searching:
            self.app.layout.search_links.clear()
        self.app.layout.focus(window or self._focused)

    def write_raw(self, sequence: str) -> None:
        """Write a control sequence that shows nothing, such as one for the clipboard."""
        self._output.write_raw(sequence)
        self._output.flush()

    async def lend(self, arguments: Sequence[str], kept: Kept | None = None) -> int:
        """Let a program have the terminal until it ends; its exit code, see `PtyProgram`. `kept` keeps what it writes.

        May be cancelled, which ends the program. What is printed meanwhile stands below what the program has written.
        """
        from toolchat.ui.pty_program import Kept, PtyProgram, write_all

        seen = kept if kept is not None else Kept()
        screen = self._output.fileno()

        def show(data: bytes) -> None:
            seen.add(data)
            write_all(screen, data)

        await self.drawn()
        await self.window.answered()
        size = self.size
        async with in_terminal():
            self._told_covered()
            self.window.give_back()
            try:
                with self.input.raw_mode():
                    self._lent = PtyProgram(
                        arguments,
                        keyboard=self.input.fileno(),
                        screen=show,
                        size=(size.rows, size.columns),
                        attributes=self._before,
                    )
                    return await self._lent.run()
            finally:
                self._lent = None
                # Whatever it left: colours, a hidden cursor, a row that has not ended.
                self.write_raw("\x1b[0m\x1b[?25h" + ("" if seen.ends_row else "\r\n"))
                self.window.take()
                self._told_uncovered()

    def drop_pending_input(self) -> bool:
        """Forget what was typed and not read yet: it was meant for what was on the screen before. True if any was."""
        try:
            waiting = self._unread()
            termios.tcflush(self.input.fileno(), termios.TCIFLUSH)
        except termios.error:
            return False
        half_read = self.input.flush_keys()
        queued = self.app.key_processor.empty_queue()
        return bool(waiting or half_read or queued)

    def suspend(self) -> None:
        """Stop this program as Ctrl-Z does, with the terminal as it was before; redraw when it goes on."""

        def stop() -> None:
            loop = asyncio.get_running_loop()
            # As it was before the chat; prompt-toolkit's own cooked mode, which this runs in, is only nearly that.
            if self._before is not None:
                termios.tcsetattr(self.input.fileno(), termios.TCSADRAIN, self._before)
            loop.remove_signal_handler(signal.SIGTSTP)
            self._own_stop = True
            self._told_covered()
            self.window.give_back()
            # The whole job, as the terminal itself would: a `make` around this program stops too.
            os.kill(0, signal.SIGTSTP)
            loop.add_signal_handler(signal.SIGTSTP, self.suspend)
            self.window.take()
            self._told_uncovered()

        if self.app.is_running:
            run_in_terminal(stop)

    def _take_type_ahead(self) -> None:
        """What was typed before the terminal was in raw mode has come by way of line mode: its Enter is a newline."""
        waiting = self._unread()
        if waiting and isinstance(self.input, Vt100Input):
            typed = os.read(self.input.fileno(), waiting).decode("utf-8", "surrogateescape")
            self.input.vt100_parser.feed(typed.replace("\n", "\r"))
            self.app.key_processor.feed_multiple(self.input.flush_keys())
            self.app.key_processor.process_keys()

    def _unread(self) -> int:
        """Bytes that were typed and not read yet."""
        waiting = array("i", [0])
        with suppress(OSError):
            fcntl.ioctl(self.input.fileno(), termios.FIONREAD, waiting)
        return waiting[0]

    def _continued(self) -> None:
        # SIGSTOP gives no warning: a shell may have set the terminal to its own liking meanwhile.
        if self._own_stop:
            self._own_stop = False
            return
        self.input.raw_mode().__enter__()
        self.window.take()
        self.app.renderer.reset()
        self.app.invalidate()
        self._told_uncovered()

    def _resized(self) -> None:
        if self._lent is not None:
            size = self.size
            self._lent.resize(size.rows, size.columns)
        if self._reflows:
            loop = asyncio.get_running_loop()
            self._settles_at = loop.time() + SETTLE_SECONDS
            loop.call_later(SETTLE_SECONDS + FRAME_SECONDS, self.redraw)
        self.redraw()

    def _has_settled(self) -> bool:
        size, before = self._output.measure(), self._seen
        self._seen = size
        if size != before and self.app.renderer.last_rendered_screen is not None:
            # The frame is before the signal.
            self._resized()
        return asyncio.get_running_loop().time() >= self._settles_at

    def _begin_frame(self, _: object) -> None:
        self._before_frame = vars(self.app.renderer).copy()
        self._output.begin()
        size = self.size
        if size != self._told_size:
            self._told_size = size
            self._told_resized()
        rows = self._live(size.columns, max(1, size.rows // LIVE_SHARE))
        text = "\n".join(rows)
        self._rows = ANSI(text).__pt_formatted_text__() if text else []
        screen = self.app.renderer.last_rendered_screen
        # The renderer never lets the bottom rows become fewer by itself.
        needed = self._root.preferred_height(size.columns, size.rows).preferred
        shrinks = screen is not None and screen.height > needed
        # Emoji that some terminals join take fewer columns there than are counted: moving from where the cursor is
        # thought to be would write over what stands before them. Drawn anew, each row begins at its first column.
        joined, self._joined = self._joined, _JOINED.search(text + self.app.current_buffer.text) is not None
        moved = screen is not None and size != self._drawn_in
        if self._pending or shrinks or joined or moved:
            self._output.write_raw(BEGIN_FRAME)
            if screen is not None and moved and self._reflows:
                self._output.cursor_up(rows_more(screen, self._cursor, size.columns))
            self.app.renderer.erase(leave_alternate_screen=False)
            self._write_pending()
            self._framed = True
        self._drawn_over = self.app.renderer.last_rendered_screen

    def _end_frame(self, _: object) -> None:
        if self._output.is_outdated and not self.app.is_done:
            self._drop_frame()
            return
        renderer, layout = self.app.renderer, self.app.layout
        screen = renderer.last_rendered_screen
        if screen is not None:
            # Else the terminal would wrap the row by the cells that it had before, and nobody could tell where it is.
            if self._reflows and self._drawn_over is not None and became_narrower(self._drawn_over, screen):
                self._output.write_raw(BEGIN_FRAME)
                renderer.erase(leave_alternate_screen=False)
                renderer.render(self.app, layout)
                self._framed = True
            self._cursor = screen.get_cursor_position(layout.current_window)
        if self._framed:
            self._output.write_raw(END_FRAME)
            self._framed = False
        self._release()
        self._printed = ""
        self._drawn_in = self._told_size
        for future in self._drawn:
            if not future.done():
                future.set_result(None)
        self._drawn.clear()

    def _drop_frame(self) -> None:
        """The terminal has had another size since the frame began, and so has moved the rows that it starts from."""
        self._output.drop()
        vars(self.app.renderer).update(self._before_frame)
        if self._printed:
            self._pending.insert(0, self._printed)
            self._printed = ""
        self._framed = False
        self._joined = True  # what stands there may be, and not what would have
        self._resized()

    def _release(self) -> None:
        self._output.gathering = False
        self._output.flush()

    def _write_pending(self) -> None:
        self._printed = "".join(self._pending)
        self._output.write_raw(self._printed.replace("\n", "\r\n"))
        self._pending.clear()

"""What the bottom rows are drawn with: an output that writes a frame in one piece, and who says when one is drawn."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Size
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output

BEGIN_FRAME, END_FRAME = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output; ignored where it is not known."""


class FrameOutput(Vt100_Output):
    """Gathers what belongs to one frame. Asks the terminal nothing, so that no answer mixes with what is typed."""

    def __init__(self, color_depth: ColorDepth | None) -> None:
        super().__init__(
            sys.stdout,
            self._terminal_size,
            term=os.environ.get("TERM"),
            default_color_depth=color_depth,
            enable_bell=False,
            enable_cpr=False,
        )
        self.gathering = False

    def flush(self) -> None:
        if not self.gathering:
            super().flush()

    def disable_bracketed_paste(self) -> None:
        # Erasing ends with this. Within a frame it would leave a gap in which a paste could submit.
        if not self.gathering:
            super().disable_bracketed_paste()

    def erase_down(self) -> None:
        # From the very first cell on, tmux would take it for clearing the screen, and keep what stood there in its
        # scrollback: so not from there.
        self.write_raw("\x1b[K\x1b[C\x1b[J\x1b[D")

    @staticmethod
    def _terminal_size() -> Size:
        try:
            columns, rows = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            columns, rows = 0, 0
        return Size(rows=rows or 24, columns=columns or 80)


class FrameApplication(Application[int]):
    """Draws when it may."""

    may_draw: Callable[[], bool]

    def _redraw(self, render_as_done: bool = False) -> None:
        # The one place where all drawing goes through; prompt-toolkit has no public one.
        if render_as_done or self.may_draw():
            super()._redraw(render_as_done)

"""Draws the bottom rows as frames: writes each frame at once, and repairs the rows after a resize.

tmux wraps a row by all the cells that were ever written to it: what was erased from a later cell on counts as blanks,
and only erasing the row from its first cell on forgets them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point, Size
from prompt_toolkit.layout.screen import Char, Screen
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output

BEGIN_FRAME, END_FRAME = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output; ignored where it is not known."""


class FrameOutput(Vt100_Output):
    """Gathers what belongs to one frame, which is drawn for one size. Asks the terminal nothing, and so never waits."""

    def __init__(self, color_depth: ColorDepth | None) -> None:
        super().__init__(
            sys.stdout,
            self._size_for_drawing,
            term=os.environ.get("TERM"),
            default_color_depth=color_depth,
            enable_bell=False,
            enable_cpr=False,
        )
        self.gathering = False
        self._measured = self._terminal_size()
        self._before: dict[str, Any] = {}

    def measure(self) -> Size:
        """The size of the terminal, which also is the one that the next frame is drawn for."""
        self._measured = self._terminal_size()
        return self._measured

    def begin(self) -> None:
        """Gather, from here on, a frame for the size that was last measured."""
        self._before = {**vars(self), "_buffer": [], "_before": {}}
        self.gathering = True

    @property
    def is_outdated(self) -> bool:
        """Whether the terminal has another size than the one that the frame is drawn for."""
        return self._terminal_size() != self._measured

    def drop(self) -> None:
        """Forget all that was gathered since `begin`."""
        vars(self).update(self._before)

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

    def _size_for_drawing(self) -> Size:
        # A frame that is begun for one size and ended for another starts from a row that is another one there.
        return self._measured if self.gathering else self._terminal_size()

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
    """Called before each frame, also before the last one, which is drawn in any case."""

    def _redraw(self, render_as_done: bool = False) -> None:
        # The one place where all drawing goes through; prompt-toolkit has no public one.
        if self.may_draw() or render_as_done:
            super()._redraw(render_as_done)


_REFLOWS = ("TMUX", "VTE_VERSION", "KITTY_WINDOW_ID", "WEZTERM_PANE", "ALACRITTY_WINDOW_ID", "KONSOLE_VERSION")
_TERMS = ("tmux", "xterm-kitty", "xterm-ghostty", "alacritty", "wezterm", "foot")
"""What TERM begins with: of all that tells one terminal from another, ssh passes on nothing else."""


def reflows(environment: Mapping[str, str]) -> bool:
    """True where the terminal is known to wrap its rows anew when it becomes narrower, as xterm does not."""
    return (
        any(environment.get(name) for name in _REFLOWS)
        or environment.get("TERM_PROGRAM", "") not in ("", "xterm")
        or environment.get("TERM", "").startswith(_TERMS)
    )


def became_narrower(before: Screen, after: Screen) -> bool:
    """Whether a row has fewer cells `after` than it had `before`, so that its end was erased."""
    common = range(min(before.height, after.height))
    return any(_last(after.data_buffer[y]) < _last(before.data_buffer[y]) for y in common)


def rows_more(screen: Screen, cursor: Point, columns: int) -> int:
    """By how many rows the drawn rows above the cursor have grown, where each has only the cells that are seen."""
    more = sum(_breaks(row, _last(row), columns) for row in (screen.data_buffer[y] for y in range(cursor.y)))
    # A cursor that stands behind the last cell stays with it.
    row = screen.data_buffer[cursor.y]
    return more + _breaks(row, min(cursor.x, _last(row)), columns)


def _last(row: Mapping[int, Char]) -> int:
    """Where the last cell of a row begins that is not blank; 0 where there is none."""
    return max((x for x, cell in row.items() if cell.char.strip()), default=0)


def _breaks(row: Mapping[int, Char], last: int, columns: int) -> int:
    """How often a row is broken up to its cell at `last`. A wide character goes to the next row whole."""
    breaks = used = 0
    for x in range(last + 1):
        cell = row.get(x)
        width = cell.width if cell is not None else 1
        if used + width > columns:
            breaks += 1
            used = 0
        used += width
    return breaks

"""What becomes of the bottom rows where the terminal wraps what it shows anew when it becomes narrower.

tmux wraps a row by all the cells that were ever written to it: what was erased from a later cell on counts as blanks,
and only erasing the row from its first cell on forgets them.
"""

from __future__ import annotations

from collections.abc import Mapping

from prompt_toolkit.data_structures import Point
from prompt_toolkit.layout.screen import Char, Screen

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

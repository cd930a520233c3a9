"""Styled text as a terminal takes it: what is printed above the prompt, as one string."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

_CODES = {
    "": "",
    "bold": "1",
    "dim": "2",
    "italic": "3",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "bold cyan": "1;36",
    "bold red": "1;31",
    "dim italic": "2;3",
}
_COLOURS = ("30", "31", "32", "33", "34", "35", "36", "37")


def paint(text: str, style: str, *, color: bool) -> str:
    """`text` in one of a few styles. Without `color` it keeps what is no colour: bold, dim, italic."""
    codes = [code for code in _CODES[style].split(";") if code and (color or code not in _COLOURS)]
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text


def rendered(lines: Sequence[Text], width: int, *, color: bool) -> str:
    """Rich texts as rows, wrapped at `width`; each ends with a newline."""
    from rich.console import Console

    out = io.StringIO()
    made = Console(
        file=out,
        width=width,
        force_terminal=True,
        color_system="standard" if color else None,
        no_color=not color,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    for line in lines:
        made.print(line)
    return out.getvalue()

"""The styles of text: one table of names, and how each is written as SGR codes or for prompt-toolkit.

A style is names from `_CODES` joined by spaces, as rich writes them: "bold cyan"; "" is no style.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

# Of the 16 colours of a terminal, those that can be read on light and on dark backgrounds.
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}
_CODES = {"bold": "1", "dim": "2", "italic": "3", "underline": "4", "strike": "9"} | _COLOURS

ROLES = {"title": "bold", "text": "", "dim": "dim", "key": "cyan", "note": "yellow", "error": "red"}
"""The parts of a question, and the style of each."""


class Look(Enum):
    """What stands in for the marks of Markdown."""

    COLOUR = "colours and attributes"
    ATTRIBUTES = "attributes: bold, italics, underlines"
    PLAIN = "nothing: the marks stay"


@lru_cache(maxsize=256)
def sgr(style: str, look: Look) -> str:
    """The parameters of the SGR sequence, such as "1;36", for what `look` has of the style; "" for none."""
    if look is Look.PLAIN:
        return ""
    return ";".join(_CODES[name] for name in style.split() if look is Look.COLOUR or name not in _COLOURS)


def paint(text: str, style: str, *, color: bool) -> str:
    """`text` in a style, as a terminal takes it. Without `color`, bold, dim and italic stay: they are no colours."""
    codes = sgr(style, Look.COLOUR if color else Look.ATTRIBUTES)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


def join_styles(*styles: str) -> str:
    """All of the styles at once."""
    return " ".join(style for style in styles if style)


def prompt_style(style: str) -> str:
    """The style as prompt-toolkit writes it. It has no dim: bright black stands for it."""
    names = {name: f"ansi{name}" for name in _COLOURS} | {"dim": "ansibrightblack"}
    return " ".join(names.get(name, name) for name in style.split())


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

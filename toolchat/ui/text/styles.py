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

# Of the 16 colours of a terminal, those that can be read on light and on dark backgrounds in most palettes.
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "magenta": "35", "cyan": "36"}
# Of the 256, for a background that is known to be light: yellow and cyan of many palettes cannot be read there.
_ON_LIGHT = {"red": 124, "green": 28, "yellow": 130, "magenta": 90, "cyan": 30}
_ATTRIBUTES = {"bold": "1", "dim": "2", "italic": "3", "underline": "4", "strike": "9"}

_light = False
"""Whether the background is known to be light; `set_background` writes it."""

ROLES = {"title": "bold", "text": "", "dim": "dim", "key": "cyan", "note": "yellow", "error": "red"}
"""The parts of a question, and the style of each."""


class Look(Enum):
    """What stands in for the marks of Markdown."""

    COLOUR = "colours and attributes"
    ATTRIBUTES = "attributes: bold, italics, underlines"
    PLAIN = "nothing: the marks stay"


def set_background(*, light: bool) -> None:
    """Choose the colours of all text from here on; at the start the background counts as dark."""
    global _light
    _light = light
    sgr.cache_clear()


@lru_cache(maxsize=256)
def sgr(style: str, look: Look) -> str:
    """The parameters of the SGR sequence, such as "1;36", for what `look` has of the style; "" for none."""
    if look is Look.PLAIN:
        return ""
    return ";".join(_code(name) for name in style.split() if look is Look.COLOUR or name not in _COLOURS)


def _code(name: str) -> str:
    if name in _ATTRIBUTES:
        return _ATTRIBUTES[name]
    return f"38;5;{_ON_LIGHT[name]}" if _light else _COLOURS[name]


def paint(text: str, style: str, *, color: bool) -> str:
    """`text` in a style, as a terminal takes it. Without `color`, bold, dim and italic stay: they are no colours."""
    codes = sgr(style, Look.COLOUR if color else Look.ATTRIBUTES)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text


def join_styles(*styles: str) -> str:
    """All of the styles at once."""
    return " ".join(style for style in styles if style)


def prompt_style(style: str) -> str:
    """The style as prompt-toolkit writes it. It has no dim: bright black stands for it."""
    names = {name: f"#{_hexadecimal(_ON_LIGHT[name])}" if _light else f"ansi{name}" for name in _COLOURS}
    names["dim"] = "ansibrightblack"
    return " ".join(names.get(name, name) for name in style.split())


def _hexadecimal(number: int) -> str:
    """One of the colours 16 to 231 of the 256, which are a cube of 6 × 6 × 6."""
    levels = (0, 0x5F, 0x87, 0xAF, 0xD7, 0xFF)
    red, green, blue = (number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6
    return f"{levels[red]:02x}{levels[green]:02x}{levels[blue]:02x}"


def rendered(lines: Sequence[Text], width: int, *, color: bool) -> str:
    """Rich texts as rows, wrapped at `width`; each ends with a newline."""
    from rich.console import Console
    from rich.theme import Theme

    out = io.StringIO()
    made = Console(
        file=out,
        width=width,
        force_terminal=True,
        color_system=("256" if _light else "standard") if color else None,
        no_color=not color,
        theme=Theme({name: f"color({number})" for name, number in _ON_LIGHT.items()} if _light else {}),
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )
    for line in lines:
        made.print(line)
    return out.getvalue()

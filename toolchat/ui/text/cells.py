"""Widths of text in terminal cells: a wide character takes two, a combining one none."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category


def width_of(text: str) -> int:
    """Cells that `text` takes: 2 for a wide character, a flag or a joined emoji, 0 for a combining mark.

    Everything that toolchat lays out is measured here. Control characters count as none.
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth, wcwidth

    width = wcswidth(text)
    return width if width >= 0 else sum(max(wcwidth(character), 0) for character in text)


def widest(text: str) -> int:
    """The most cells that any terminal takes for `text`: not each one joins emoji, or knows their skin tones.

    For questions, where a row must end before the screen does.
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcwidth

    return sum(
        # A variation selector makes the character before it wide, and spacing marks take a cell on some terminals.
        1 if character == "\ufe0f" or category(character) == "Mc" else max(wcwidth(character), 0)
        for character in text
    )


def graphemes(text: str) -> Iterable[str]:
    """What is seen as one character each, such as an emoji of several code points."""
    if text.isascii():
        return text
    from wcwidth import iter_graphemes

    return iter_graphemes(text)


def cut(text: str, width: int) -> str:
    """`text`, or as much of its beginning as fits `width` cells together with an ellipsis."""
    if width_of(text) <= width:
        return text
    head = fitting(text, width - 1)
    return f"{text[:head]}…" if width > 0 else ""


def fitting(text: str, width: int) -> int:
    """How many characters of `text` fit into `width` cells."""
    used = index = 0
    for grapheme in graphemes(text):
        used += width_of(grapheme)
        if used > width:
            return index
        index += len(grapheme)
    return len(text)

"""Text by the cells it takes on a terminal: wide characters take two, combining ones none."""

from __future__ import annotations

from collections.abc import Iterable


def width_of(text: str) -> int:
    """Cells that `text` takes: 2 for a wide character, a flag or a joined emoji, 0 for a combining mark.

    Everything that toolchat lays out is measured here. Control characters count as none.
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth, wcwidth

    width = wcswidth(text)
    return width if width >= 0 else sum(max(wcwidth(character), 0) for character in text)


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


def wrapped(text: str, width: int) -> list[str]:
    """One line as rows of at most `width` cells, broken at spaces where there are any; never empty."""
    rows: list[str] = []
    width = max(width, 2)
    while width_of(text) > width:
        end = fitting(text, width)
        # The space itself may stand beyond the row: it is dropped there.
        space = text.rfind(" ", 1, end + 1)
        if space > 0:
            rows.append(text[:space])
            text = text[space + 1 :]
        else:
            rows.append(text[: max(end, 1)])
            text = text[max(end, 1) :]
    return [*rows, text]

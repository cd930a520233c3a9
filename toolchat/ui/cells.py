"""Text by the cells it takes on a terminal: wide characters take two, combining ones none."""

from __future__ import annotations

from prompt_toolkit.utils import get_cwidth


def width_of(text: str) -> int:
    """Cells that `text` takes; control characters are not for here."""
    return len(text) if text.isascii() else get_cwidth(text)


def cut(text: str, width: int) -> str:
    """`text`, or as much of its beginning as fits `width` cells together with an ellipsis."""
    if width_of(text) <= width:
        return text
    head = fitting(text, width - 1)
    return f"{text[:head]}…" if width > 0 else ""


def fitting(text: str, width: int) -> int:
    """How many characters of `text` fit into `width` cells."""
    used = 0
    for index, character in enumerate(text):
        used += get_cwidth(character)
        if used > width:
            return index
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

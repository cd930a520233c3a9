"""Breaks text into rows that fit a screen, measured in cells: `wrap` between words, `fold` anywhere.

Both take styled text; `wrapped`, `folded` and `hanging` take plain text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from toolchat.ui.text.cells import graphemes, widest, width_of
from toolchat.ui.text.links import addresses, linked
from toolchat.ui.text.styles import Look, sgr

Span = tuple[str, str]
"""Text, and its style as `styles` has it; "" is no style."""
Row = list[Span]


# Between these scripts' characters a row may end, though no space is there; what follows one in the second group
# (closing punctuation, small kana, marks, joiners) stays with it.
_WIDE = "\u2e80-\u303f\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff60\U00020000-\U0003fffd"
_GLUED = r",.;:!?)\]…、。〉》」』】〕ー！），．：；？｝"
_MARKS = "\u0300-\u036f\u3099\u309a\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
_SEGMENT = re.compile(f"\n| +|[{_WIDE}][{_GLUED}{_MARKS}]*|[^ \n{_WIDE}]+")
WIDE = re.compile(f"[{_WIDE}]")
_MARK = re.compile(f"[{_MARKS}]")
_LONGEST_WORD = 4096
"""Cells of a word that is left whole."""


def row_cells(row: Iterable[Span]) -> int:
    # As one text: a grapheme may be parted over two spans.
    return width_of("".join(text for text, _ in row))


def ansi(row: Sequence[Span], *, look: Look, links: bool = False) -> str:
    """The row as it is written to a terminal, each styled span closed again, with what `look` has of its style.

    With `links`, addresses in it are links.
    """
    if look is Look.PLAIN:
        return "".join(text for text, _ in row)
    if links and (places := addresses(text := "".join(part for part, _ in row))):
        pieces = _Pieces(row)
        at, whole = 0, ""
        for begin, end in places:
            whole += ansi(pieces.take(at, begin), look=look)
            whole += linked(text[begin:end], ansi(pieces.take(begin, end), look=look))
            at = end
        return whole + ansi(pieces.take(at, len(text)), look=look)
    return "".join(
        f"\x1b[{codes}m{text}\x1b[0m" if text and style and (codes := sgr(style, look)) else text for text, style in row
    )


def wrap(spans: Sequence[Span], width: int, *, whole_words: bool = False) -> list[Row]:
    """Rows of at most `width` cells, broken at spaces, after wide characters, and inside words that are too long.

    With `whole_words` a word that is too long has a row of its own, which the terminal breaks without a newline, so
    that it is copied as one; only what is longer than any address is broken.

    A newline in the text ends a row. Spaces at the end of a row are dropped, but for the last row's, so that text
    can be added to it later.
    """
    text = "".join(part for part, _ in spans)
    rows: list[Row] = []
    begin = end = used = 0  # the row under way is text[begin:end] and `used` cells wide
    cuts: list[tuple[int, int]] = []
    for match in _SEGMENT.finditer(text):
        segment = match[0]
        if segment == "\n":
            cuts.append((begin, end))
            begin = end = match.end()
            used = 0
            continue
        size = width_of(segment)
        if segment[0] == " " and end > begin:
            # Spaces may stand beyond the width: they are dropped if the row ends there.
            end, used = match.end(), used + size
            continue
        if used + size > width and end > begin:
            cuts.append((begin, end))
            begin, used = match.start(), 0
        if size > (max(width, _LONGEST_WORD) if whole_words else width):
            *full, (last, used) = _fold(segment, max(width, _LONGEST_WORD) if whole_words else width)
            at = begin
            for piece, _ in full:
                cuts.append((at, at + len(piece)))
                at += len(piece)
            begin, end = at, at + len(last)
            continue
        end, used = match.end(), used + size
    cuts.append((begin, end))
    pieces = _Pieces(spans)
    rows = [pieces.take(*cut) for cut in cuts]
    return [*(trimmed(row) for row in rows[:-1]), rows[-1]]


def fold(row: Sequence[Span], width: int) -> list[Row]:
    """The row as several of at most `width` cells, broken wherever the width ends, with nothing dropped."""
    if row_cells(row) <= width:
        return [list(row)]
    pieces = _Pieces(row)
    rows: list[Row] = []
    at = 0
    for piece, _ in _fold("".join(text for text, _ in row), width):
        rows.append(pieces.take(at, at + len(piece)))
        at += len(piece)
    return rows


def wrapped(text: str, width: int) -> list[str]:
    """One line of plain text as rows of at most `width` cells, broken at spaces where there are any.

    Never without a row. The last one is that to which more of the line could be added; it may be empty.
    """
    width = max(width, 2)
    rows = ["".join(part for part, _ in row) for row in wrap([(text, "")], width)]
    if width_of(rows[-1]) > width:
        # Blanks that stand beyond the width: the row is full, and what follows them begins another one.
        rows[-1:] = [rows[-1].rstrip(" "), ""]
    return rows


def folded(text: str, width: int) -> list[str]:
    """Plain text as rows of at most `width` cells on any terminal, broken wherever the width ends, nothing left out."""
    return [piece for piece, _ in _fold(text, max(width, 2), widest)]


def hanging(text: str, width: int, *, narrowest: int = 16) -> list[str]:
    """Plain text as rows of at most `width` cells on any terminal, broken between words where it has any.

    Only a blank at a break is left out: where blanks stand may matter. Rows after the first begin with a mark, so that
    they cannot look like rows of toolchat's own; at least `narrowest` cells are left beside a wide mark.
    """
    mark = "  ┊ " if width - len("  ┊ ") >= narrowest else "┊ "
    room = width - len(mark)
    rows = [""]
    for word in re.split(r"(?<= )(?=[^ ])", text):  # each with the blanks behind it
        if rows[-1].strip() and widest((rows[-1] + word).rstrip(" ")) > room:
            rows.append("")
        row = rows[-1] + word
        if row.endswith(" ") and widest(row) == room + 1:
            row = row[:-1]  # the end of the row stands for it
        rows[-1:] = folded(row, room) if widest(row) > room else [row]
    return [f"{mark}{row}" if number else row for number, row in enumerate(rows)]


def crop(row: Sequence[Span], width: int) -> Row:
    """The beginning of the row, as much as fits `width` cells."""
    return fold(row, width)[0] if width > 0 else []


def trimmed(row: Row) -> Row:
    """The row without spaces at its end."""
    while row:
        text, style = row[-1]
        if stripped := text.rstrip(" "):
            row[-1] = (stripped, style)
            break
        row.pop()
    return row


def break_before(text: str, index: int) -> int:
    """The last place at or before `index` where `text` can be cut without parting a mark from its character."""
    while index > 0 and index < len(text) and (_MARK.match(text[index]) or text[index - 1] == "\u200d"):
        index -= 1
    return index


def _fold(text: str, width: int, measure: Callable[[str], int] = width_of) -> list[tuple[str, int]]:
    """Pieces of `text` of at most `width` cells, and their cells; at least one."""
    if text.isascii():
        parts = [text[at : at + width] for at in range(0, len(text), width)] or [""]
        return [(part, len(part)) for part in parts]
    pieces: list[tuple[str, int]] = []
    piece, used = "", 0
    for grapheme in _parts(text, width, measure):
        size = measure(grapheme)
        if used + size > width and piece:
            pieces.append((piece, used))
            piece, used = "", 0
        piece += grapheme
        used += size
    return [*pieces, (piece, used)]


def _parts(text: str, width: int, measure: Callable[[str], int]) -> Iterator[str]:
    """Graphemes; the characters of one that is wider than a row."""
    for grapheme in graphemes(text):
        if measure(grapheme) > width:
            yield from grapheme
        else:
            yield grapheme


class _Pieces:
    """Cuts styled text by positions in its plain text; to be asked in ascending order."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._index = 0
        self._start = 0  # of the span at _index

    def take(self, begin: int, end: int) -> Row:
        row: Row = []
        while self._index < len(self._spans):
            text, style = self._spans[self._index]
            if part := text[max(begin - self._start, 0) : max(end - self._start, 0)]:
                row.append((part, style))
            if self._start + len(text) > end:
                break
            self._start += len(text)
            self._index += 1
        return row

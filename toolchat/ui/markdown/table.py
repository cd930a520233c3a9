"""Renders tables: held until they end so that columns fit all rows; a long table is printed after a number of rows."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Self

from toolchat.ui.markdown.inline import inline
from toolchat.ui.markdown.page import Page
from toolchat.ui.text.wrapping import Row, Span, row_cells, wrap

ROWS = 40
"""Rows of a table that are held. With these the columns are settled, and each further row is printed as it comes."""
_HELD = 16_000
"""Characters of a table that are held, likewise: all of them are laid out again for each drawing."""
_ROW_PIECE = 4096
"""Characters of a row after which it counts as ended."""
_NARROWEST = 8
"""Cells that a column keeps at least, unless its text is shorter. Where that is too much, rows become lists."""
_SEPARATOR = 3

_ADDRESS = re.compile(r"\b[a-z]{3,6}://\S+")
_BAR = re.compile(r"(?<!\\)((?:\\\\)*)\|")
_CODE = re.compile(r"(?<![`\\])(`+)(?!`)[^`|]*\|[^`]*?(?<!`)\1(?!`)")
"""Code with a bar. GFM has it end a cell there too; a row that then has too many cells was not meant so."""
_DELIMITER = re.compile(r" {0,3}\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *")

Cell = tuple[Row, int]
"""Its text, and the cells that the longest of its lines takes."""


def split_row(line: str) -> list[str]:
    """The cells' source. A bar with a backslash before it is text."""
    line = line.strip()
    cells = _BAR.sub("\\1\0", line).split("\0")
    if cells and not cells[0].strip():
        cells = cells[1:]
    if len(cells) > 1 and not cells[-1].strip() and line.endswith("|"):
        cells = cells[:-1]
    return [cell.strip().replace("\\|", "|") for cell in cells]


def alignments(line: str, columns: int) -> list[str] | None:
    """What a line such as `|:--|--:|` says of each column ("<", ">", "^"); None where it is no such line."""
    if "|" not in line or not _DELIMITER.fullmatch(line):
        return None
    found = split_row(line)
    if len(found) != columns:
        return None
    return ["^" if one[0] == ":" and one[-1] == ":" else ">" if one[-1] == ":" else "<" for one in found]


def _with_bars(code: re.Match[str]) -> str:
    return _BAR.sub(r"\1\|", code[0])


def column_widths(wanted: Sequence[int], room: int, least: Sequence[int] = ()) -> list[int] | None:
    """What each column gets of `room` cells: what it wants, or less for the widest; None where it cannot be.

    `least` is what a column needs for a word that must not be broken.
    """
    room -= _SEPARATOR * (len(wanted) - 1)
    if sum(wanted) <= room:
        return list(wanted)
    if sum(min(width, _NARROWEST) for width in wanted) > room:
        return None
    # The narrow columns get what they want; the others share the rest alike.
    widths = [0] * len(wanted)
    order = sorted(range(len(wanted)), key=lambda column: wanted[column])
    for place, column in enumerate(order):
        widths[column] = min(wanted[column], room // (len(order) - place))
        room -= widths[column]
    return None if any(width < need for width, need in zip(widths, least, strict=False)) else widths


class Table:
    def __init__(self, header: Sequence[str], aligns: Sequence[str], page: Page) -> None:
        self._aligns = aligns
        self._header = [_cell(source, "bold", page) for source in header]
        self._wanted = [max(width, 1) for _, width in self._header]
        self._least = [_address_cells(text) for text, _ in self._header]
        self._rows: list[list[Cell]] = []
        self._line = ""
        self._held = 0
        self._printed = False
        self._ruled = False  # rules between the rows, since some take more than one line

    def copy(self) -> Self:
        made = copy.copy(self)
        made._rows, made._wanted, made._least = list(self._rows), list(self._wanted), list(self._least)
        return made

    def add(self, text: str, page: Page) -> None:
        while text:
            room = _ROW_PIECE - len(self._line)
            self._line += text[:room]
            text = text[room:]
            if len(self._line) == _ROW_PIECE:
                self.end_line(page)

    def end_line(self, page: Page) -> None:
        self._held += len(self._line)
        line, self._line = self._line, ""
        sources = split_row(line)
        columns = len(self._header)
        if len(sources) > columns and len(meant := split_row(_CODE.sub(_with_bars, line))) == columns:
            sources = meant
        # Cells that the header has no column for are part of the last one.
        sources[columns - 1 :] = [" | ".join(sources[columns - 1 :])] if len(sources) >= columns else []
        sources += [""] * (columns - len(sources))
        row = [_cell(source, "", page) for source in sources]
        if not self._printed:
            self._wanted = [max(one, width) for one, (_, width) in zip(self._wanted, row, strict=True)]
            self._least = [max(one, _address_cells(text)) for one, (text, _) in zip(self._least, row, strict=True)]
        self._rows.append(row)
        if self._printed or len(self._rows) == ROWS or self._held > _HELD:
            self._print(page)

    def close(self, page: Page) -> None:
        if self._rows or not self._printed:
            self._print(page)

    def _print(self, page: Page) -> None:
        rows, self._rows = self._rows, []
        widths = column_widths(self._wanted, page.room, self._least)
        lines = self._in_columns(rows, widths, page) if widths else self._in_lists(rows, page)
        self._printed = True
        page.put(lines)

    def _in_columns(self, rows: Sequence[Sequence[Cell]], widths: Sequence[int], page: Page) -> list[Row]:
        dash, cross = ("─", "─┼─") if page.drawn else ("-", "-+-")
        rule: Row = [(cross.join(dash * width for width in widths), "dim")]
        broken = [self._lines(row, widths, page) for row in rows]
        if not self._printed:
            self._ruled = any(len(row) > 1 for row in broken)
        lines: list[Row] = [] if self._printed else [*self._lines(self._header, widths, page), rule]
        for number, row in enumerate(broken):
            if self._ruled and (number or self._printed):
                lines.append(rule)
            lines += row
        return lines

    def _in_lists(self, rows: Sequence[Sequence[Cell]], page: Page) -> list[Row]:
        """Each cell under the name of its column, for a page that is too narrow for columns."""
        lines: list[Row] = []
        for number, row in enumerate(rows):
            if number or self._printed:
                lines.append([(("───" if page.drawn else "---")[: page.room], "dim")])
            for (name, _), (text, _) in zip(self._header, row, strict=True):
                if text:
                    lines += wrap([*name, (": " if name else "", ""), *text], page.room, whole_words=True)
        return lines or [line for name, _ in self._header for line in wrap(name, page.room)]

    def _lines(self, row: Sequence[Cell], widths: Sequence[int], page: Page) -> list[Row]:
        columns = [
            wrap(text, width) if size > width or "\n" in "".join(part for part, _ in text) else [text]
            for (text, size), width in zip(row, widths, strict=True)
        ]
        bar: Span = (" │ " if page.drawn else " | ", "dim")
        lines: list[Row] = []
        for number in range(max(map(len, columns))):
            line: Row = []
            for index, (column, width, align) in enumerate(zip(columns, widths, self._aligns, strict=True)):
                text = column[number] if number < len(column) else []
                spare = width - row_cells(text)
                before = spare if align == ">" else spare // 2 if align == "^" else 0
                line += [bar] if index else []
                line += [(" " * before, ""), *text, (" " * (spare - before), "")]
            lines.append(line)
        return lines


def _cell(source: str, style: str, page: Page) -> Cell:
    text = inline(source, style, look=page.look)
    lines = "".join(part for part, _ in text).split("\n")
    if len(lines) == 1:
        return text, row_cells(text)
    return text, max(row_cells([(line, "")]) for line in lines)


def _address_cells(text: Row) -> int:
    """Cells of the longest address in a cell."""
    whole = "".join(part for part, _ in text)
    return max([row_cells([(one, "")]) for one in _ADDRESS.findall(whole)], default=0) if "://" in whole else 0

"""Renders blocks of text and code while they are written: prints each row as soon as it can no longer change.

A leaf gets the text of its lines in pieces. What it does must depend on the text alone, never on how it was cut into
pieces, so each leaf looks only when a line ends or when it holds a certain number of characters.
"""

from __future__ import annotations

import copy
from typing import Protocol, Self

from toolchat.ui.markdown.code import Highlighter
from toolchat.ui.markdown.cuts import forced_cut, scan
from toolchat.ui.markdown.inline import inline
from toolchat.ui.markdown.page import Page
from toolchat.ui.text.styles import Look
from toolchat.ui.text.wrapping import Row, fold, wrap

_MEASURE = 120
"""Cells that a row of prose has at most, however wide the terminal is: longer ones are hard to read."""
_CODE_PIECE = 4096
"""Characters of a line of code after which it is printed as a line of its own, since it must not be held for ever."""


def soft_limit(page: Page) -> int:
    """Characters of a paragraph to hold: about three rows, then those that are certain are printed."""
    return max(3 * min(page.width, _MEASURE), 120)


def hard_limit(page: Page) -> int:
    """Characters to hold while something in them is not closed; then its marker is taken as it is written."""
    return 4 * soft_limit(page)


class Leaf(Protocol):
    """A block that holds text and no other blocks."""

    def copy(self) -> Self:
        """Another one that goes on from here, and leaves this one as it is."""

    def add(self, text: str, page: Page) -> None:
        """More of the line."""

    def end_line(self, page: Page) -> None:
        """The line ends here."""

    def close(self, page: Page) -> None:
        """The block ends, after a line has."""


class Paragraph:
    """Text that is wrapped: a paragraph, or a heading, which is one with a style."""

    def __init__(self, style: str = "", *, heading: bool = False) -> None:
        self.heading = heading
        self._style = style
        self._carry: Row = []  # the beginning of a row, parsed already
        self._pending = ""
        self._look_at = 0  # characters at which to look again for what can be printed
        self._broken = False

    def copy(self) -> Self:
        return copy.copy(self)

    @property
    def line(self) -> str | None:
        """All the text, while it is one line of which nothing is printed."""
        return None if self._broken else self._pending

    @property
    def last_line(self) -> str:
        """What is held of the line before."""
        return self._pending.rpartition("\n")[2]

    @property
    def row_of_table(self) -> bool:
        """Whether this may be the first line of a table."""
        return not self._broken and self._pending.startswith("|")

    def make_heading(self, style: str) -> None:
        """It was one after all: its underline has come."""
        self.heading, self._style = True, style

    def add(self, text: str, page: Page) -> None:
        while text:
            limit = max(self._look_at, soft_limit(page))
            room = max(limit - len(self._pending), 1)
            self._pending += text[:room]
            text = text[room:]
            if len(self._pending) >= limit:
                self._print_certain(page)

    def end_line(self, page: Page) -> None:
        self._pending = self._pending.rstrip(" \t")

    def next_line(self, page: Page) -> None:
        """Another line of the same paragraph follows: those before it are certain, if nothing in them is open."""
        self._broken = True
        self._pending += "\n"
        self._print_certain(page)

    def close(self, page: Page) -> None:
        if page.live and page.drawn:
            self._pending += scan(self._pending).closers
        rows = wrap([*self._carry, *self._parsed(self._pending, page)], min(page.room, _MEASURE), whole_words=True)
        while rows and not any(text.strip() for text, _ in rows[-1]):
            rows.pop()
        page.put(rows)

    def _print_certain(self, page: Page) -> None:
        size = len(self._pending)
        cut = 0 if self.row_of_table else scan(self._pending).cut
        if not cut and size >= hard_limit(page):
            cut = forced_cut(self._pending, size)
        if not cut:
            self._look_at = size + min(page.width, _MEASURE)
            return
        self._broken = True
        self._look_at = 0
        parsed = self._parsed(self._pending[:cut], page)
        self._pending = self._pending[cut:]
        *rows, self._carry = wrap([*self._carry, *parsed], min(page.room, _MEASURE), whole_words=True)
        page.put(rows)

    def _parsed(self, source: str, page: Page) -> Row:
        return inline(source, self._style, look=page.look)


class Code:
    """Lines that are shown as they are. Nothing is added to them, so that they can be copied."""

    def __init__(self, highlighter: Highlighter | None = None) -> None:
        self._highlighter = highlighter
        self._line = ""
        self._in_pieces = False

    def copy(self) -> Self:
        made = copy.copy(self)
        made._highlighter = self._highlighter.copy() if self._highlighter else None
        return made

    def add(self, text: str, page: Page) -> None:
        while text:
            room = _CODE_PIECE - len(self._line)
            self._line += text[:room]
            text = text[room:]
            if len(self._line) == _CODE_PIECE:
                self.end_line(page)
                self._in_pieces = True

    def end_line(self, page: Page) -> None:
        if self._line or not self._in_pieces:
            page.put_code(self._highlighter.line(self._line) if self._highlighter else [(self._line, "")])
        self._line = ""
        self._in_pieces = False

    def close(self, page: Page) -> None:
        """Nothing is held when a line has ended."""


class Math(Code):
    """Mathematics on lines of its own, as TeX: no minus sign in it is a bullet, and no star or underscore a mark."""

    def __init__(self, end: str, *, began: bool) -> None:
        super().__init__()
        self.ended = False
        self._end = end
        self._began = began
        """Whether what begins it, which may be the same as what ends it, is on a line before."""

    def end_line(self, page: Page) -> None:
        self.ended = self.ended or self._end in self._line[0 if self._began else 2 :]
        self._began = True
        super().end_line(page)


class Fence(Code):
    """Code between fences, which are shown as short rules around it."""

    def __init__(self, info: str, fence: str, indent: int, page: Page) -> None:
        self.fence = fence
        self.indent = indent
        self.of_markdown = info.lower().split()[:1] in (["markdown"], ["md"], ["mdx"])
        self.nested = 0  # fences that are open in a block of Markdown, which models fence with as many marks
        super().__init__(Highlighter((info.split() or [""])[0]) if page.look is Look.COLOUR else None)
        rule = f"─── {info}" if page.drawn else f"{fence}{info}"
        page.put(fold([(rule.rstrip(), "dim")], page.room))

    def close(self, page: Page) -> None:
        if not page.live:
            page.put(fold([("───" if page.drawn else self.fence, "dim")], page.room))

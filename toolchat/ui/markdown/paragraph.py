"""Renders text that is wrapped, while it is written: prints each row as soon as it can no longer change.

Where an unfinished text can be cut so that both parts parse as the whole would, `scan` finds. It is no parser: where it
errs, a marker is shown as it was written, and nothing is lost.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Self

from toolchat.ui.markdown.inline import flanks, hide, inline
from toolchat.ui.markdown.page import Page
from toolchat.ui.text.wrapping import WIDE, Row, break_before, wrap

_MEASURE = 120
"""Cells that a row of prose has at most, however wide the terminal is: longer ones are hard to read."""
_MARKER = re.compile(r"\\[\s\S]?|`+|\*+|_+|~~|\[|\]")
_TARGET = re.compile(r"\((?:[^()\n]|\([^()\n]*\))*\)")


def soft_limit(page: Page) -> int:
    """Characters of a paragraph to hold: about three rows, then those that are certain are printed."""
    return max(3 * min(page.width, _MEASURE), 120)


def hard_limit(page: Page) -> int:
    """Characters to hold while something in them is not closed; then its marker is taken as it is written."""
    return 4 * soft_limit(page)


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


@dataclass(frozen=True, slots=True)
class Scan:
    cut: int
    """The last place where the text can be cut: before a space or newline, or between wide characters; 0 if none."""
    closers: str
    """What would close the emphasis and the code that are open at the end."""


def scan(text: str) -> Scan:
    """Look for what is open at the end of `text`, to which more may come."""
    text = hide(text)
    cut = at = 0
    opened: list[str] = []
    while True:
        match = _MARKER.search(text, at)
        end = match.start() if match else len(text)
        if not opened and (found := _last_break(text, at, end)):
            cut = found
        if match is None:
            break
        at = match.end()
        marker = match[0]
        match marker[0]:
            case "`":
                close = re.compile(f"(?<!`){marker}(?!`)").search(text, at)
                if close is None:
                    opened.append(marker)
                    break
                at = close.end()
            case "[":
                opened.append(marker)
            case "]":
                if "[" not in opened:
                    continue
                target = _TARGET.match(text, at)
                # A "(" may follow, or the rest of what it opens.
                if target is None and (at == len(text) or text[at] == "("):
                    break
                del opened[_last(opened, "[") :]
                at = target.end() if target else at
            case "*" | "_" | "~":
                _emphasis(marker, text, match.start(), at, opened)
    return Scan(cut, "".join(reversed([marker for marker in opened if marker != "["])))


def forced_cut(text: str, limit: int) -> int:
    """Where to cut a text that is too long to wait for: the last space before `limit`, else there; more than 0."""
    found = max(text.rfind(" ", 1, limit), text.rfind("\n", 1, limit))
    return found if found > 0 else max(break_before(text, limit), 1)


def _last_break(text: str, begin: int, end: int) -> int:
    found = max(text.rfind(" ", begin, end), text.rfind("\n", begin, end), 0)
    for index in range(end - 1, max(found, begin), -1):
        if WIDE.match(text[index]) and WIDE.match(text[index - 1]):
            return index
    return found


def _emphasis(marker: str, text: str, begin: int, end: int, opened: list[str]) -> None:
    before, after = text[begin - 1 : begin], text[end : end + 1]
    # At the very end, what follows is not known.
    opens, closes = flanks(before, marker, after) if after else (True, flanks(before, marker, "")[1])
    count = len(marker)
    while closes and count and (index := _last(opened, marker[0])) is not None:
        taken = min(count, len(opened[index]))
        count -= taken
        if taken < len(opened[index]):
            opened[index] = opened[index][taken:]
            break
        # Whatever was opened within it and is still open is no marker after all.
        del opened[index:]
    if opens and count:
        opened.append(marker[0] * count)


def _last(opened: list[str], kind: str) -> int | None:
    return next((index for index in range(len(opened) - 1, -1, -1) if opened[index][0] == kind), None)

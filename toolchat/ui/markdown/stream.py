"""Renders the stream of an answer: takes Markdown as it arrives, returns final rows, and draws the unfinished rest.

What it gives back depends on the text and the width alone, not on the pieces in which the text came.
"""

from __future__ import annotations

from toolchat.ui.markdown.blocks import Blocks
from toolchat.ui.markdown.page import Page
from toolchat.ui.markdown.paragraph import soft_limit
from toolchat.ui.text.sanitize import StreamSanitizer
from toolchat.ui.text.styles import Look
from toolchat.ui.text.wrapping import ansi


class MarkdownStream:
    """One answer, on a terminal of `width` columns.

    Without `color` there are only attributes such as bold. Without `attributes` no escape sequence is given out at all,
    and the marks of Markdown stay. With `links`, addresses are links in what is printed. The rows of prose and tables
    are at most `width` cells wide, but for words that are wider; those and lines of code are left to the terminal to
    break when they are printed.
    The text may be anything: what could control the terminal is made visible.
    """

    def __init__(self, width: int, *, color: bool = True, attributes: bool = True, links: bool = False) -> None:
        look = Look.PLAIN if not attributes else Look.COLOUR if color else Look.ATTRIBUTES
        self._page = Page(max(width, 1), look=look, links=links)
        self._blocks = Blocks(self._page)
        self._safe = StreamSanitizer()
        self._line = ""  # the line under way, while it is short
        self._long = False  # the line under way is with the blocks already
        self._drawn: tuple[int, list[str]] | None = None

    def feed(self, text: str) -> str:
        """More of the answer. Returns what has become final, whole rows with a newline each; often nothing."""
        if not text:
            return ""
        self._drawn = None
        self._take_lines(self._safe.feed(text))
        return self._printed()

    def finish(self) -> str:
        """No more text comes: the rest of the answer, as `feed` returns it."""
        self._take_lines(self._safe.finish())
        if self._line or self._long:
            self._end_line()
        self._blocks.close()
        self._drawn = None
        return self._printed()

    def live(self, rows: int) -> list[str]:
        """The end of what is not final yet, at most `rows` rows and none wider than the terminal, without newlines.

        Where there is more, the first of them is an ellipsis.
        """
        if self._drawn is None or self._drawn[0] != rows:
            self._drawn = rows, self._draw(rows)
        return list(self._drawn[1])

    def resize(self, width: int) -> None:
        """The terminal has `width` columns from now on; rows to come are made for it."""
        if width != self._page.width:
            self._page.width = max(width, 1)
            self._drawn = None

    def _draw(self, rows: int) -> list[str]:
        blocks = self._blocks.copy()
        if self._line:
            blocks.start(self._line, whole=True)
        if self._line or self._long:
            blocks.end_line()
        blocks.close()
        drawn = blocks.page.take()
        if len(drawn) <= rows:
            return drawn
        if rows < 2:
            return drawn[-rows:] if rows > 0 else []
        return [ansi([("…", "dim")], look=self._page.look), *drawn[1 - rows :]]

    def _take_lines(self, text: str) -> None:
        *lines, rest = text.split("\n")
        for line in lines:
            self._take(line)
            self._end_line()
        if rest:
            self._take(rest)

    def _take(self, text: str) -> None:
        """Text of the line under way. A long line goes to the blocks before it ends, always at the same length."""
        if self._long:
            self._blocks.more(text)
            return
        self._line += text
        limit = soft_limit(self._page)
        if len(self._line) >= limit:
            line, self._line = self._line, ""
            self._long = True
            self._blocks.start(line[:limit], whole=False)
            self._blocks.more(line[limit:])

    def _end_line(self) -> None:
        if not self._long:
            self._blocks.start(self._line, whole=True)
        self._blocks.end_line()
        self._line = ""
        self._long = False

    def _printed(self) -> str:
        return "".join(f"{row}\n" for row in self._page.take())

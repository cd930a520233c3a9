"""Streams text that is no Markdown: each row is printed as soon as it is complete."""

from __future__ import annotations

from typing import Protocol

from toolchat.ui.text.sanitize import StreamSanitizer
from toolchat.ui.text.styles import paint
from toolchat.ui.text.wrapping import wrapped


class TextStream(Protocol):
    """Takes text as it comes, and gives what is finished and what is not; all as ANSI text made safe."""

    def feed(self, text: str) -> str:
        """What is finished by now and was not given before: whole rows, or nothing."""

    def live(self, rows: int) -> list[str]:
        """The unfinished end, at most so many rows."""

    def finish(self) -> str:
        """All that is left."""

    def resize(self, width: int) -> None:
        """The terminal has so many columns from now on."""


class LineStream:
    """A `TextStream` in one style."""

    def __init__(self, width: int, style: str, *, color: bool) -> None:
        self._width = width
        self._style = style
        self._color = color
        self._rest = ""
        self._safe = StreamSanitizer()

    def feed(self, text: str) -> str:
        return self._printed(self._safe.feed(text))

    def _printed(self, text: str) -> str:
        *lines, self._rest = (self._rest + text).split("\n")
        rows = [row for line in lines for row in wrapped(line.expandtabs(4), self._width)]
        *whole, self._rest = wrapped(self._rest.expandtabs(4), self._width)
        return "".join(f"{self._paint(row)}\n" for row in [*rows, *whole])

    def live(self, rows: int) -> list[str]:
        return [self._paint(self._rest)] if self._rest else []

    def finish(self) -> str:
        printed = self._printed(self._safe.finish())
        rest, self._rest = self._rest, ""
        return printed + (f"{self._paint(rest)}\n" if rest else "")

    def resize(self, width: int) -> None:
        self._width = width

    def _paint(self, row: str) -> str:
        return paint(row, self._style, color=self._color)

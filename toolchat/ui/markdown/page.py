"""Collects rows, with the prefixes of the enclosing blocks (quotes, list items) before each of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from toolchat.ui.text.cells import width_of
from toolchat.ui.text.styles import Look
from toolchat.ui.text.wrapping import Row, Span, ansi, crop, fold, row_cells, trimmed


@dataclass(slots=True)
class Quote:
    """A block quote."""


@dataclass(slots=True)
class Item:
    """A list item."""

    indent: int
    """Columns before the marker, within what encloses the item."""
    offset: int
    """Columns before the item's text, likewise."""
    kind: str
    """The marker's last character: items of one list have the same."""
    number: int | None
    written: int | None
    """The number in the text; `number` is what is shown."""
    marker: str
    """As it is shown, with the space after it."""
    shown: bool = False


Container = Quote | Item


class Page:
    """Rows that are ready, and all that must be known to make more of them."""

    def __init__(self, width: int, *, look: Look, links: bool = False) -> None:
        self.width = width
        self.look = look
        self.links = links
        """Whether addresses in printed rows are links."""
        self.live = False
        """True for rows that are drawn and not printed: then none may be wider than the page."""
        self.containers: list[Container] = []
        self._rows: list[str] = []
        self._began = False
        self._gap: int | None = None  # containers that a blank row before the next one is in

    def copy(self) -> Page:
        """Another page that goes on from here, for rows that are only drawn; it begins empty."""
        made = copy.copy(self)
        made.live = True
        made.containers = [copy.copy(container) for container in self.containers]
        made._rows = []
        return made

    def take(self) -> list[str]:
        """The rows since the last call."""
        rows, self._rows = self._rows, []
        return rows

    @property
    def drawn(self) -> bool:
        """Whether rules, bullets and styles take the place of what the model wrote."""
        return self.look is not Look.PLAIN

    @property
    def room(self) -> int:
        """Cells that a row of a block can have."""
        inside = sum(2 if isinstance(one, Quote) else width_of(one.marker) for one in self.containers)
        return max(self.width - inside, self.width - self.width // 2, 1)

    def gap(self, depth: int) -> None:
        """A blank row comes before the next one, if there was one before; it is within the first `depth` containers."""
        if self._began:
            self._gap = depth if self._gap is None else min(self._gap, depth)

    @property
    def fresh(self) -> bool:
        """Whether the innermost container is a list item of which nothing is shown yet."""
        return bool(self.containers) and isinstance(last := self.containers[-1], Item) and not last.shown

    def gap_before(self) -> None:
        """A blank row comes before what follows, unless that is the first in a list item."""
        if not self.fresh:
            self.gap(len(self.containers))

    def close(self, depth: int) -> None:
        """End the containers but the first `depth`. An item without any text shows its marker now."""
        if any(isinstance(one, Item) and not one.shown for one in self.containers[depth:]):
            self.put([[]])
        del self.containers[depth:]
        if self._gap is not None:
            self._gap = min(self._gap, depth)

    def put(self, rows: Sequence[Row]) -> None:
        """Rows of at most `room` cells each, but for words that are wider."""
        for row in rows:
            whole = [*self._prefix(), *row]
            for part in fold(whole, self.width) if self.live else [whole]:
                self._write(part)

    def put_code(self, row: Row) -> None:
        """A row that is not broken: the terminal wraps it, so that it is copied as one line."""
        whole = [*self._prefix(), *row]
        if not self.live:
            self._write(whole, trim=False)
            return
        # prompt-toolkit shows a tab as ^I.
        for part in fold([(text.expandtabs(8), style) for text, style in whole], self.width):
            self._write(part)

    def _write(self, row: Row, *, trim: bool = True) -> None:
        if self._gap is not None:
            enclosing, self._gap = self.containers[: self._gap], None
            bars = self._fit([self._enclosing(one) for one in enclosing])
            self._rows.append(ansi(trimmed(bars), look=self.look))
        self._began = True
        # prompt-toolkit, which draws live rows, knows no links.
        links = self.links and not self.live
        self._rows.append(ansi(trimmed(row) if trim else row, look=self.look, links=links))

    def _prefix(self) -> Row:
        prefix: Row = []
        for container in self.containers:
            if isinstance(container, Item) and not container.shown:
                container.shown = True
                prefix.append((container.marker, "dim"))
            else:
                prefix.append(self._enclosing(container))
        return self._fit(prefix)

    def _fit(self, prefix: Row) -> Row:
        space = self.width - self.room
        return crop(prefix, space) if row_cells(prefix) > space else prefix

    def _enclosing(self, container: Container) -> Span:
        if isinstance(container, Quote):
            return ("│ " if self.drawn else "> ", "dim")
        return (" " * width_of(container.marker), "")

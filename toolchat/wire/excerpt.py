"""Shows a long text by its head and its tail, with a line between them that says what is left out: the only such cut.

Counts characters, not bytes: what a person is told can be checked with `len` and `wc -m`. `most_bytes` says how long a
text may be before it is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

HEAD_SHARE = 2 / 3
"""Of what is kept, the part from the beginning: names and headings stand there, totals and errors at the end."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The file that a result was written into."""

    file: str
    characters: int
    """How many of the result's, from its beginning."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Head and tail of a text, of which something between them may be missing."""

    head: str
    tail: str
    total: int
    """Characters of the whole text."""

    @property
    def left_out(self) -> int:
        return self.total - len(self.head) - len(self.tail)

    def narrowed(self, kept: int) -> Excerpt:
        """At most `kept` characters of the text."""
        head = self.head[: int(kept * HEAD_SHARE)]
        tail = self.tail[max(0, len(self.tail) - (kept - len(head))) :] if kept > len(head) else ""
        return replace(self, head=head, tail=tail)

    def text(self, kept: Kept | None = None) -> str:
        """Both, and what is left out between them; `kept` is where more of it can be read."""
        return f"{self.head}\n{self.line(kept)}\n{self.tail}"

    def line(self, kept: Kept | None = None) -> str:
        where = ""
        if kept is not None:
            which = "whole is" if kept.characters >= self.total else f"first {kept.characters:,} are"
            where = f"; the {which} in {kept.file}"
        return gap_line(self.left_out, self.total, where)


NOTHING = Excerpt("", "", 0)


def gap_line(left_out: int, total: int, where: str = "") -> str:
    """The line in place of what is left out."""
    return f"[… {left_out:,} of {total:,} characters are left out here{where} …]"


def whole(text: str) -> Excerpt:
    """All of a text, to be narrowed: its head and its tail are the whole of it."""
    return Excerpt(text, text, len(text))


def cut_to_bytes(text: str, most_bytes: int) -> Excerpt | None:
    """Head and tail of `text` in at most so many bytes of UTF-8, which it must fit; None where all of it is no more."""
    if len(text) <= most_bytes and (text.isascii() or len(text.encode()) <= most_bytes):
        return None
    head_bytes = int(most_bytes * HEAD_SHARE)
    tail_bytes = most_bytes - head_bytes
    head = text[:head_bytes].encode()[:head_bytes].decode("utf-8", "ignore")
    tail = text[-tail_bytes:].encode()[-tail_bytes:].decode("utf-8", "ignore") if tail_bytes else ""
    return Excerpt(head, tail, len(text))


def shortened(text: str, most_bytes: int) -> str:
    """`text`, or its excerpt of so many bytes as a text."""
    excerpt = cut_to_bytes(text, most_bytes)
    return text if excerpt is None else excerpt.text()

"""Finds where the text of an unfinished paragraph can be cut so that both parts parse as the whole would.

A scan and no parser: where it errs, a marker is shown as it was written, and nothing is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from toolchat.ui.markdown.marks import flanks, hide
from toolchat.ui.text.wrapping import WIDE, break_before

_MARKER = re.compile(r"\\[\s\S]?|`+|\*+|_+|~~|\[|\]")
_TARGET = re.compile(r"\((?:[^()\n]|\([^()\n]*\))*\)")


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

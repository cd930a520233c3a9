"""Keeps one tool result from filling the model's context: what is too long is cut in the middle, by exact tokens."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

CONTEXT_SHARE = 4
"""A result may take the context's n-th part, where its tool says nothing else."""

HEAD_SHARE = 2 / 3
"""Of what is kept, the part from the beginning: names and headings stand there, totals and errors at the end."""


async def cut_to_budget(
    text: str, budget: int, count: Callable[[str], Awaitable[int]], keep: Callable[[], str | None]
) -> str:
    """`text` in at most `budget` tokens: whole, or head and tail with a line between them that says what is missing.

    `count` says how many tokens a text has. `keep` is called where the text is cut; it puts the whole into a file and
    returns its name, or None where that cannot be done.
    """
    # No tokenizer makes more tokens than bytes, of the text or of its JSON: most results need no counting at all.
    if len(json.dumps(text)) <= budget:
        return text
    total = await count(text)
    if total <= budget:
        return text
    where = keep()

    def cut(kept: int) -> str:
        head = text[: int(kept * HEAD_SHARE)]
        tail = text[len(text) - (kept - len(head)) :] if kept > len(head) else ""
        whole = f"; the whole is in {where}" if where else ""
        line = f"[… {len(text) - kept:,} of {len(text):,} characters are left out here{whole} …]"
        return f"{head}\n{line}\n{tail}"

    # The longest cut that fits, by bisection: tokens grow with characters, near enough for it to converge, and
    # what is returned has been counted.
    low, high = 0, len(text) * budget * 3 // (total * 2)
    best = cut(0)
    while low <= high:
        middle = (low + high) // 2
        candidate = cut(middle)
        if await count(candidate) <= budget:
            best, low = candidate, middle + 1
        else:
            high = middle - 1
        # A fiftieth more is not worth another round of counting.
        if high - low < low // 50:
            break
    return best

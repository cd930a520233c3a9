"""Keeps tools' results from filling the model's context: what is too long is cut in the middle, by exact tokens."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence

from toolchat.chat.conversation import Conversation
from toolchat.engine.base import Engine
from toolchat.wire.deltas import Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.excerpt import Excerpt, Kept, whole
from toolchat.wire.messages import ToolSpec

RESULT_SHARE = 4
"""A result may take the context's n-th part, where its tool says nothing else."""

ROUND_SHARE = 2
"""And all results of a round together this part of what is left: later rounds are to have some too."""

FRAME = 64
"""Tokens around a result, or behind it: its name and id in JSON before v7, a reminder."""

LEAST = 32
"""Tokens: a result is never cut to less, which would say nothing."""

_CHARACTERS = 4
"""Of a token, roughly, in English text."""


async def left_for_results(
    engine: Engine,
    conversation: Conversation,
    usage: Usage,
    tools: Sequence[ToolSpec],
    *,
    calls: int,
    reserve: int,
    reasoning_effort: str | None,
) -> int | None:
    """Tokens that the results of a round of `calls` may take, with `reserve` left for the model to go on.

    `usage` is that of the round's generation. None where no engine is there to say.
    """
    info, sizes = engine.info, conversation.turn_sizes
    if info is None:
        return None
    left = info.context_window - reserve - usage.prompt_tokens - usage.completion_tokens
    if len(sizes) < 2 or result_budget(None, info.context_window, calls, left) == info.context_window // RESULT_SHARE:
        return left
    # The turns before this one will be set aside for it, where need be.
    messages = conversation.messages
    try:
        count = await engine.count(messages, tools, reasoning_effort)
    except EngineError:
        return left
    return left + sum(count.messages[len(messages) - sum(sizes) : len(messages) - sizes[-1]])


def result_budget(own: int | None, context: int, calls: int, left: int) -> int:
    """Tokens that each result of a round of `calls` may have.

    `own` is what its tool allows, None where it says nothing; `left` is what all results, and what stands around them,
    may take.
    """
    return max(LEAST, min(own or context // RESULT_SHARE, left // ROUND_SHARE // calls - FRAME))


async def cut_to_budget(
    text: str | Excerpt, budget: int, count: Callable[[str], Awaitable[int]], keep: Callable[[], Kept | None]
) -> tuple[str, int]:
    """`text` in at most `budget` tokens: whole, or head and tail with a line between them that says what is missing.

    The number is that of the characters that are missing. An excerpt has been cut before, and what is said is of the
    text that it is of. `count` says how many tokens a text has. `keep` is called where the text is cut, now or before;
    it says in which file all of it is, or how much.
    """
    if isinstance(text, Excerpt):
        excerpt, kept = text, keep()
        largest = len(excerpt.head) + len(excerpt.tail)
        # Not more of it than could fit: a megabyte takes a tokenizer a second.
        counted = min(largest, budget * _CHARACTERS)
        total = await count(excerpt.narrowed(counted).text(kept))
    else:
        # No tokenizer makes more tokens than bytes, of the text or of its JSON: most results need no counting at all.
        if len(json.dumps(text)) <= budget:
            return text, 0
        counted = len(text)
        total = await count(text)
        if total <= budget:
            return text, 0
        excerpt, kept, largest = whole(text), keep(), counted - 1

    # The longest cut that fits, by bisection: tokens grow with characters, near enough for it to converge, and
    # what is returned has been counted.
    low, high = 0, min(largest, counted * budget * 3 // (max(total, 1) * 2))
    best = excerpt.narrowed(0)
    while low <= high:
        middle = (low + high) // 2
        candidate = excerpt.narrowed(middle)
        if await count(candidate.text(kept)) <= budget:
            best, low = candidate, middle + 1
        else:
            high = middle - 1
        # A fiftieth more is not worth another round of counting.
        if high - low < low // 50:
            break
    return best.text(kept), best.left_out

"""Room in the model's context: how many of the oldest turns have to go, and what to say where none can.

Pure: it reckons with the exact counts that the engine's refusal carries.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolchat.engine.base import ContextOverflowError
from toolchat.wire.messages import Message, SystemMessage
from toolchat.wire.tokens import TokenCount

ANSWER_SHARE = 8
"""An answer is not begun in less than the context's n-th part: it would be cut off at once."""
KEPT_SHARE = 3 / 4
"""Once turns have to go, the history is cut to this part of the context: each cut changes the beginning of the
prompt, and so costs the prefix cache, which a cut at every turn would never see again."""


def reserve(context: int, max_tokens: int) -> int:
    """Tokens that the prompt must leave for the answer."""
    return max(1, min(max_tokens, context // ANSWER_SHARE))


def turns_to_set_aside(count: TokenCount, turn_sizes: Sequence[int], context: int, needed: int) -> int:
    """How many of the oldest turns to set aside so that `needed` tokens are left; 0 where that is not enough.

    `turn_sizes` are the messages of each turn, the last of which is the one under way and stays; they are the last
    of those that were counted.
    """
    at = len(count.messages) - sum(turn_sizes)
    total, enough = count.total, 0
    for number, size in enumerate(turn_sizes[:-1], 1):
        total -= sum(count.messages[at : at + size])
        at += size
        if total + needed <= context:
            enough = number
            if total <= context * KEPT_SHARE:
                break
    return enough


def too_long(error: ContextOverflowError, messages: Sequence[Message], needed: int) -> str:
    """Why not even the question alone can be asked: its tokens, and what the context leaves for it."""
    count = error.count
    own = count.messages[-1] if count.messages else count.total
    if messages and len(count.messages) == len(messages) and own > 0:
        system = sum(
            tokens
            for tokens, message in zip(count.messages, messages, strict=True)
            if isinstance(message, SystemMessage)
        )
        beside = [f"the system prompt takes {system:,}"] if system else []
        beside += [f"the tools take {sum(count.tools):,}"] if sum(count.tools) else []
        beside += [f"{needed:,} are kept for the answer"]
        left = error.context - needed - (count.total - own)
        return (
            f"this message takes {own:,} tokens, and the context of {error.context:,} has room for "
            f"{max(0, left):,} ({', '.join(beside)}); shorten it"
        )
    return str(error)


def turn_too_long(error: ContextOverflowError) -> str:
    """Why a turn cannot go on that no older one can make room for."""
    return (
        f"with what its tools returned it takes {error.count.total:,} tokens, and the context holds "
        f"{error.context:,}; ask for less at once, or set max_result_tokens for the tool"
    )

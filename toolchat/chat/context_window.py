"""The context window: how many old turns have to go, what is said where none can, and how long a result may be.

It reckons with exact counts of tokens. A result that is too long is cut in the middle.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from toolchat.chat.conversation import Conversation, Turn
from toolchat.engine.base import ContextOverflowError, Engine
from toolchat.wire.deltas import TokenCount, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.excerpt import Excerpt, Kept, whole
from toolchat.wire.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

ANSWER_SHARE = 8
"""An answer is not begun in less than the context's n-th part: it would be cut off at once."""
KEPT_SHARE = 3 / 4
"""Once turns have to go, the history is cut to this part of the context: each cut changes the beginning of the
prompt, and so costs the prefix cache, which a cut at every turn would never see again."""

_NAMED = 3
"""Tools that are named, of those that take the most."""


def reserve(context: int, max_tokens: int) -> int:
    """Tokens that the prompt must leave for the answer."""
    return max(1, min(max_tokens, context // ANSWER_SHARE))


def turns_to_set_aside(count: TokenCount, turns: Sequence[Turn], context: int, needed: int) -> tuple[int, ...]:
    """Which turns to set aside so that `needed` tokens are left; none where that is not enough.

    The oldest go first, and those that the user keeps last. `turns` are those that are sent, the last of which is the
    one under way and stays; their messages are the last of those that were counted.
    """
    total, enough, gone = count.total, 0, list[int]()
    sizes = turn_tokens(count, turns)
    for turn in sorted(turns[:-1], key=lambda turn: turn.kept):
        total -= sizes[turn.number]
        gone.append(turn.number)
        if total + needed <= context:
            enough = len(gone)
            if total <= context * KEPT_SHARE:
                break
    return tuple(gone[:enough])


def turn_tokens(count: TokenCount, turns: Sequence[Turn]) -> dict[int, int]:
    """Tokens of each turn, by its number, where their messages are the last of those that were counted."""
    at, tokens = len(count.messages) - sum(len(turn.messages) for turn in turns), {}
    for turn in turns:
        tokens[turn.number] = sum(count.messages[at : at + len(turn.messages)])
        at += len(turn.messages)
    return tokens


def too_long(
    error: ContextOverflowError, messages: Sequence[Message], tools: Sequence[ToolSpec], turn_size: int, needed: int
) -> str:
    """Why a turn cannot be asked, or go on, that no older one can make room for: what takes how much, and what helps.

    `turn_size` is how many of the last messages are the turn's own; the older ones would be set aside for it.
    """
    count = error.count
    if turn_size < 1 or len(count.messages) != len(messages) or len(count.tools) not in (0, len(tools)):
        return str(error)
    parts = [part for part in _parts(count, messages, tools, turn_size) if part.tokens > 0]
    if not parts:
        return str(error)
    parts.sort(key=lambda part: part.tokens, reverse=True)
    takes = ", ".join(part.text for part in parts)
    total = sum(part.tokens for part in parts) + count.format
    return (
        f"the prompt takes {total:,} tokens, and the context of {error.context_window:,} has room for "
        f"{max(0, error.context_window - needed):,} beside the answer: {takes}; {parts[0].advice}"
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a prompt, for people."""

    what: str
    tokens: int
    advice: str
    detail: str = ""

    @property
    def text(self) -> str:
        return f"{self.what} {self.tokens:,}" + (f" ({self.detail})" if self.detail else "")


_MODEL = "a larger --context helps too, or a model that has one"


def _parts(
    count: TokenCount, messages: Sequence[Message], tools: Sequence[ToolSpec], turn_size: int
) -> Iterator[_Part]:
    """The parts of a prompt that are sent for the turn under way whatever is set aside."""
    system = sum(
        tokens for tokens, message in zip(count.messages, messages, strict=True) if isinstance(message, SystemMessage)
    )
    turn = list(zip(messages, count.messages, strict=True))[-turn_size:]
    question = sum(tokens for message, tokens in turn if isinstance(message, UserMessage))
    answers = sum(tokens for message, tokens in turn if isinstance(message, AssistantMessage))
    results: Counter[str] = Counter()
    for message, tokens in turn:
        if isinstance(message, ToolMessage):
            results[message.name] += tokens
    offered = Counter({tool.name: tokens for tool, tokens in zip(tools, count.tools, strict=False)})
    yield _Part(
        "the tools",
        sum(count.tools),
        f"offer fewer tools (another --tools file, /tool NAME off), or none with --no-tools; {_MODEL}",
        _largest(offered),
    )
    yield _Part("the system prompt", system, f"shorten the system prompt, or leave it out with --no-system; {_MODEL}")
    images = any(message.images for message, _ in turn if isinstance(message, UserMessage))
    what = "the question with its images" if images else "the question"
    yield _Part(what, question, f"{'send fewer images' if images else 'shorten the question'}; {_MODEL}")
    yield _Part(
        "the results of calls",
        results.total(),
        f"ask for less at once, or set max_result_tokens for the tool; {_MODEL}",
        _largest(results),
    )
    yield _Part("the calls", answers, f"ask for less at once; {_MODEL}")


def _largest(tokens: Counter[str]) -> str:
    """ "search 30,100, fetch 9,000 and 12 more 1,900"; empty for none."""
    named = [f"{name} {number:,}" for name, number in tokens.most_common(_NAMED)]
    if (others := len(tokens) - len(named)) > 0:
        rest = tokens.total() - sum(number for _, number in tokens.most_common(_NAMED))
        return f"{', '.join(named)} and {others} more {rest:,}"
    return ", ".join(named)


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


async def result_tokens(engine: Engine, call_id: str, name: str, text: str) -> int:
    """What `text` adds to a history as a result: before v7 it stands there as JSON, with every quote escaped."""
    sizes = []
    for content in (text, ""):
        asked: list[Message] = [
            UserMessage("x"),
            AssistantMessage(calls=(ToolCall(call_id, name, {}),)),
            ToolMessage(call_id, name, content),
        ]
        try:
            sizes.append((await engine.count(asked, ())).messages[-1])
        except EngineError:
            # An engine that died meanwhile must not take the result with it; no text has more tokens than this.
            return len(json.dumps(text))
    return sizes[0] - sizes[1]


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

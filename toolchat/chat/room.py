"""Room in the model's context: how many of the oldest turns have to go, and what to say where none can.

Pure: it reckons with the exact counts that the engine's refusal carries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from toolchat.engine.base import ContextOverflowError
from toolchat.wire.messages import AssistantMessage, Message, SystemMessage, ToolMessage, ToolSpec, UserMessage
from toolchat.wire.tokens import TokenCount

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

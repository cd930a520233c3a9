"""Sums older turns up with the model: which turns, what the model is asked, and in how many portions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, cast

from toolchat.chat.context_window import turn_tokens
from toolchat.chat.conversation import SUMMED_UP, Turn
from toolchat.engine.base import ContextOverflowError, Engine, GenerateOptions
from toolchat.wire import deltas
from toolchat.wire.deltas import TokenCount
from toolchat.wire.errors import EngineError
from toolchat.wire.excerpt import whole
from toolchat.wire.messages import AssistantMessage, Message, SystemMessage, ToolMessage, ToolSpec, UserMessage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

FULL = 0.85
"""From this part of the context on, room is made for what comes next."""

RECENT_SHARE = 4
"""The last turns stay as they are as long as they take no more than the n-th part of all; the last one always does."""

SUMMARY_SHARE = 8
"""A summary may take the context's n-th part."""

LEAST_SUMMARY = 64
"""Tokens that a summary may always take."""

_SHORTEST = 200
"""Characters: a text is not cut to fewer, where a turn is too long to be summed up whole."""

_SENTENCE = re.compile(r"(?s)\S.*?(?:[.?!](?=\s|$)|\n|$)\s*")

REQUEST = """\
Stop here and sum up the conversation so far. The summary will stand in its place, so write down what is needed to go \
on: what the user wants, the facts, names, numbers and files that matter, what the tools found, what was decided, and \
what is still open. Write plain sentences, as short as possible, without a greeting, and call no tool."""


def request(words: str = "") -> str:
    """What the model is asked, with `words` for what matters most to the user."""
    return f"{REQUEST} Above all, keep this: {words}" if words else REQUEST


@dataclass(frozen=True, slots=True)
class Summary:
    text: str
    usage: deltas.Usage
    cut_off: bool
    """Whether the limit of tokens ended it."""


def older_turns(turns: Sequence[Turn], count: TokenCount) -> tuple[Turn, ...]:
    """The turns to sum up: those before the last ones, and of these only the ones that the user keeps where there are
    no others. None where there is nothing to be gained.

    `turns` are all of them; the messages of those that are sent are the last that were counted.
    """
    tokens = turn_tokens(count, [turn for turn in turns if not turn.aside])
    room = sum(tokens.values()) // RECENT_SHARE
    older = list(turns)
    for turn in reversed(turns):
        room -= tokens.get(turn.number, 0)
        if turn.aside or (room < 0 and turn is not turns[-1]):
            break
        older.pop()
    found = tuple(turn for turn in older if not turn.kept) or tuple(older)
    # A summary of one summary says no more.
    return () if len(found) == 1 and found[0].replaced else found


def summary_limit(tokens: int, context: int, options: GenerateOptions) -> int:
    """Tokens that the summary of so many may take."""
    return max(LEAST_SUMMARY, min(options.max_tokens, context // SUMMARY_SHARE, tokens // 2))


async def summarise(
    engine: Engine,
    request_id: str,
    turns: Sequence[Turn],
    *,
    system: str | None,
    tools: Sequence[ToolSpec],
    options: GenerateOptions,
    limit: int,
    words: str = "",
) -> Summary:
    """The model's summary of `turns`, with `words` for what matters most to the user.

    What does not fit the context at once is summed up in portions, each with the summary of those before it; of a turn
    that does not even fit alone, the longest texts are cut in the middle.

    The prompt begins as that of a turn does, so that what the engine has cached of that is used. Cancelling it stops
    the generation. Raises EngineError where there is no summary to be had.
    """
    head = [SystemMessage(system)] if system else []
    ask = UserMessage(request(words))
    info = engine.info
    # What a model thinks counts as well.
    thinking = info.context_window // SUMMARY_SHARE if info is not None and info.supports_reasoning else 0
    options = replace(
        options, max_tokens=limit + thinking, reserve=limit + thinking, tool_choice="none", response_schema=None
    )
    rest = [list(turn.messages) for turn in turns]
    summary = Summary("", deltas.Usage(), False)
    while rest:
        size = len(rest)
        while True:
            messages = [*head, *chain.from_iterable(rest[:size]), ask]
            try:
                text, usage, cut_off = await _generate(engine, request_id, messages, tools, options)
                break
            except ContextOverflowError as error:
                fits = _that_fit(error, [len(turn) for turn in rest[:size]], options.reserve)
                if fits:
                    size = fits
                    continue
                size = 1
                if (shorter := _shortened(rest[0])) is None:
                    raise
                rest[0] = shorter
        summary = Summary(_said_once(text) if cut_off else text, summary.usage + usage, cut_off)
        rest = rest[size:]
        if rest:
            rest[0] = [UserMessage(SUMMED_UP), AssistantMessage(text), *rest[0]]
    return summary


def _said_once(text: str) -> str:
    """A summary that its limit ended, without the sentences that it says again and the unfinished last one.

    A small model that finds no end repeats itself, and each repetition would fill the context that is to be freed.
    """
    sentences = _SENTENCE.findall(text)
    finished = sentences[:-1] if sentences and sentences[-1].rstrip()[-1] not in ".?!" else sentences
    found: dict[str, str] = {}
    for sentence in finished:
        found.setdefault(" ".join(sentence.split()), sentence)
    return "".join(found.values()).strip() or text


def _that_fit(error: ContextOverflowError, sizes: Sequence[int], needed: int) -> int:
    """How many of the first turns fit, fewer than all of them; the request stands behind them."""
    counts, total = error.count.messages, error.count.total
    if len(counts) < sum(sizes) + 1:
        return len(sizes) // 2  # nobody has counted them one by one
    end = len(counts) - 1
    for left in range(len(sizes) - 1, 0, -1):
        total -= sum(counts[end - sizes[left] : end])
        end -= sizes[left]
        if total + needed <= error.context_window:
            return left
    return 0


def _shortened(messages: Sequence[Message]) -> list[Message] | None:
    """The messages of a turn with their longest text cut to half, or without images; None where that is no way out."""
    texts = [0 if isinstance(one, AssistantMessage) and one.calls else len(one.content) for one in messages]
    longest = max(range(len(messages)), key=texts.__getitem__)
    if any(isinstance(one, UserMessage | ToolMessage) and one.images for one in messages):
        return [replace(one, images=()) if isinstance(one, UserMessage | ToolMessage) else one for one in messages]
    if texts[longest] <= _SHORTEST:
        return None
    shorter = whole(messages[longest].content).narrowed(texts[longest] // 2).text()
    if len(shorter) >= texts[longest]:
        return None
    return [replace(one, content=shorter) if at == longest else one for at, one in enumerate(messages)]


async def _generate(
    engine: Engine, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
) -> tuple[str, deltas.Usage, bool]:
    text, finished = "", None
    try:
        stream = cast("AsyncGenerator[deltas.Delta, None]", engine.generate(request_id, messages, tools, options))
        async with aclosing(stream) as pieces:
            async for delta in pieces:
                match delta:
                    case deltas.Text(piece):
                        text += piece
                    case deltas.Finished():
                        finished = delta
    except EngineError:
        raise
    except BaseException:
        engine.abort(request_id)
        raise
    if not text.strip() or finished is None:
        raise EngineError("the model gave no summary")
    return text.strip(), finished.usage, finished.reason is deltas.FinishReason.LENGTH

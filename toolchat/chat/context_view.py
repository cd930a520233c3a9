"""What fills the context window, part by part, and what of it the engine still has in its prefix cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchat.chat.conversation import Turn
from toolchat.mistral.vocabulary import FIRST_SYSTEM_AHEAD, FIRST_TOOLS_AHEAD
from toolchat.wire.deltas import TokenCount, Usage
from toolchat.wire.messages import AssistantMessage, Message, SystemMessage, ToolMessage, ToolSpec, UserMessage


@dataclass(frozen=True, slots=True)
class ResultView:
    """A result of a call, as the model is sent it."""

    turn: int
    call_id: str
    place: str
    """How a person names it: "3.1" is the first result of turn 3."""
    name: str
    tokens: int
    characters: int
    images: int


@dataclass(frozen=True, slots=True)
class TurnView:
    """A turn that is sent."""

    number: int
    tokens: int
    kept: bool
    is_summary: bool
    question: str


@dataclass(frozen=True, slots=True)
class ContextView:
    """All of the next prompt but its question. The parts add up to `total`."""

    window: int
    total: int
    estimated: bool
    system: int
    tools: tuple[tuple[str, int], ...]
    """By name, in their order."""
    questions: int
    answers: int
    """With the calls."""
    summaries: int
    results: tuple[ResultView, ...]
    format: int
    turns: tuple[TurnView, ...]
    aside: tuple[int, ...]
    """The turns that are not sent."""
    cached: int | None
    """About so many tokens of it are in the engine's prefix cache; None where that cannot be told."""
    seconds: float | None
    """Until the first token, as fast as the last prompt was read; None where that says nothing."""

    @property
    def free(self) -> int:
        return max(0, self.window - self.total)

    @property
    def new(self) -> int:
        """Tokens that have to be read anew."""
        return self.total - (self.cached or 0)


@dataclass(frozen=True, slots=True)
class LastPrompt:
    """The last prompt that the engine has answered, whose beginning it may still have in its cache."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    usage: Usage


def context_view(
    window: int,
    count: TokenCount,
    system: str | None,
    tools: Sequence[ToolSpec],
    turns: Sequence[Turn],
    *,
    last: LastPrompt | None = None,
    version: int = 0,
) -> ContextView:
    """`count` is that of the system prompt, the tools, and the messages of the `turns` that are not set aside.

    `version` is the tokenizer's; 0 where the server renders.
    """
    sent = [turn for turn in turns if not turn.aside]
    messages = [message for turn in sent for message in turn.messages]
    tokens = list(count.messages[len(count.messages) - len(messages) :]) if messages else []
    system_tokens = sum(count.messages[: len(count.messages) - len(messages)])
    questions = answers = summaries = at = 0
    results: list[ResultView] = []
    views: list[TurnView] = []
    for turn in sent:
        own = tokens[at : at + len(turn.messages)]
        at += len(turn.messages)
        views.append(TurnView(turn.number, sum(own), turn.kept, bool(turn.replaced), turn.question.content))
        if turn.replaced:
            summaries += sum(own)
            continue
        place = 0
        for message, size in zip(turn.messages, own, strict=True):
            match message:
                case UserMessage():
                    questions += size
                case AssistantMessage():
                    answers += size
                case ToolMessage(call_id, name, content, images):
                    place += 1
                    named = f"{turn.number}.{place}"
                    results.append(ResultView(turn.number, call_id, named, name, size, len(content), len(images)))
    by_tool = tuple(zip((tool.name for tool in tools), count.tools, strict=False))
    # Of an engine that does not tell tools apart, they belong to the format.
    rest = count.total - system_tokens - sum(size for _, size in by_tool) - sum(tokens)
    cached = _cached(last, system, system_tokens, tools, count, messages, tokens, version)
    return ContextView(
        window,
        count.total,
        count.estimated,
        system_tokens,
        by_tool,
        questions,
        answers,
        summaries,
        tuple(results),
        rest,
        tuple(views),
        tuple(turn.number for turn in turns if turn.aside),
        cached,
        _seconds(last, count.total - (cached or 0)) if cached is not None else None,
    )


def _cached(
    last: LastPrompt | None,
    system: str | None,
    system_tokens: int,
    tools: Sequence[ToolSpec],
    count: TokenCount,
    messages: Sequence[Message],
    tokens: Sequence[int],
    version: int,
) -> int | None:
    """Tokens that the next prompt begins with as the last one did: the engine has read them, and written the answer.

    From v13 on the tools stand before the first question; up to v11 before the last one, so that they, and what follows
    them, are read anew each time. Before v7 so does the system prompt.
    """
    if last is None:
        return None
    before = list(last.messages)
    had_system = before.pop(0) if before and isinstance(before[0], SystemMessage) else None
    same_system = had_system == (SystemMessage(system) if system else None)
    same_tools = tuple(tools) == last.tools
    ahead = version >= FIRST_TOOLS_AHEAD
    if not same_system and version >= FIRST_SYSTEM_AHEAD:
        return 0
    cached = system_tokens
    if ahead:
        if not same_tools:
            return cached
        cached += sum(count.tools) + count.format
    same = 0
    for old, new in zip(before, messages, strict=False):
        if old != new:
            break
        same += 1
    in_question = had_system is not None and version < FIRST_SYSTEM_AHEAD
    if version < FIRST_SYSTEM_AHEAD:
        cached = 0
    if not ahead and (tools or last.tools or in_question):
        questions = [at for at, message in enumerate(before) if isinstance(message, UserMessage)]
        same = min(same, questions[-1] if questions else 0)
    elif same == len(before) and same < len(messages) and isinstance(messages[same], AssistantMessage):
        same += 1  # what was generated
    return cached + sum(tokens[:same])


def _seconds(last: LastPrompt | None, new: int) -> float | None:
    if last is None or last.usage.new_tokens < LEAST_MEASURED or not last.usage.ttft:
        return None
    return last.usage.ttft * new / last.usage.new_tokens


LEAST_MEASURED = 64
"""Tokens: a prompt of which fewer were read says nothing about the speed of reading."""

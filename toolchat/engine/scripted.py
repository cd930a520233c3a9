"""A test double of the engine: streams queued answers in order, as the real engine streams its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from toolchat.engine.base import (
    AnswerBrokenError,
    ContextOverflowError,
    EngineCrashedError,
    EngineInfo,
    GenerateOptions,
)
from toolchat.mistral.ids import new_call_id
from toolchat.wire.deltas import (
    CallArguments,
    CallBegun,
    CallEnded,
    Delta,
    Finished,
    FinishReason,
    Note,
    Text,
    Thinking,
    TokenCount,
    Usage,
)
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import FailedCall, Message, ToolCall, ToolSpec


@dataclass(frozen=True, slots=True)
class Answer:
    """One generation: text in pieces, then calls."""

    text: str | Sequence[str] = ""
    calls: Sequence[ToolCall | FailedCall] = ()
    thinking: str = ""
    reason: FinishReason = FinishReason.STOP
    delay: float = 0.0
    """Seconds before each piece of text, and each of `deltas`."""
    deltas: Sequence[Delta] = ()
    """Streamed before all this, as they are."""
    notes: Sequence[str] = ()
    crash: bool = False
    """The engine dies after the text, before the calls."""
    breaks: str = ""
    """Why the answer breaks off there, while the engine lives on."""
    error: Exception | None = None
    """Raised at once instead of an answer."""


def call(name: str, **arguments: object) -> ToolCall:
    """A tool call with a fresh id."""
    return ToolCall(new_call_id(), name, dict(arguments))


@dataclass(slots=True)
class Request:
    """What the engine was asked, for assertions."""

    request_id: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    options: GenerateOptions
    prompt_tokens: int


@dataclass
class ScriptedEngine:
    """Gives `answers` in order; running out of them is an error, so that no test passes by accident."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    starts: int = 0
    closed: bool = False
    info: EngineInfo | None = None
    context: int = 8192
    death: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it to have the engine die while nothing is asked of it."""
    _aborted: set[str] = field(default_factory=set)

    def enqueue(self, *answers: Answer | str) -> None:
        self.answers += [Answer(text=answer) if isinstance(answer, str) else answer for answer in answers]

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        self.starts += 1
        self.closed = False
        for state in ("starting", "importing", "loading weights"):
            yield EngineState(state)
            await asyncio.sleep(0)
        self.info = EngineInfo("scripted", self.context, 13, constrains_calls=True)
        yield EngineState("ready")

    async def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        count = self._count(messages, tools)
        if count.total + options.reserve > self.context:
            raise ContextOverflowError(f"the conversation takes {count.total} tokens", count, self.context)
        self.requests.append(Request(request_id, tuple(messages), tuple(tools), options, count.total))
        answer = self.answers.pop(0)
        if answer.error is not None:
            raise answer.error
        for note in answer.notes:
            yield Note(note)
        for delta in answer.deltas:
            await asyncio.sleep(answer.delay)
            yield delta
        if answer.thinking:
            yield Thinking(answer.thinking)
        for piece in [answer.text] if isinstance(answer.text, str) else answer.text:
            await asyncio.sleep(answer.delay)
            if self.closed:
                raise EngineCrashedError("the engine was closed")
            if request_id in self._aborted:
                yield Finished(FinishReason.ABORT, Usage())
                return
            if piece:
                yield Text(piece)
        if answer.breaks:
            raise AnswerBrokenError(answer.breaks)
        if answer.crash:
            self.info = None
            raise EngineCrashedError("the engine's process ended unexpectedly")
        for index, item in enumerate(answer.calls):
            yield CallBegun(index, item.name)
            if isinstance(item, ToolCall):
                yield CallArguments(index, json.dumps(item.arguments))
            yield CallEnded(index, item)
        yield Finished(answer.reason, Usage(prompt_tokens=count.total, completion_tokens=5))

    def abort(self, request_id: str) -> None:
        self._aborted.add(request_id)

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        return self._count(messages, tools)

    def _count(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> TokenCount:
        # A token for every four characters: enough for what depends on size.
        by_tool = tuple(len(json.dumps(tool.parameters)) // 4 for tool in tools)
        by_message = tuple(len(message.content) // 4 + 10 for message in messages)
        return TokenCount(sum(by_tool) + sum(by_message) + 1, by_tool, by_message, 1)

    async def ended(self) -> str:
        await self.death.wait()
        self.death.clear()
        self.info = None
        return "the engine's process ended unexpectedly"

    async def close(self) -> None:
        self.closed = True
        self.info = None

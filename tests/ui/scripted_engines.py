"""Scripted engines that wait for a test, or never end: a script says `engine = ENGINE(...)`, and the test says when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolchat.engine.base import EngineCrashedError, GenerateOptions
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.wire.deltas import CallEnded, Delta, Finished, FinishReason, Text, Thinking, TokenCount, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import FailedCall, Message, ToolSpec

__all__ = [
    "Answer",
    "EngineError",
    "FailedCall",
    "FinishReason",
    "GatedEngine",
    "HungEngine",
    "ScriptedEngine",
    "Text",
    "Thinking",
    "Usage",
    "answering",
    "call",
]

_LOOK = 0.01


async def gate(name: str) -> None:
    """Wait for a file of that name in the folder that the REPL runs in."""
    while not Path(name).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(_LOOK)


def answering(*answers: Answer | str) -> ScriptedEngine:
    engine = ScriptedEngine()
    engine.enqueue(*answers)
    return engine


@dataclass
class GatedEngine(ScriptedEngine):
    """Waits for files: "load" before it is ready, where `loads_late`; in answers, a piece "@NAME" waits for NAME.

    A piece "@forever" never comes, so that only an interrupt ends the answer.
    """

    loads_late: bool = False
    failures: list[str] = field(default_factory=list)
    """Why the next starts fail."""

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        yield EngineState("loading weights")
        if self.loads_late:
            await gate("load")
        if self.failures:
            raise EngineError(self.failures.pop(0))
        async for state in super().start():
            yield state

    async def generate(
        self, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> AsyncIterator[Delta]:
        answer = self.answers[0]
        if isinstance(answer.text, str) or not any(piece.startswith("@") for piece in answer.text):
            async for delta in super().generate(request_id, messages, tools, options):
                yield delta
            return
        self.answers.pop(0)
        for delta in answer.deltas:
            yield delta
        for piece in answer.text:
            if piece.startswith("@"):
                await gate(piece[1:])
            else:
                yield Text(piece)
        for index, item in enumerate(answer.calls):
            yield CallEnded(index, item)
        yield Finished(answer.reason, Usage(prompt_tokens=10, completion_tokens=5))


@dataclass
class HungEngine(ScriptedEngine):
    """Gives half of its first answer, and then nothing, not even after an abort; ended and started again, it works."""

    hung: bool = False

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        self.hung = self.closed = False
        async for state in super().start():
            yield state

    async def generate(
        self, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> AsyncIterator[Delta]:
        if self.starts == 1:
            yield Text("Half of it. ")
            self.hung = True
            await self._while_hung()
        async for delta in super().generate(request_id, messages, tools, options):
            yield delta

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        await self._while_hung()
        return await super().count(messages, tools, reasoning_effort)

    async def _while_hung(self) -> None:
        while self.hung:
            if self.closed:
                raise EngineCrashedError("the engine was closed")
            await asyncio.sleep(_LOOK)

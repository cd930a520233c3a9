"""What an engine was asked and what it answered, and a wrapper of an engine that notes both."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from toolchat.engine.base import (
    AnswerBrokenError,
    ContextOverflowError,
    Engine,
    EngineCrashedError,
    EngineInfo,
    GenerateOptions,
    SharedEngine,
)
from toolchat.wire.codec import decode_message, decode_tool, encode_message, encode_tool
from toolchat.wire.deltas import Delta, TokenCount
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import AssistantMessage, Image, Message, SystemMessage, ToolMessage, ToolSpec, UserMessage


class End(StrEnum):
    """How a generation ended."""

    FINISHED = "finished"
    LEFT = "left"
    """Nobody listened any more: the user stopped it."""
    CRASHED = "crashed"
    BROKEN = "broken"
    OVERFLOW = "overflow"
    REFUSED = "refused"


_ENDS: tuple[tuple[type[EngineError], End], ...] = (
    (EngineCrashedError, End.CRASHED),
    (AnswerBrokenError, End.BROKEN),
    (ContextOverflowError, End.OVERFLOW),
    (EngineError, End.REFUSED),
)


@dataclass(frozen=True, slots=True)
class Generation:
    """One request, and what came of it."""

    messages: tuple[Message, ...] | None
    """None where it is not known what was asked."""
    tools: tuple[ToolSpec, ...]
    options: GenerateOptions | None
    deltas: tuple[Delta, ...]
    times: tuple[float, ...] = ()
    """Of each delta, seconds since the request."""
    end: End = End.FINISHED
    why: str = ""
    """Of an end that is a failure."""
    count: TokenCount | None = None
    """Of a prompt that was too long."""
    context: int = 0

    def failure(self) -> EngineError | None:
        """What it failed with, if it did."""
        match self.end:
            case End.CRASHED:
                return EngineCrashedError(self.why)
            case End.BROKEN:
                return AnswerBrokenError(self.why)
            case End.OVERFLOW if self.count is not None:
                return ContextOverflowError(self.why, self.count, self.context)
            case End.REFUSED | End.OVERFLOW:
                return EngineError(self.why)
        return None


class Notes(Protocol):
    """Where the wrapper notes things down."""

    def engine(self, info: EngineInfo) -> None:
        """An engine is ready."""

    def generation(self, generation: Generation) -> None: ...

    def counted(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], effort: str | None, count: TokenCount
    ) -> None: ...


class RecordingEngine:
    """An engine whose work is noted down; see `Engine` and `SharedEngine` for the methods."""

    def __init__(self, engine: Engine, notes: Notes, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._notes = notes
        self._clock = clock

    @property
    def info(self) -> EngineInfo | None:
        return self._engine.info

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        async for state in self._engine.start():
            if isinstance(state, EngineState) and state.state == "ready" and self.info is not None:
                self._notes.engine(self.info)
            yield state

    async def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        asked, began = (tuple(messages), tuple(tools), options), self._clock()
        deltas: list[Delta] = []
        times: list[float] = []
        end, failure = End.LEFT, None
        stream = self._engine.generate(request_id, messages, tools, options)
        try:
            async for delta in stream:
                deltas.append(delta)
                times.append(round(self._clock() - began, 3))
                yield delta
            end = End.FINISHED
        except EngineError as error:
            failure = error
            end = next(end for kind, end in _ENDS if isinstance(error, kind))
            raise
        finally:
            overflow = failure if isinstance(failure, ContextOverflowError) else None
            self._notes.generation(
                Generation(
                    *asked,
                    tuple(deltas),
                    tuple(times),
                    end,
                    str(failure or ""),
                    overflow.count if overflow is not None else None,
                    overflow.context_window if overflow is not None else 0,
                )
            )
            if (close := getattr(stream, "aclose", None)) is not None:
                await close()

    def abort(self, request_id: str) -> None:
        self._engine.abort(request_id)

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        count = await self._engine.count(messages, tools, reasoning_effort)
        self._notes.counted(messages, tools, reasoning_effort, count)
        return count

    async def ended(self) -> str:
        return await self._engine.ended()

    async def close(self) -> None:
        await self._engine.close()

    async def stop(self) -> None:
        if isinstance(self._engine, SharedEngine):
            await self._engine.stop()
        else:
            await self._engine.close()


def message_lines(message: Message) -> list[str]:
    """A message as a person compares it with another. Ids of calls, which may be drawn anew, are not in it."""
    match message:
        case SystemMessage(content):
            return _labelled("system", content)
        case UserMessage(content, images):
            return [*_labelled("user", content), *map(_image_line, images)]
        case AssistantMessage(content, calls, thinking):
            lines = _labelled("thinking", thinking) if thinking else []
            lines += _labelled("assistant", content) if content or not calls else []
            return [*lines, *(f"call: {call.name} {_json(call.arguments)}" for call in calls)]
        case ToolMessage(_, name, content, images):
            return [*_labelled(f"result of {name}", content), *map(_image_line, images)]


def tool_lines(tool: ToolSpec) -> list[str]:
    return [
        f"tool: {tool.name}",
        *(f"  {line}" for line in tool.description.split("\n")),
        *(f"  {line}" for line in json.dumps(tool.parameters, indent=1, ensure_ascii=False).split("\n")),
    ]


Redact = Callable[[Any], Any]
"""Takes out of a JSON value what a recording is not to hold."""


def redacted(
    messages: Sequence[Message], tools: Sequence[ToolSpec], redact: Redact
) -> tuple[tuple[Message, ...], tuple[ToolSpec, ...]]:
    """A prompt as a recording has it."""
    return (
        tuple(decode_message(redact(encode_message(message))) for message in messages),
        tuple(decode_tool(redact(encode_tool(tool))) for tool in tools),
    )


def count_key(messages: Sequence[Message], tools: Sequence[ToolSpec], effort: str | None, redact: Redact) -> str:
    """What a count is found by: of two prompts with the same key, the tokens are the same."""
    return CountKeys(redact).key(messages, tools, effort)


class CountKeys:
    """`count_key` for one prompt after the other: where one goes on with the last, only what came since is read."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._begin()

    def _begin(self) -> None:
        self._messages: tuple[Message, ...] = ()
        self._hash = hashlib.sha256(b"[[")

    def key(self, messages: Sequence[Message], tools: Sequence[ToolSpec], effort: str | None) -> str:
        messages, known = tuple(messages), len(self._messages)
        # Most of them are the same objects, which tuples see without a look at what is in them.
        if messages[:known] != self._messages:
            self._begin()
            known = 0
        more, specs = redacted(messages[known:], tools, self._redact)
        for at, message in enumerate(more, known):
            self._hash.update(_bytes(", " if at else "", message_lines(message)))
        self._messages = messages
        whole = self._hash.copy()
        whole.update(_bytes("], ", [tool_lines(tool) for tool in specs]) + _bytes(", ", effort) + b"]")
        return whole.hexdigest()[:32]


def _bytes(before: str, value: Any) -> bytes:
    return (before + _json(value)).encode("utf-8", "surrogatepass")


def _labelled(label: str, text: str) -> list[str]:
    first, *more = text.split("\n")
    return [f"{label}: {first}", *(f"  {line}" for line in more)]


def _image_line(image: Image) -> str:
    digest = hashlib.sha256(image.data.encode()).hexdigest()[:12]
    return f"  image: {image.media_type} {image.width}x{image.height}, SHA-256 {digest}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))

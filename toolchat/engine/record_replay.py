"""Records what an engine was asked and answered, and replays it: one engine that notes both, one that gives it again.

The second says in which way it was asked something else than was asked then.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
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
from toolchat.wire.deltas import Delta, Finished, FinishReason, Note, TokenCount, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import AssistantMessage, Image, Message, SystemMessage, ToolMessage, ToolSpec, UserMessage

DIFF_LINES = 24
"""Of one difference that are shown."""
DIFF_COLUMNS = 200
_UNKNOWN = EngineInfo("recorded", 1_000_000, 0, constrains_calls=False, exact_counts=False)
"""Of a session that says nothing of its engine."""

Redact = Callable[[Any], Any]
"""Takes out of a JSON value what a recording is not to hold."""


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
class RecordedGeneration:
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

    def generation(self, generation: RecordedGeneration) -> None: ...

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
                RecordedGeneration(
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


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that a recording has of its engines."""

    generations: tuple[RecordedGeneration, ...]
    infos: tuple[EngineInfo, ...] = ()
    counts: Mapping[str, TokenCount] = field(default_factory=dict)
    """By `count_key`."""
    source: str = "the recording"
    """Where it comes from, for people."""


class ReplayEngine:
    """See `Engine` for the methods.

    A request gets the next recorded answer whose request was the same, and else the next one of all, with a note of
    what differs. Each answer is given once, at once, whole.
    """

    def __init__(self, recorded: Recorded, redact: Redact = lambda value: value) -> None:
        """`redact` is what was done to what is recorded; it is done to what is compared with that, too."""
        self._recorded = recorded
        self._redact = redact
        self._next = 0
        self._starts = 0
        self._told: set[tuple[str, ...]] = set()
        """Differences that were told: what stands in the history is in every request from then on."""
        self._never = asyncio.Event()
        self.info: EngineInfo | None = None

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        infos = self._recorded.infos
        self.info = infos[min(self._starts, len(infos) - 1)] if infos else _UNKNOWN
        self._starts += 1
        yield EngineState("ready", self.info.model)

    async def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        if self.info is None:
            raise EngineCrashedError("the engine is not running")
        generation, difference = self._answer_to(messages, tools, options)
        if difference:
            yield Note(difference)
        for delta in generation.deltas:
            yield delta
        if (failure := generation.failure()) is not None:
            if generation.end is End.CRASHED:
                self.info = None
            raise failure
        if not generation.deltas or not isinstance(generation.deltas[-1], Finished):
            yield Note("the recorded answer was stopped here")
            yield Finished(FinishReason.ABORT, Usage())

    def _answer_to(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> tuple[RecordedGeneration, str]:
        generations = self._recorded.generations
        now = self._lines(messages, tools, options)
        for at in range(self._next, len(generations)):
            then = self._lines_of(generations[at])
            if then is None or then == now:
                self._next = at + 1
                return generations[at], ""
        if self._next >= len(generations):
            number = f"{len(generations)} answer{'' if len(generations) == 1 else 's'}"
            raise EngineError(
                f"{self._recorded.source} has {number}, and one more is asked for; ask what was asked then, "
                "or record anew with --record"
            )
        generation = generations[self._next]
        self._next += 1
        then = self._lines_of(generation)
        assert then is not None
        return generation, self._difference(then, now)

    def _lines(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> list[tuple[str, ...]]:
        """A request as blocks of lines, which are compared: its options, its tools, its messages."""
        return _blocks(*redacted(messages, tools, self._redact), options)

    @staticmethod
    def _lines_of(generation: RecordedGeneration) -> list[tuple[str, ...]] | None:
        """The same of a recorded request, which is redacted already; None where it is not known."""
        if generation.messages is None or generation.options is None:
            return None
        return _blocks(generation.messages, generation.tools, generation.options)

    def _difference(self, then: list[tuple[str, ...]], now: list[tuple[str, ...]]) -> str:
        """What is different and was not told yet, as a diff; empty for nothing."""
        rows: list[str] = []
        for tag, a, b, c, d in difflib.SequenceMatcher(None, then, now, autojunk=False).get_opcodes():
            before, after = ([line for block in blocks for line in block] for blocks in (then[a:b], now[c:d]))
            if tag == "equal" or (key := (*before, "\0", *after)) in self._told:
                continue
            self._told.add(key)
            found = [row for row in difflib.unified_diff(before, after, n=1, lineterm="") if not row.startswith("@@")]
            rows += [row if len(row) <= DIFF_COLUMNS else f"{row[:DIFF_COLUMNS]}…" for row in found[2:]]
        if not rows:
            return ""
        if len(rows) > DIFF_LINES:
            rows = [*rows[: DIFF_LINES - 1], f"… {len(rows) - DIFF_LINES + 1} more lines"]
        return "\n".join(["this is not what was asked when it was recorded (- then, + now):", *rows])

    def abort(self, request_id: str) -> None:
        """There is nothing to stop: answers come at once."""

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        """As it was counted then, of the same; else an estimate."""
        key = count_key(messages, tools, reasoning_effort, self._redact)
        if (count := self._recorded.counts.get(key)) is not None:
            return count
        by_tool = tuple(_estimate(tool_lines(tool)) for tool in tools)
        by_message = tuple(_estimate(message_lines(message)) for message in messages)
        return TokenCount(sum(by_tool) + sum(by_message), by_tool, by_message, estimated=True)

    async def ended(self) -> str:
        """It does not end by itself."""
        await self._never.wait()
        return ""

    async def close(self) -> None:
        self.info = None


def _blocks(messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions) -> list[tuple[str, ...]]:
    # What must be left for the answer follows from the rest.
    asked = replace(options, reserve=1)
    lines = tuple(f"option: {one.name} = {getattr(asked, one.name)}" for one in fields(asked) if one.name != "reserve")
    return [lines, *(tuple(tool_lines(tool)) for tool in tools), *(tuple(message_lines(one)) for one in messages)]


def _estimate(lines: Sequence[str]) -> int:
    return sum(map(len, lines)) // 4 + 4


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

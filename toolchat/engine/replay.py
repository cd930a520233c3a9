"""An engine that gives recorded answers, and says in which way it was asked something else than was asked then."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from toolchat.engine.base import EngineCrashedError, EngineInfo, GenerateOptions
from toolchat.engine.recorded import End, Generation, Redact, count_key, message_lines, redacted, tool_lines
from toolchat.wire.deltas import Delta, Finished, FinishReason, Note, TokenCount, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec

DIFF_LINES = 24
"""Of one difference that are shown."""
DIFF_COLUMNS = 200
_UNKNOWN = EngineInfo("recorded", 1_000_000, 0, constrains_calls=False, exact_counts=False)
"""Of a session that says nothing of its engine."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that a recording has of its engines."""

    generations: tuple[Generation, ...]
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
    ) -> tuple[Generation, str]:
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
    def _lines_of(generation: Generation) -> list[tuple[str, ...]] | None:
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

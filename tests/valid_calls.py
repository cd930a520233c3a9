"""Lets a model make calls by the hundred and counts how they came out; for tests and benchmarks/valid_calls.py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
import tiny_models

from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.wire.deltas import CallEnded, Delta, Finished, FinishReason
from toolchat.wire.messages import CallOrigin, FailedCall, ToolCall, ToolSpec, UserMessage

WIDTH = 16
"""Requests that are served at once."""
KV_CACHE = 64 * 1024**2

BOUNDED = (
    ToolSpec(
        "book_taxi",
        "Book a taxi.",
        {
            "type": "object",
            "properties": {
                "kind": {"enum": ["car", "van", "limousine"]},
                "seats": {"type": "integer", "minimum": 1, "maximum": 8},
                "shared": {"type": "boolean"},
                "note": {"type": "string", "maxLength": 8},
            },
            "required": ["kind", "seats", "shared", "note"],
        },
    ),
    ToolSpec(
        "set_light",
        "Switch a light.",
        {
            "type": "object",
            "properties": {
                "room": {"enum": ["kitchen", "hall"]},
                "on": {"type": "boolean"},
                "percent": {"type": "integer", "minimum": 0, "maximum": 100},
            },
            "required": ["room", "on"],
        },
    ),
)
"""Tools whose every argument is bounded, so that a call is sure to end."""


@contextlib.asynccontextmanager
async def tiny_engine(folder: Path, label: str) -> AsyncIterator[LocalEngine]:
    """A running engine with a model of random numbers, whose tokenizer is `label`, made below `folder`."""
    model = tiny_models.build(folder / label, label)
    config = replace(
        plan(label, model, "cpu", context=tiny_models.CONTEXT), max_num_seqs=WIDTH, kv_cache_bytes=KV_CACHE
    )
    engine = LocalEngine(config, folder / "logs")
    try:
        async for _ in engine.start():
            pass
        yield engine
    finally:
        await engine.close()


@dataclass
class Tally:
    """How calls came out."""

    valid: int = 0
    invalid: int = 0
    truncated: int = 0
    """Cut off by the limit of tokens, where the rest might have made a valid call of it."""
    without: int = 0
    """Answers that hold no call."""
    constrained: int = 0
    """Of the valid ones, those that are said to be made under a grammar."""
    tokens: int = 0
    seconds: float = 0.0
    flaws: list[str] = field(default_factory=list)
    """Of the invalid ones: what was written, and why it is none."""

    @property
    def ended(self) -> int:
        return self.valid + self.invalid

    def add(self, deltas: Sequence[Delta], tools: Sequence[ToolSpec]) -> None:
        """Count the calls of one generation."""
        calls = [delta.call for delta in deltas if isinstance(delta, CallEnded)]
        (end,) = [delta for delta in deltas if isinstance(delta, Finished)]
        self.tokens += end.usage.completion_tokens
        if not calls and end.reason is not FinishReason.LENGTH:
            self.without += 1
        for call in calls:
            flaw = _flaw(call, tools)
            if flaw is None:
                self.valid += 1
                self.constrained += isinstance(call, ToolCall) and call.origin is CallOrigin.CONSTRAINED
            elif flaw:
                self.invalid += 1
                self.flaws.append(flaw)
            else:
                self.truncated += 1


def _flaw(call: ToolCall | FailedCall, tools: Sequence[ToolSpec]) -> str | None:
    """Why a call is invalid; None where it is valid, nothing where it was only cut off."""
    if isinstance(call, FailedCall):
        # From v11 on a name is judged when it is whole; what no tool's name begins with can become none.
        name = call.raw.removeprefix("[TOOL_CALLS]").partition("[ARGS]")[0].partition("[CALL_ID]")[0].strip()
        hopeful = name.startswith(("[", "{")) or any(tool.name.startswith(name) for tool in tools)
        return "" if call.truncated and hopeful else f"{call.raw!r}: {call.reason}"
    schema = next((tool.parameters for tool in tools if tool.name == call.name), None)
    if schema is None:
        return f"{call.name!r} is no tool"
    try:
        jsonschema.Draft7Validator({**schema, "additionalProperties": False}).validate(call.arguments)
    except jsonschema.ValidationError as error:
        return f"{call.arguments!r}: {error.message}"
    return None


async def tally(
    engine: LocalEngine,
    calls: int,
    *,
    tools: Sequence[ToolSpec] = BOUNDED,
    constrained: bool = True,
    questions: Sequence[str] = ("Do something.",),
    **options: Any,
) -> Tally:
    """Generate until at least so many calls are whole (or as many generations were made), and count them."""
    found = Tally()
    began = time.monotonic()

    async def generate(number: int) -> list[Delta]:
        asked = GenerateOptions(
            **{"max_tokens": 300, "temperature": 1.0, "seed": number, "constrained": constrained, **options}
        )
        question = UserMessage(questions[number % len(questions)])
        return [delta async for delta in engine.generate(f"call-{number}", [question], tools, asked)]

    for first in range(0, calls, WIDTH):
        for deltas in await asyncio.gather(*(generate(first + offset) for offset in range(WIDTH))):
            found.add(deltas, tools)
        if found.ended >= calls:
            break
    found.seconds = time.monotonic() - began
    return found

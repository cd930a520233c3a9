"""The real engine and models that know nothing: whatever well-formed thing they write, they were made to write.

They are small, so what takes a long prompt or the engine's life is here too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e_processes import assert_nothing_left, is_running
from tiny_models import CONTEXT
from valid_calls import BOUNDED, Tally, tally, tiny_engine

from toolchat.engine.base import ContextOverflowError, EngineCrashedError, GenerateOptions
from toolchat.engine.local import LocalEngine
from toolchat.wire.deltas import CallBegun, CallEnded, Delta, Finished, FinishReason, Note, Text, Thinking
from toolchat.wire.errors import EngineError
from toolchat.wire.messages import AssistantMessage, CallOrigin, Message, ToolCall, ToolSpec, UserMessage

pytestmark = pytest.mark.engine

ASKED = (UserMessage("Do something."),)
ENDLESS = ToolSpec(
    "tell",
    "Tell a story.",
    {
        "type": "object",
        "properties": {"story": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 400}},
        "required": ["story"],
    },
)
ODD = ToolSpec(
    "draw",
    "Draw numbers.",
    {
        "type": "object",
        "properties": {
            "numbers": {"type": "array", "items": {"enum": [1, 2, 3]}, "maxItems": 3, "uniqueItems": True},
        },
        "required": ["numbers"],
    },
)
ANSWER = {
    "type": "object",
    "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 9}, "sure": {"type": "boolean"}},
    "required": ["sum", "sure"],
}


@dataclass
class Tiny:
    label: str
    engine: LocalEngine
    loop: asyncio.Runner

    def tally(self, calls: int, **options: Any) -> Tally:
        return self.loop.run(tally(self.engine, calls, **options))

    def generate(self, tools: Sequence[ToolSpec] = BOUNDED, **options: Any) -> list[Delta]:
        return self.loop.run(self.stream(tools, **options))

    def generate_each(
        self, seeds: Sequence[int], tools: Sequence[ToolSpec] = BOUNDED, **options: Any
    ) -> list[list[Delta]]:
        """One generation for each seed, all at once."""

        async def all_at_once() -> list[list[Delta]]:
            return await asyncio.gather(
                *(self.stream(tools, request_id=f"seed-{seed}", seed=seed, **options) for seed in seeds)
            )

        return self.loop.run(all_at_once())

    async def stream(
        self,
        tools: Sequence[ToolSpec],
        messages: Sequence[Message] = ASKED,
        request_id: str = "one",
        abort_after: float = 0.0,
        **options: Any,
    ) -> list[Delta]:
        asked = GenerateOptions(**{"max_tokens": 200, "temperature": 1.0, "seed": 1, **options})
        if abort_after:
            asyncio.get_running_loop().call_later(abort_after, self.engine.abort, request_id)
        return [delta async for delta in self.engine.generate(request_id, messages, tools, asked)]

    def count(self, messages: Sequence[Message]) -> int:
        return self.loop.run(self.engine.count(messages, ())).total


# One of each kind of tokenizer and of call; each of the others takes one more start of the engine.
SLOW = [pytest.param(label, marks=pytest.mark.slow) for label in ("v3-tekken", "v11")]


@pytest.fixture(scope="module", params=["v3-spm", "v13", *SLOW])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    with asyncio.Runner() as loop:
        stack = AsyncExitStack()
        folder = tmp_path_factory.mktemp("tiny")
        engine = loop.run(stack.enter_async_context(tiny_engine(folder, request.param)))
        try:
            yield Tiny(request.param, engine, loop)
        finally:
            loop.run(stack.aclose())


def calls_of(deltas: Sequence[Delta]) -> list[Any]:
    return [delta.call for delta in deltas if isinstance(delta, CallEnded)]


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


def end_of(deltas: Sequence[Delta]) -> Finished:
    (end,) = [delta for delta in deltas if isinstance(delta, Finished)]
    assert deltas[-1] is end
    return end


def test_of_a_hundred_required_calls_none_is_invalid_and_without_a_grammar_almost_all_are(tiny: Tiny) -> None:
    info = tiny.engine.info
    assert info is not None
    assert info.constrains_calls
    held = tiny.tally(100, tool_choice="required")
    assert held.valid >= 100
    assert (held.invalid, held.without) == (0, 0), held.flaws
    assert held.constrained == held.valid
    free = tiny.tally(25, tool_choice="required", constrained=False, max_tokens=80)
    assert free.ended >= 25
    assert free.valid <= 2
    assert free.constrained == 0


def test_of_calls_that_the_model_chose_to_make_none_is_invalid(tiny: Tiny) -> None:
    found = tiny.tally(24, tool_choice="auto")
    assert found.valid >= 8
    assert found.invalid == 0, found.flaws
    assert found.constrained == found.valid


def test_one_call_where_several_are_not_wanted(tiny: Tiny) -> None:
    for deltas in tiny.generate_each(range(4), tool_choice="set_light", parallel_tool_calls=False, max_tokens=400):
        if end_of(deltas).reason is FinishReason.STOP:
            (call,) = calls_of(deltas)
            assert isinstance(call, ToolCall)
            assert call.name == "set_light"
    several = tiny.generate_each(range(6), tool_choice="required", max_tokens=400)
    assert max(len(calls_of(deltas)) for deltas in several) > 1


def test_no_call_where_none_is_wanted(tiny: Tiny) -> None:
    for deltas in tiny.generate_each(range(3), tool_choice="none", max_tokens=60):
        assert not any(isinstance(delta, CallBegun | CallEnded) for delta in deltas)
        assert text_of(deltas) or any(isinstance(delta, Thinking) for delta in deltas)


def test_an_answer_fits_its_schema_or_is_a_call(tiny: Tiny) -> None:
    answers = 0
    with_tools = tiny.generate_each(range(3), response_schema=ANSWER, max_tokens=400)
    without = tiny.generate_each(range(3, 6), (), response_schema=ANSWER, max_tokens=400)
    for deltas in (*with_tools, *without):
        if end_of(deltas).reason is FinishReason.LENGTH:
            continue
        text = text_of(deltas)
        assert bool(text) != bool(calls_of(deltas))
        if text:
            answer = json.loads(text)
            assert answer["sum"] in range(10)
            assert answer["sure"] in (True, False)
            answers += 1
        assert all(isinstance(call, ToolCall) for call in calls_of(deltas))
    assert answers


def test_a_keyword_that_cannot_be_held_to_fails_nothing_and_is_said(tiny: Tiny) -> None:
    deltas = tiny.generate((ODD,), tool_choice="required", parallel_tool_calls=False, max_tokens=400)
    assert [delta.text for delta in deltas if isinstance(delta, Note)] == [
        "calls of draw are checked, not constrained, as to uniqueItems"
    ]
    for seed in range(2, 8):
        if end_of(deltas).reason is FinishReason.STOP:
            break
        deltas = tiny.generate((ODD,), tool_choice="required", parallel_tool_calls=False, max_tokens=400, seed=seed)
    (call,) = calls_of(deltas)
    assert call.origin is CallOrigin.PARSED
    assert set(call.arguments["numbers"]) <= {1, 2, 3}


def test_usage_is_of_one_generation_however_many_runs_it_took(tiny: Tiny) -> None:
    deltas = tiny.generate(tool_choice="required", max_tokens=30)
    first = end_of(deltas)
    assert first.reason is FinishReason.LENGTH
    assert first.usage.completion_tokens == 30
    again = end_of(tiny.generate(tool_choice="auto", max_tokens=30))
    assert again.usage.prompt_tokens == first.usage.prompt_tokens
    # Whole blocks of the prompt, and nothing of what was generated.
    assert 0 < again.usage.cached_tokens < again.usage.prompt_tokens
    assert 0 < again.usage.ttft <= again.usage.seconds


@pytest.mark.slow
def test_a_count_is_of_the_prompt_as_it_is_sent_with_its_reasoning_effort(tmp_path: Path) -> None:
    async def play() -> None:
        async with tiny_engine(tmp_path, "v15") as engine:
            for effort in ("high", "none", None):
                options = GenerateOptions(max_tokens=1, reasoning_effort=effort)
                deltas = [delta async for delta in engine.generate("one", ASKED, BOUNDED, options)]
                count = await engine.count(ASKED, BOUNDED, effort)
                assert end_of(deltas).usage.prompt_tokens == count.total
            # All efforts take as many tokens; that the count looks at them shows in its refusing one.
            with pytest.raises(EngineError, match="reasoning_effort"):
                await engine.count(ASKED, BOUNDED, "lowest")

    asyncio.run(play())


def test_an_abort_is_heard_within_a_call_and_before_one(tiny: Tiny) -> None:
    for options in ({"tool_choice": "required"}, {"tool_choice": "none"}):
        deltas = tiny.generate((ENDLESS,), abort_after=0.3, max_tokens=1500, **options)
        assert end_of(deltas).reason is FinishReason.ABORT
        assert 0 < end_of(deltas).usage.completion_tokens < 1500
    assert end_of(tiny.generate(max_tokens=5, tool_choice="none")).usage.completion_tokens <= 5


def test_a_prompt_longer_than_the_context_is_refused_and_nothing_else_suffers(tiny: Tiny) -> None:
    long = (UserMessage("river " * CONTEXT),)
    with pytest.raises(ContextOverflowError, match=rf"\d+ tokens and the context holds {CONTEXT}"):
        tiny.generate((), messages=long)
    assert tiny.engine.info is not None
    assert text_of(tiny.generate((), max_tokens=5))


def test_an_answer_is_cut_to_what_the_context_leaves(tiny: Tiny) -> None:
    def history(padding: int) -> tuple[Message, ...]:
        return (UserMessage("river " * padding), AssistantMessage("I see."), *ASKED)

    padding = 1000
    padding += CONTEXT - tiny.count(history(padding)) - 20
    left = CONTEXT - tiny.count(history(padding))
    assert 0 < left < 48
    finished = end_of(tiny.generate((), messages=history(padding), max_tokens=48))
    assert finished.reason is FinishReason.LENGTH
    assert finished.usage.completion_tokens == left


def test_requests_in_every_step_of_their_plans_are_served_together(tiny: Tiny) -> None:
    async def all_at_once() -> list[list[Delta]]:
        async def one(number: int, **options: Any) -> list[Delta]:
            asked = GenerateOptions(**{"max_tokens": 120, "temperature": 1.0, "seed": number, **options})
            return [delta async for delta in tiny.engine.generate(f"n{number}", ASKED, BOUNDED, asked)]

        choices = ("auto", "required", "none", "book_taxi", "auto", "required")
        return await asyncio.gather(*(one(number, tool_choice=choice) for number, choice in enumerate(choices)))

    for deltas in tiny.loop.run(all_at_once()):
        end_of(deltas)
        assert all(isinstance(call, ToolCall) or call.truncated for call in calls_of(deltas))


def test_a_killed_worker_fails_the_request_and_every_later_one_and_leaves_nothing(tiny: Tiny) -> None:
    """The last of each engine's tests. That it can be started again is seen in a chat, in test_e2e_repl.py."""
    worker = tiny.engine.pid
    assert worker is not None

    async def killed() -> None:
        async for delta in tiny.engine.generate("one", ASKED, (), GenerateOptions(max_tokens=1500, temperature=1.0)):
            if isinstance(delta, Text) and is_running(worker):
                os.kill(worker, signal.SIGKILL)

    with pytest.raises(EngineCrashedError, match=r"killed by SIGKILL.*its log is /"):
        tiny.loop.run(killed())
    assert tiny.engine.info is None
    assert "killed by SIGKILL" in tiny.loop.run(asyncio.wait_for(tiny.engine.ended(), 10))
    with pytest.raises(EngineCrashedError, match="not running"):
        tiny.generate(())
    assert_nothing_left(os.getpid(), worker)

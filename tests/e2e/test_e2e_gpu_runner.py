"""vLLM's GPU model runner, with asynchronous scheduling, under toolchat's own worker; see gpu_runner_worker.py."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tiny_models
from valid_calls import BOUNDED, KV_CACHE

from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.wire.deltas import CallEnded, Delta, Finished, FinishReason, Text
from toolchat.wire.messages import CallOrigin, ToolCall, UserMessage

WORKER = Path(__file__).with_name("gpu_runner_worker.py")
SCHEMAS = {tool.name: tool.parameters for tool in BOUNDED}
ONE_CALL: dict[str, Any] = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 150}
ANSWER = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]}


def valid_calls(deltas: list[Delta]) -> list[ToolCall]:
    """The whole calls of a generation; each is one that can be run. The last may be cut off."""
    calls = [delta.call for delta in deltas if isinstance(delta, CallEnded)]
    whole = [call for call in calls if isinstance(call, ToolCall)]
    assert all(call.truncated for call in calls if not isinstance(call, ToolCall)), calls
    for call in whole:
        assert call.origin is CallOrigin.CONSTRAINED
        jsonschema.validate(call.arguments, SCHEMAS[call.name])
    return whole


def told(deltas: list[Delta]) -> list[tuple[str, dict[str, Any]]]:
    """Names and arguments of the valid calls; ids are drawn."""
    return [(call.name, call.arguments) for call in valid_calls(deltas)]


def end_of(deltas: list[Delta]) -> Finished:
    assert isinstance(deltas[-1], Finished)
    return deltas[-1]


def stopped(deltas: list[Delta]) -> bool:
    """Whether the model came to an end by itself."""
    return end_of(deltas).reason is FinishReason.STOP


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(900)  # an interpreted kernel takes a tenth of a second; 90 and 30 s were seen
@pytest.mark.parametrize("label", ["v3-spm", "v13"])
def test_the_gpu_runner_serves_calls_answers_aborts_and_two_at_once(label: str, tmp_path: Path) -> None:
    model = tiny_models.build(tmp_path / label, label)
    config = replace(plan(label, model, "cpu", context=tiny_models.CONTEXT), kv_cache_bytes=KV_CACHE)
    engine = LocalEngine(config, tmp_path / "logs", worker=(sys.executable, "-P", str(WORKER)))

    async def ask(name: str, abort_at: int | None = None, **options: Any) -> list[Delta]:
        asked = GenerateOptions(**{"max_tokens": 60, "temperature": 0.0, "seed": 1, **options})
        deltas: list[Delta] = []
        async for delta in engine.generate(name, [UserMessage(f"Do something, {name}.")], BOUNDED, asked):
            deltas.append(delta)
            if len(deltas) == abort_at:
                engine.abort(name)
        return deltas

    async def until(enough: Callable[[list[Delta]], bool], name: str, **options: Any) -> list[Delta]:
        """The first of some drawn generations that will do: a model that knows nothing may write on and on."""
        for seed in range(1, 9):
            deltas = await ask(name, temperature=1.0, seed=seed, **options)
            if enough(deltas):
                return deltas
        raise AssertionError(f"{name}: no generation of eight will do")

    async def play() -> None:
        try:
            async for _ in engine.start():
                pass
            assert engine.info is not None
            assert engine.info.details["model runner"] == "V2"
            assert engine.info.details["asynchronous scheduling"] == "yes"
            assert engine.log is not None
            log = engine.log.read_text()
            assert "vllm.v1.worker.gpu.model_runner" in log.partition("runner: ")[2].splitlines()[0]
            assert "batches: 2" in log
            await check()
        finally:
            await engine.close()

    async def check() -> None:
        # Before v11 a call takes two runs of the engine: free up to its token, then under the grammar.
        free = await until(lambda deltas: bool(valid_calls(deltas)), "free", max_tokens=100, parallel_tool_calls=False)
        assert len(valid_calls(free)) == 1
        required = await ask("required", **ONE_CALL)
        assert told(required)
        assert not any(isinstance(delta, Text) for delta in required)
        named = await until(stopped, "named", tool_choice="set_light", parallel_tool_calls=False)
        assert [call.name for call in valid_calls(named)] == ["set_light"]

        answer = await until(stopped, "answer", tool_choice="none", response_schema=ANSWER)
        text = "".join(delta.text for delta in answer if isinstance(delta, Text))
        assert json.loads(text) in ({"sure": True}, {"sure": False})

        aborted = await ask("aborted", abort_at=4, tool_choice="none", max_tokens=1000)
        assert end_of(aborted).reason is FinishReason.ABORT
        assert 0 < end_of(aborted).usage.completion_tokens < 1000
        again = await ask("required", **ONE_CALL)
        assert told(again) == told(required)
        assert 0 < end_of(again).usage.cached_tokens < end_of(again).usage.prompt_tokens

        both = await asyncio.gather(ask("required", **ONE_CALL), ask("other", tool_choice="none", max_tokens=20))
        assert told(both[0]) == told(required)
        assert not valid_calls(both[1])
        assert end_of(both[1]).usage.completion_tokens == 20

    asyncio.run(play())

"""The real engine with a model in Hugging Face's format, an adapter, and arguments of vLLM's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from valid_calls import BOUNDED

from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.engine.vllm_options import Lora, read_engine_args, read_lora
from toolchat.models.files import check_folder
from toolchat.wire.deltas import CallEnded, Delta, Text
from toolchat.wire.messages import CallOrigin, ToolCall, UserMessage

pytestmark = pytest.mark.engine

Generate = Callable[[GenerateOptions], list[Delta]]
Start = Callable[[Path, Lora | None], tuple[LocalEngine, Generate]]
GREEDY = GenerateOptions(20, temperature=0.0, tool_choice="none")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with asyncio.Runner() as loop:
        engines: list[LocalEngine] = []

        def start(folder: Path, lora: Lora | None) -> tuple[LocalEngine, Generate]:
            check_folder(folder)
            arguments = read_engine_args(["stream-interval=1"])
            engine = LocalEngine(
                plan("tiny", folder, "cpu", kv_cache_gib=0.06, dtype="float32", lora=lora, engine_args=arguments),
                tmp_path,
            )
            engines.append(engine)

            async def started() -> None:
                async for _ in engine.start():
                    pass

            async def generate(options: GenerateOptions) -> list[Delta]:
                asked = (UserMessage("Do something."),)
                return [delta async for delta in engine.generate("one", asked, BOUNDED, options)]

            loop.run(started())
            return engine, lambda options: loop.run(generate(options))

        yield start
        for engine in engines:
            loop.run(engine.close())


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


def test_a_model_in_hugging_faces_format_with_an_adapter_makes_valid_calls_and_a_seed_repeats_them(
    tmp_path: Path, start: Start
) -> None:
    folder = tiny_models.build_hf(tmp_path / "model", "v13-plain")
    engine, generate = start(folder, read_lora(f"odd={tiny_models.build_lora(tmp_path / 'adapter')}"))
    assert engine.info is not None
    assert engine.info.tokenizer_version == 13
    assert engine.info.details["files"] == "Hugging Face's format"
    assert engine.info.details["adapter"] == "odd (rank 8)"
    options = GenerateOptions(200, temperature=1.0, seed=3, tool_choice="required", parallel_tool_calls=False)
    first, again = (next(delta.call for delta in generate(options) if isinstance(delta, CallEnded)) for _ in range(2))
    assert isinstance(first, ToolCall)
    assert isinstance(again, ToolCall)
    assert first.origin is CallOrigin.CONSTRAINED
    assert (first.name, first.arguments) == (again.name, again.arguments)


@pytest.mark.slow
def test_the_same_model_in_either_format_writes_the_same_and_an_adapter_something_else(
    tmp_path: Path, start: Start
) -> None:
    mistral = tiny_models.build(tmp_path / "mistral", "v13-plain")
    other = tiny_models.build_hf(tmp_path / "hf", "v13-plain")
    lora = read_lora(f"odd={tiny_models.build_lora(tmp_path / 'adapter')}")
    written = [text(start(folder, adapter)[1](GREEDY)) for folder, adapter in ((mistral, None), (other, None))]
    adapted = [text(start(folder, lora)[1](GREEDY)) for folder in (mistral, other)]
    assert written[0]
    assert written[0] == written[1]
    assert adapted[0] == adapted[1] != written[0]

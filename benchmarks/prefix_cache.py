"""Prefix cache: how much of each round's prompt the engine still knew, in a turn of five rounds.

The real loop, the demo model and the sample tools; so that the turn has five rounds whatever the model would do, a
call is required in the first four. Cached tokens are the engine's own count. The aim: in every later round they are at
least the whole blocks of the prefix that its prompt shares with the prompt of the round before.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import _common as common
from _ending import unwind_when_ended

from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import EngineInfo, GenerateOptions
from toolchat.engine.config import BLOCK, plan
from toolchat.engine.local import LocalEngine
from toolchat.mistral.render import encode
from toolchat.mistral.vocabulary import MistralVocabulary
from toolchat.models.hardware import engine_device
from toolchat.tools.load import sample_tools_path
from toolchat.tools.run import ToolRunner
from toolchat.wire.deltas import Delta, Finished, TokenCount, Usage
from toolchat.wire.events import Stamper
from toolchat.wire.messages import Message, ToolSpec

ROUNDS = 5
QUESTION = "What is the weather in Dallas, in fahrenheit?"


@dataclass(frozen=True, slots=True)
class Round:
    usage: Usage
    shared: int
    """Tokens that its prompt and the one before it begin with; 0 for the first."""

    @property
    def blocks(self) -> int:
        """Tokens of the whole blocks among them."""
        return self.shared // BLOCK * BLOCK

    @property
    def met(self) -> bool:
        return self.usage.cached_tokens >= self.blocks


class Requiring:
    """An engine of which a call is required in every round but the last; keeps what was asked of it."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self.asked: list[tuple[Sequence[Message], Sequence[ToolSpec]]] = []
        self.usages: list[Usage] = []

    @property
    def info(self) -> EngineInfo | None:
        return self._engine.info

    async def generate(
        self, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> AsyncIterator[Delta]:
        self.asked.append((messages, tools))
        choice = "required" if len(self.asked) < ROUNDS else "none"
        options = replace(options, tool_choice=choice, parallel_tool_calls=False)
        async for delta in self._engine.generate(request_id, messages, tools, options):
            if isinstance(delta, Finished):
                self.usages.append(delta.usage)
            yield delta

    def abort(self, request_id: str) -> None:
        self._engine.abort(request_id)

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        return await self._engine.count(messages, tools, reasoning_effort)


async def load_and_take_turn(model: Path, logs: Path) -> list[Round]:
    engine = LocalEngine(plan("demo", model, engine_device()), logs)
    try:
        async for _ in engine.start():
            pass
        return await turn(engine, model)
    finally:
        await engine.close()


async def turn(engine: LocalEngine, model: Path) -> list[Round]:
    """Have a running engine, which has loaded `model`, take a turn of `ROUNDS` rounds."""
    runner = await ToolRunner.start(sample_tools_path())
    try:
        requiring: Any = Requiring(engine)
        loop = ChatLoop(
            engine=requiring,
            conversation=Conversation(),
            runner=runner,
            options=GenerateOptions(max_tokens=256),
            stamp=Stamper("prefix-cache", time.time),
        )
        async for _ in loop.turn(QUESTION):
            pass
    finally:
        await runner.close()
    return read(requiring, model)


def read(engine: Requiring, model: Path) -> list[Round]:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    tokenizer: Any = MistralTokenizer.from_file(str(model / "tekken.json"))
    vocabulary = MistralVocabulary(tokenizer)
    supports_reasoning = vocabulary.special("[THINK]") is not None
    prompts = [
        encode(tokenizer, vocabulary.version, messages, tools, supports_reasoning=supports_reasoning).tokens
        for messages, tools in engine.asked
    ]
    shared = [0, *(common_prefix(before, after) for before, after in pairwise(prompts))]
    assert [len(prompt) for prompt in prompts] == [usage.prompt_tokens for usage in engine.usages]
    return [Round(usage, tokens) for usage, tokens in zip(engine.usages, shared, strict=True)]


def common_prefix(before: Sequence[int], after: Sequence[int]) -> int:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    return sum(1 for _ in same)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    unwind_when_ended()
    print(common.machine())
    with tempfile.TemporaryDirectory() as name:
        rounds = asyncio.run(load_and_take_turn(common.demo_model(), Path(name)))
    print(f"\nTokens of the prompts of one turn, in blocks of {BLOCK}:\n")
    head = ["round", "prompt", "shared with the one before", "whole blocks of that", "cached", "cached, %", "TTFT, s"]
    rows = [
        [
            str(number),
            *map(str, (one.usage.prompt_tokens, one.shared, one.blocks, one.usage.cached_tokens)),
            f"{100 * one.usage.cached_tokens / one.usage.prompt_tokens:.0f}",
            f"{one.usage.ttft:.2f}",
        ]
        for number, one in enumerate(rounds, 1)
    ]
    print(common.table(head, rows))
    print(f"\nEvery later round knew the whole blocks it shares: {common.verdict(all(one.met for one in rounds[1:]))}")


if __name__ == "__main__":
    main()

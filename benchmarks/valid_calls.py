"""Valid calls: of how many tool calls a model makes can be run, with the grammars and without.

First, models of random numbers, one for each format of calls, are made to call (`--tool-choice required`) at
temperature 1.0, with tools whose arguments are all bounded. They know nothing of JSON: what is well-formed was made so.
Calls that the limit of tokens cut off are counted apart. The aim: no call is invalid. Without the grammar the marker of
a call is put before the generation all the same, and the rest is left to the model.

Then the demo model, which chooses for itself (`auto`), at temperature 1.0 where it errs most, over the drawn questions
of the tests and with the sample tools. Here "without" counts answers in text.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import _common as common

REPOSITORY = common.BENCHMARKS.parent
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "e2e")]

import tiny_models  # noqa: E402
from valid_calls import KV_CACHE, WIDTH, Tally, tally, tiny_engine  # noqa: E402
from vllm_server import attached_engine, vllm_server  # noqa: E402

from toolchat.engine.local import LocalEngine  # noqa: E402

LABELS = ("v2-spm", "v3-spm", "v7-spm", "v3-tekken", "v7-tekken", "v11", "v13", "v15")
BOTH = "both"
PLACES = ("tcp", "socket", BOTH)
HOW: Mapping[str, Mapping[str, Any]] = {"tcp": {"key": "sk-of-the-benchmark"}, "socket": {"unix": True}}
"""How a server is started."""
FREE_TOKENS = 80
"""Of a generation without a grammar, which seldom ends by itself."""


def main() -> None:
    parser = common.arguments(__doc__, runs=100)
    parser.add_argument("--only", nargs="*", choices=[*LABELS, "demo"], help="some of the models", metavar="MODEL")
    parser.add_argument(
        "--served",
        choices=PLACES,
        help="ask vLLM's own server, over token ids: on a port with a key, on a unix socket, or each in turn",
    )
    options = parser.parse_args()
    print(common.machine())
    chosen = options.only or [*LABELS, "demo"]
    rows: list[list[str]] = []
    invalid = 0
    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="v", dir="/tmp") as name:
        for label, place in places(chosen, options.served):
            common.say(f"{label} {place}")
            held, free = asyncio.run(
                demo(Path(name), options.runs, place)
                if label == "demo"
                else tiny(Path(name), label, options.runs, place)
            )
            invalid += held.invalid
            rows += [row(f"{label} {place}".rstrip(), "grammar", held), row("", "none", free)]
    common.say("")
    print(f"\nCalls at temperature 1.0, at least {options.runs} whole ones of each random model:\n")
    print(common.table(("model", "held to", "valid", "invalid", "cut off", "without", "tokens/s"), rows))
    print(f"\ninvalid calls under a grammar: {invalid}; the aim of none is {common.verdict(invalid == 0)}")


def places(labels: Sequence[str], served: str | None) -> list[tuple[str, str]]:
    """Each model, and where its server is; "" for an engine without one."""
    if served != BOTH:
        return [(label, served or "") for label in labels]
    turns = [(label, PLACES[LABELS.index(label) % 2]) for label in labels if label != "demo"]
    return [*turns, *(("demo", place) for place in PLACES[:2] if "demo" in labels)]


async def tiny(folder: Path, label: str, calls: int, place: str) -> tuple[Tally, Tally]:
    async with served_tiny(folder, label, place) if place else tiny_engine(folder, label) as engine:
        held = await tally(engine, calls, tool_choice="required")
        free = await tally(engine, calls, tool_choice="required", constrained=False, max_tokens=FREE_TOKENS)
    return held, free


@contextlib.asynccontextmanager
async def served_tiny(folder: Path, label: str, place: str) -> AsyncIterator[LocalEngine]:
    model = tiny_models.build(folder / label, label)
    with vllm_server(model, folder, context=tiny_models.CONTEXT, **HOW[place]) as server:
        async with attached_engine(server, folder / "logs") as engine:
            yield engine


async def demo(folder: Path, calls: int, place: str) -> tuple[Tally, Tally]:
    from toolchat.engine.config import plan
    from toolchat.models.hardware import engine_device
    from toolchat.tools.load import load_tools, sample_tools_path

    config = replace(
        plan("demo", common.demo_model(), engine_device(), context=2048),
        max_num_seqs=WIDTH,
        kv_cache_bytes=16 * KV_CACHE,
    )
    tools = load_tools(sample_tools_path()).toolbox.specs
    asked = questions(calls)
    if place:
        with vllm_server(common.demo_model(), folder, **HOW[place]) as server:
            async with attached_engine(server, folder / "logs") as attached:
                held = await tally(attached, calls, tools=tools, questions=asked)
                return held, await tally(attached, calls, tools=tools, questions=asked, constrained=False)
    engine = LocalEngine(config, folder / "logs")
    try:
        async for _ in engine.start():
            pass
        held = await tally(engine, calls, tools=tools, questions=asked)
        free = await tally(engine, calls, tools=tools, questions=asked, constrained=False)
    finally:
        await engine.close()
    return held, free


def questions(count: int) -> list[str]:
    """Drawn as the tests draw them: the weather of a place, and sums, in turn."""
    from questions import draw

    return [question.text for question in itertools.islice(draw(random.Random(7)), count)]


def row(label: str, held_to: str, found: Tally) -> list[str]:
    counts = (found.valid, found.invalid, found.truncated, found.without)
    return [label, held_to, *map(str, counts), f"{found.tokens / found.seconds:.0f}"]


if __name__ == "__main__":
    main()

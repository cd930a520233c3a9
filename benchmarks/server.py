"""Server: tokens per second of one answer that vLLM's own server streams, through toolchat's token profile and to curl.

Contenders take turns at one server with the demo model: toolchat's engine, and `curl` with the very request that the
engine sends (token ids, grammar, every field of sampling). Both are timed from their first token to their last, by the
reader. The aim: at least 0.95 of curl's tokens per second.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common as common

REPOSITORY = common.BENCHMARKS.parent
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "e2e")]

from vllm_server import VllmServer, attached_engine, vllm_server  # noqa: E402

from toolchat.engine.base import GenerateOptions  # noqa: E402
from toolchat.engine.local import LocalEngine  # noqa: E402
from toolchat.engine.remote.completions import body  # noqa: E402
from toolchat.engine.remote.examine import load_tokenizer, tokenizer_file  # noqa: E402
from toolchat.engine.worker.source import SourceRun  # noqa: E402
from toolchat.mistral.grammar.constraint import constraint  # noqa: E402
from toolchat.mistral.render import encode  # noqa: E402
from toolchat.mistral.vocabulary import MistralVocabulary  # noqa: E402
from toolchat.tools.load import load_tools, sample_tools_path  # noqa: E402
from toolchat.wire.deltas import Finished  # noqa: E402
from toolchat.wire.messages import SystemMessage, UserMessage  # noqa: E402

AIM = 0.95
TOKENS = 300
# The demo model answers in a sentence or two as a rule; here it repeats itself until max_tokens stops it.
MESSAGES = (
    SystemMessage("You are a storyteller. Answer with at least one thousand words."),
    UserMessage("Write a haiku about every month of the year."),
)
ENGINE, CURL = "toolchat, token profile", "curl"


def main() -> None:
    options = common.arguments(__doc__, runs=5).parse_args()
    print(common.machine())
    with tempfile.TemporaryDirectory() as name, vllm_server(common.demo_model(), Path(name)) as server:
        print(f"the server was ready after {server.seconds:.0f} s")
        results = asyncio.run(race(server, Path(name), options.runs))
    rows = [[name, *common.spread(values, 1)] for name, values in results.items()]
    print(f"\nTokens per second after the first, of {TOKENS}, {options.runs} runs each in turn:\n")
    print(common.table(("contender", "median", "least", "most"), rows))
    found = common.ratio(results[ENGINE], results[CURL])
    print(f"\ntoolchat / curl: {found:.3f} ({common.paired(results[ENGINE], results[CURL])});", end=" ")
    print(f"the aim of {AIM} is {common.verdict(found >= AIM)}")


async def race(server: VllmServer, folder: Path, runs: int) -> dict[str, list[float]]:
    tools = load_tools(sample_tools_path()).toolbox.specs
    tokenizer = load_tokenizer(tokenizer_file(str(server.model)))
    vocabulary = MistralVocabulary(tokenizer)
    step = constraint(vocabulary, tools).step
    prompt = encode(tokenizer, vocabulary.version, MESSAGES, tools)
    request = body(str(server.model), SourceRun("r", prompt, step, TOKENS, None, 0.0, 1.0, None))

    async def through(engine: LocalEngine) -> float:
        times: list[float] = []
        tokens = 0
        async for delta in engine.generate("r", MESSAGES, tools, GenerateOptions(TOKENS, temperature=0.0)):
            times.append(time.monotonic())
            tokens = delta.usage.completion_tokens if isinstance(delta, Finished) else 0
        return (tokens - 1) / (times[-1] - times[0])

    async with attached_engine(server, folder / "logs") as engine:
        results: dict[str, list[float]] = {ENGINE: [], CURL: []}
        for number in range(runs + 1):
            common.say(f"round {number} of {runs}")
            values = {ENGINE: await through(engine), CURL: await asyncio.to_thread(curl, server, request)}
            if number:
                for name, value in values.items():
                    results[name].append(value)
        common.say("")
    return results


def curl(server: VllmServer, request: dict[str, Any]) -> float:
    command = ["curl", "-sN", "-H", "Content-Type: application/json", "-d", "@-", f"{server.url}/v1/completions"]
    times: list[float] = []
    tokens = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
        for row in process.stdout:
            if row.startswith(b"data: {") and b'"token_ids"' in row:
                times.append(time.monotonic())
                chunk = json.loads(row.removeprefix(b"data: "))
                tokens += len(chunk["choices"][0]["token_ids"]) if chunk["choices"] else 0
    return (tokens - 1) / (times[-1] - times[0])


if __name__ == "__main__":
    main()

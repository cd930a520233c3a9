"""Warm ask: `toolchat ask` on an engine that stayed loaded, from the start of the process to its end.

The weather question takes two generations and a call between them. What the command takes beyond them is its own:
Python, imports, the connection, the tools' process, the tool, the record, the end. The aim: at most 0.4 s of that.
Then many commands at once, each with a question of its own, all of which must be answered right by one engine.
With --server: a question without tools asked of vLLM's own server by curl, by `toolchat ask --server` and by `llm`
where that is installed (--llm), in turn.
With --widths: seconds of one question, and of all of them at once, by how many sequences the engine takes at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import _common as common
from _ending import started

REPOSITORY = common.BENCHMARKS.parent
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "e2e")]

from vllm_server import vllm_server  # noqa: E402

AIM = 0.4
QUESTION = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"
RIGHT = "85"
STAGES = ("start to first request", "generations", "tool and what is between", "after the answer")


@dataclass(frozen=True, slots=True)
class Outcome:
    seconds: float
    stages: tuple[float, ...]
    """By STAGES."""

    @property
    def own(self) -> float:
        """Beyond the generations."""
        return self.seconds - self.stages[1]


def main() -> None:
    parser = common.arguments(__doc__, runs=10)
    parser.add_argument("--at-once", type=int, default=12, metavar="N", help="commands at once [12]")
    parser.add_argument("--widths", type=int, nargs="*", default=[], metavar="N", help="widths to compare [none]")
    parser.add_argument("--server", action="store_true", help="ask vLLM's own server, too")
    parser.add_argument("--llm", default=shutil.which("llm"), metavar="FILE", help="the command of `llm` [as found]")
    options = parser.parse_args()
    print(common.machine())
    common.demo_model()
    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as name:
        scratch = Path(name)
        with kept(scratch) as cold:
            results = [ask(scratch) for _ in range(options.runs + 1)][1:]
            report(cold, results)
            at_once(scratch, options.at_once)
    if options.server:
        served(options)
    if options.widths:
        asyncio.run(widths(options))


def environment(scratch: Path) -> dict[str, str]:
    return common.own_folders(scratch) | {"XDG_RUNTIME_DIR": str(scratch), "TOOLCHAT_KEEP_ALIVE": "10m"}


@contextlib.contextmanager
def kept(scratch: Path) -> Iterator[float]:
    """An engine that stays loaded meanwhile; the seconds of the command that loaded it."""
    try:
        yield ask(scratch).seconds
    finally:
        common.run((*common.TOOLCHAT, "stop", "--all"), environment=environment(scratch), folder=scratch)


def ask(scratch: Path) -> Outcome:
    done = common.run(
        (*common.TOOLCHAT, "ask", "--model", "demo", QUESTION), environment=environment(scratch), folder=scratch
    )
    if RIGHT not in done.output:
        raise SystemExit(f"{QUESTION!r} was answered wrong: {done.output!r}")
    # The database of sessions was made by the first command, as a user's was.
    events = common.records(scratch)
    events = [event for event in events if event["session"] == events[-1]["session"]]
    usages = [event["data"]["usage"] for event in events if event["type"] == "round_finished"]
    if len(usages) != 2:
        raise SystemExit(f"{QUESTION!r} took {len(usages)} generations, not 2")
    times = {event["type"]: event["time"] for event in reversed(events)}
    generations = sum(usage["seconds"] for usage in usages)
    first, last = times["question_asked"] - done.began, done.ended - times["turn_finished"]
    return Outcome(done.seconds, (first, generations, done.seconds - generations - first - last, last))


def report(cold: float, results: list[Outcome]) -> None:
    own = [outcome.own for outcome in results]
    print(f"\nSeconds of one command, {len(results)} runs on an engine that a first command loaded in {cold:.1f} s:\n")
    rows = [["whole command", *common.spread([outcome.seconds for outcome in results], 3)]]
    rows += [
        [stage, *common.spread([outcome.stages[number] for outcome in results], 3)]
        for number, stage in enumerate(STAGES)
    ]
    rows.append(["beyond the generations", *common.spread(own, 3)])
    print(common.table(["stage", "median", "least", "most"], rows))
    median = statistics.median(own)
    print(f"\nThe aim of {AIM} s at most beyond the generations is {common.verdict(median <= AIM)}: {median:.3f} s")


def at_once(scratch: Path, number: int) -> None:
    """Start so many commands together, each with sums of its own."""
    began = time.monotonic()
    commands = [
        started(
            [*common.TOOLCHAT, "ask", "--model", "demo", f"What is {one} * 24?"],
            env=environment(scratch),
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for one in range(11, 11 + number)
    ]
    answers = [command.communicate(timeout=common.TIMEOUT)[0] for command in commands]
    seconds = time.monotonic() - began
    right = sum(str(one * 24) in answer.replace(",", "") for one, answer in enumerate(answers, start=11))
    print(f"\n{number} commands at once on one engine: {seconds:.1f} s, {right} of {number} answered right")
    if right != number:
        raise SystemExit(f"wrong among them: {answers}")


CURL, TOOLCHAT, LLM = "curl", "toolchat ask --server", "llm"
GREETING = "Write one sentence about the sea."
KEY = "sk-of-the-benchmark"


def served(options: argparse.Namespace) -> None:
    """The whole of each command, from the start of its process to its end; all ask for the same greedy answer."""
    with (
        tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as name,
        vllm_server(common.demo_model(), Path(name), "--served-model-name=demo", key=KEY) as server,
    ):
        scratch = Path(name)
        (scratch / "extra-openai-models.yaml").write_text(
            f"- model_id: demo\n  model_name: demo\n  api_base: {server.url}/v1\n  api_key_name: demo\n",
            encoding="utf-8",
        )
        body = {"model": "demo", "messages": [{"role": "user", "content": GREETING}], "temperature": 0}
        headers = ("-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json")
        commands = {
            CURL: ("curl", "-sS", f"{server.url}/v1/chat/completions", *headers, "-d", json.dumps(body)),
            TOOLCHAT: (*common.TOOLCHAT, "ask", "--server", server.url, "--no-tools", "--temperature", "0", GREETING),
        }
        if options.llm:
            commands[LLM] = (options.llm, "--key", KEY, "-m", "demo", "-o", "temperature", "0", "--no-log", GREETING)
        own = {"TOOLCHAT_API_KEY": KEY, "OPENAI_API_KEY": KEY, "LLM_USER_PATH": str(scratch)}
        around = common.own_folders(scratch) | own
        contenders = {
            name: partial(common.run, command, environment=around, folder=scratch) for name, command in commands.items()
        }
        first, results = common.alternate(contenders, options.runs)
    print(f"\nSeconds of one command against vLLM's server, {options.runs} runs of each in turn:\n")
    rows = [[name, *common.spread([done.seconds for done in results[name]], 3)] for name in commands]
    print(common.table(("command", "median", "least", "most"), rows))
    answers = {name: first[name].output.strip() for name in commands}
    answers[CURL] = str(json.loads(answers[CURL])["choices"][0]["message"]["content"]).strip()
    print("\n" + "\n".join(f"{name} answered: {answer[-100:]!r}" for name, answer in answers.items()))


async def widths(options: argparse.Namespace) -> None:
    from toolchat.engine.base import GenerateOptions
    from toolchat.engine.config import plan
    from toolchat.engine.local import LocalEngine
    from toolchat.models.hardware import engine_device
    from toolchat.wire.messages import UserMessage

    model = common.demo_model()
    rows = []
    for width in options.widths:
        with tempfile.TemporaryDirectory() as name:
            config = replace(plan("demo", model, engine_device(), eager=True), max_num_seqs=width)
            engine = LocalEngine(config, Path(name))
            began = time.monotonic()
            async for _ in engine.start():
                pass
            started = time.monotonic() - began

            async def one(number: int, engine: LocalEngine = engine) -> float:
                asked = [UserMessage(f"Count from {number} to {number + 30}.")]
                began = time.monotonic()
                async for _ in engine.generate(f"r{number}", asked, [], GenerateOptions(max_tokens=64)):
                    pass
                return time.monotonic() - began

            await one(0)
            alone = [await one(number) for number in range(1, 4)]
            began = time.monotonic()
            waits = await asyncio.gather(*(one(100 + number) for number in range(options.at_once)))
            together = time.monotonic() - began
            await engine.close()
        cells = (statistics.median(alone), together, max(waits), min(waits))
        rows.append([str(width), f"{started:.1f}", *(f"{seconds:.2f}" for seconds in cells)])
    print(f"\nSeconds by width, answers of 64 tokens, {options.at_once} at once:\n")
    print(common.table(["width", "start", "one alone", "all at once", "the last of them", "the first"], rows))


if __name__ == "__main__":
    main()

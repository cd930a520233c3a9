"""Batches: 64 questions by `ask --batch`'s own loop, against the same number one by one, on one warm engine.

The questions differ from round to round, so that no answer finds its prompt in the prefix cache. The aim: a batch takes
at most a third of the time. What a batch gains depends on how many requests the engine takes at once, which is said.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import _common as common

AIM = 3.0
ROWS = 64
TOKENS = 32
ONE_BY_ONE, BATCH = "one by one", "batch"
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Outcome:
    seconds: float
    tokens: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def main() -> None:
    options = common.arguments(__doc__, runs=1).parse_args()
    print(common.machine())
    common.demo_model()
    with tempfile.TemporaryDirectory() as name:
        os.environ |= common.own_folders(Path(name))
        os.environ["TOOLCHAT_KEEP_ALIVE"] = "0"
        asyncio.run(measure(options.runs))


async def measure(runs: int) -> None:
    from toolchat.cli.approval import make_policy
    from toolchat.models.demo import build as demo
    from toolchat.session.batch import open_asker
    from toolchat.session.startup import prepare
    from toolchat.settings import cache_folder

    flags = {"model": "demo", "max_tokens": TOKENS, "temperature": 0.0}
    plan = prepare(flags, None, lambda *_: demo.build(cache_folder()))
    async with open_asker(plan, make_policy(), lambda _: None) as asker:
        await asker.ready()
        await ask(asker, 4, None)
        results: dict[str, list[Outcome]] = {ONE_BY_ONE: [], BATCH: []}
        for number in range(runs):
            for name, places in ((ONE_BY_ONE, 1), (BATCH, None)):
                common.say(f"round {number + 1} of {runs}: {name}")
                results[name].append(await ask(asker, ROWS, places))
        common.say("")
        width = asker.width
    report(results, width)


async def ask(asker: Any, rows: int, places: int | None) -> Outcome:
    from toolchat.session.batch_file import Row

    questions = [f"Tell me something about the number {next(_numbers)}." for _ in range(rows)]
    tokens = 0

    def done(_: Row, answer: dict[str, Any]) -> None:
        nonlocal tokens
        if "error" in answer:
            raise SystemExit(f"a row failed: {answer['error']}")
        tokens += answer["usage"]["completion_tokens"]

    began = time.monotonic()
    await asker.run([Row(number, question) for number, question in enumerate(questions, 1)], done, places=places)
    return Outcome(time.monotonic() - began, tokens)


def report(results: dict[str, list[Outcome]], width: int) -> None:
    print(f"\n{ROWS} questions, answers of at most {TOKENS} tokens; the engine takes {width} requests at once:\n")
    rows = [
        [
            name,
            *common.spread([one.seconds for one in outcomes], 1),
            common.spread([one.rate for one in outcomes], 1)[0],
        ]
        for name, outcomes in results.items()
    ]
    print(common.table(["contender", "median s", "least", "most", "tokens/s"], rows))
    gain = common.ratio([one.rate for one in results[BATCH]], [one.rate for one in results[ONE_BY_ONE]])
    print(
        f"\na batch makes {gain:.2f} times the tokens a second; the aim of {AIM:.1f} is {common.verdict(gain >= AIM)}"
    )


if __name__ == "__main__":
    main()

"""Throughput: tokens per second of an answer of 300 tokens that `toolchat ask` streams to a terminal.

Contenders: toolchat, on a pseudo-terminal that this script reads; the same generation on a bare `LLMEngine`
(bare_engine.py) with the same threads, sampling and grammar; and that without the grammar, which shows what the
grammar costs. The aim: toolchat makes at least 0.97 of the bare engine's tokens per second.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _common as common
from _ending import started

AIM = 0.97
TOKENS = 300
# The demo model answers in a sentence or two as a rule; here it repeats itself until --max-tokens stops it.
SYSTEM = "You are a storyteller. Answer with at least one thousand words."
QUESTION = "Write a haiku about every month of the year."
TRUNCATED = 6
"""toolchat's exit code for an answer that --max-tokens cut off."""

ASK, BARE, FREE = "toolchat ask on a terminal", "bare LLMEngine, grammar", "bare LLMEngine, no grammar"


@dataclass(frozen=True, slots=True)
class Outcome:
    tokens: int
    wait: float
    """Seconds from the question to the first token."""
    stream: float
    """Seconds from the first token to the last."""

    @property
    def rate(self) -> float:
        """Tokens per second after the first."""
        return (self.tokens - 1) / self.stream

    @property
    def whole(self) -> float:
        """Tokens per second from the question on."""
        return self.tokens / (self.wait + self.stream)


def main() -> None:
    options = common.arguments(__doc__, runs=5).parse_args()
    print(common.machine())
    model = common.demo_model()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        session: list[dict[str, Any]] = []
        ask(scratch, session)
        work = common.engine_work(session, model, max_tokens=TOKENS, system=SYSTEM)
        free = work | {"generations": [one | {"grammar": None} for one in work["generations"]]}
        contenders: dict[str, Callable[[], Outcome]] = {
            ASK: lambda: ask(scratch, []),
            BARE: lambda: bare(work, scratch),
            FREE: lambda: bare(free, scratch),
        }
        _, results = common.alternate(contenders, options.runs)
    report(results, options.runs)


def ask(scratch: Path, session: list[dict[str, Any]]) -> Outcome:
    """Ask on a terminal, and put what was recorded into `session`. The times are those of the terminal's reader."""
    shutil.rmtree(scratch / "state", ignore_errors=True)
    command = [*common.TOOLCHAT, "ask", "--model", "demo", "--max-tokens", str(TOKENS), "--system", SYSTEM, QUESTION]
    first, last = on_terminals(command, common.own_folders(scratch) | {"TERM": "xterm-256color"}, scratch)
    session += (events := common.records(scratch))
    (began,) = [event["time"] for event in events if event["type"] == "turn_started"]
    (finished,) = common.bodies(events, "turn_finished")
    return checked(Outcome(finished["usage"]["completion_tokens"], first - began, last - first))


def on_terminals(command: list[str], environment: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """Run with stdout and stderr each on a pseudo-terminal; when stdout's first and last text came.

    Two, so that the answer is not confused with the spinner before it: for the program both are terminals.
    """
    answer, out = pty.openpty()
    rest, err = pty.openpty()
    process = started(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    os.close(out)
    os.close(err)
    times: list[float] = []
    said = b""
    reading = {answer, rest}
    while reading:
        for end in select.select(list(reading), [], [], common.TIMEOUT)[0]:
            try:
                data = os.read(end, 65536)
            except OSError:  # how Linux says that the other side is closed
                data = b""
            if not data:
                reading.discard(end)
                os.close(end)
            elif end == rest:
                said += data
            elif data.strip():
                times.append(time.time())
    if process.wait() not in (0, TRUNCATED):
        raise SystemExit(f"toolchat ended with {process.returncode}: {said[-1000:].decode(errors='replace')}")
    return times[0], times[-1]


def bare(work: Mapping[str, Any], scratch: Path) -> Outcome:
    (made,) = common.run_bare(work, scratch, hard_exit=True).report["generations"]
    return checked(Outcome(made["tokens"], made["first"] - made["began"], made["last"] - made["first"]))


def checked(outcome: Outcome) -> Outcome:
    if outcome.tokens != TOKENS:
        raise SystemExit(f"an answer of {outcome.tokens} tokens instead of {TOKENS}: find another question")
    return outcome


def report(results: Mapping[str, list[Outcome]], runs: int) -> None:
    print(f"\nTokens per second of an answer of {TOKENS} tokens, {runs} alternating runs after a warm-up:\n")
    rates = {name: [one.rate for one in outcomes] for name, outcomes in results.items()}
    rows = []
    for name, outcomes in results.items():
        whole = common.spread([one.whole for one in outcomes], 1)[0]
        wait = common.spread([one.wait for one in outcomes], 2)[0]
        rows.append(
            [name, *common.spread(rates[name], 1), f"{common.ratio(rates[name], rates[BARE]):.3f}", wait, whole]
        )
    head = ["contender", "median", "least", "most", "it / bare", "first token, s", "with that, tokens/s"]
    print(common.table(head, rows))
    against = common.ratio(rates[ASK], rates[BARE])
    print(
        f"\ntoolchat / bare engine: {against:.3f} ({common.paired(rates[ASK], rates[BARE])}); "
        f"the aim of {AIM:.2f} at least is {common.verdict(against >= AIM)}"
    )
    grammar = common.ratio(rates[BARE], rates[FREE])
    print(f"with grammar / without, bare engine: {grammar:.3f} ({common.paired(rates[BARE], rates[FREE])})")


if __name__ == "__main__":
    main()

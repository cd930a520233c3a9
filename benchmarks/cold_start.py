"""Cold start: a question with one tool call (two generations), from the start of the process to its end.

Contenders: `toolchat ask`; the same generations on a bare `LLMEngine` (bare_engine.py) in the same number format, which
ends hard after its last token, or as Python programs end; the same in vLLM's own number format, where that is another;
and the default `LLM()` of vLLM's documentation (default_llm.py).
The aim: toolchat takes at most 1.10 times the bare engine that ends hard.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import _common as common

AIM = 1.10
QUESTION = "What is 17 * 24?"
MAX_TOKENS = 512
KV_GIB = "1"
"""vLLM's default on a CPU claims 92 % of the memory, or fails where so much is not free."""

ASK, HARD, NORMAL, DEFAULT = "toolchat ask", "bare LLMEngine, hard exit", "bare LLMEngine, normal exit", "default LLM()"
OWN_FORMAT = "bare LLMEngine, hard exit, vLLM's number format"
"""On a CPU without bfloat16 arithmetic, where toolchat takes another; elsewhere it would be HARD again."""

ABSENT = """
import sys
for name in ("torchvision", "torchaudio", "torchcodec"):
    sys.modules[name] = None
"""
"""A sitecustomize.py: PyPI's builds of these do not load beside the CPU build of torch, and transformers and
vLLM's model inspection then fail. It stands for an environment without them, in every process of the contender."""


@dataclass(frozen=True, slots=True)
class Outcome:
    seconds: float
    stages: Mapping[str, float]
    """Seconds by stage, where the contender tells."""
    tokens: tuple[int, ...] = ()
    """Made in each generation."""


def main() -> None:
    parser = common.arguments(__doc__, runs=5)
    parser.add_argument("--no-default", action="store_true", help="leave out the default LLM(), the slowest")
    options = parser.parse_args()
    print(common.machine())
    model = common.demo_model()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        session: list[dict[str, Any]] = []
        ask(scratch, session)
        work = common.engine_work(session, model, max_tokens=MAX_TOKENS, system=None)
        contenders: dict[str, Callable[[], Outcome]] = {
            ASK: lambda: ask(scratch, []),
            HARD: lambda: bare(work, scratch, hard_exit=True),
            NORMAL: lambda: bare(work, scratch, hard_exit=False),
        }
        if work["engine"]["dtype"] != "auto":
            contenders[OWN_FORMAT] = lambda: bare({**work, "dtype": "auto"}, scratch, hard_exit=True)
        if not options.no_default:
            contenders[DEFAULT] = default_contender(model, scratch)
        first, results = common.alternate(contenders, options.runs)
    report(first, results, options.runs)


def ask(scratch: Path, session: list[dict[str, Any]]) -> Outcome:
    """Ask, and put what was recorded into `session`."""
    shutil.rmtree(scratch / "state", ignore_errors=True)
    command = (*common.TOOLCHAT, "ask", "--model", "demo", QUESTION)
    done = common.run(command, environment=common.own_folders(scratch), folder=scratch)
    session += (events := common.records(scratch))
    states = {event["data"]["state"]: event["time"] for event in events if event["type"] == "engine_state"}
    times = {event["type"]: event["time"] for event in events if event["type"] != "engine_state"}
    began = {event["round"]: event["time"] for event in events if event["type"] == "turn_started"}[0]
    rounds = [(event["time"], event["data"]["usage"]) for event in events if event["type"] == "round_finished"]
    if len(rounds) != 2:
        raise SystemExit(f"{QUESTION!r} took {len(rounds)} generations, not 2")
    marks = {
        "Python and toolchat start": done.began,
        "worker starts": states["starting"],
        "vLLM is imported": states["importing"],
        "model is loaded, engine made": states["loading weights"],
        "first token": states["ready"],
        "the rest of generation 1": began + rounds[0][1]["ttft"],
        "tool, generation 2": rounds[0][0],
        "exit": times["turn_finished"],
    }
    return Outcome(done.seconds, stages(marks, done.ended), tuple(usage["completion_tokens"] for _, usage in rounds))


def bare(work: Mapping[str, Any], scratch: Path, *, hard_exit: bool) -> Outcome:
    run = common.run_bare(work, scratch, hard_exit=hard_exit)
    one, two = run.report["generations"]
    marks = {
        "Python and toolchat start": run.process.began,
        "vLLM is imported": run.report["started"],
        "model is loaded, engine made": run.report["imported"],
        "first token": run.report["ready"],
        "the rest of generation 1": one["first"],
        "tool, generation 2": one["last"],
        "exit": two["last"],
    }
    return Outcome(run.process.seconds, stages(marks, run.process.ended), (one["tokens"], two["tokens"]))


def stages(marks: Mapping[str, float], ended: float) -> dict[str, float]:
    """Seconds from each mark to the next."""
    times = [*marks.values(), ended]
    return dict(zip(marks, (after - before for before, after in pairwise(times)), strict=True))


def default_contender(model: Path, scratch: Path) -> Callable[[], Outcome]:
    from toolchat.tools.load import load_tools, sample_tools_path

    tools = scratch / "tools.json"
    specs = load_tools(sample_tools_path()).toolbox.specs
    functions = [{"name": one.name, "description": one.description, "parameters": one.parameters} for one in specs]
    tools.write_text(
        json.dumps([{"type": "function", "function": function} for function in functions]), encoding="utf-8"
    )
    (scratch / "absent").mkdir()
    (scratch / "absent" / "sitecustomize.py").write_text(ABSENT, encoding="utf-8")
    environment = dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(scratch / "absent"), os.environ.get("PYTHONPATH")])),
        "VLLM_CPU_KVCACHE_SPACE": KV_GIB,
        # Empty before the warm-up, so that the warm-up shows what the very first start costs.
        "VLLM_CACHE_ROOT": str(scratch / "vllm-cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor-cache"),
    }
    command = (sys.executable, str(common.BENCHMARKS / "default_llm.py"), str(model), QUESTION, str(tools))

    def run() -> Outcome:
        done = common.run(command, environment=environment, folder=scratch)
        if "408" not in done.output:
            raise SystemExit(f"the default LLM() answered something else: {done.output[-200:]!r}")
        return Outcome(done.seconds, {})

    return run


def report(first: Mapping[str, Outcome], results: Mapping[str, list[Outcome]], runs: int) -> None:
    seconds = {name: [outcome.seconds for outcome in outcomes] for name, outcomes in results.items()}
    print(f"\nSeconds from start to end of the process, {runs} alternating runs after a warm-up:\n")
    rows = [
        [name, *common.spread(values, 2), f"{common.ratio(seconds[ASK], values):.3f}", f"{first[name].seconds:.1f}"]
        for name, values in seconds.items()
    ]
    print(common.table(["contender", "median", "least", "most", "toolchat / it", "warm-up"], rows))
    against = common.ratio(seconds[ASK], seconds[HARD])
    print(
        f"\ntoolchat / bare engine with a hard exit: {against:.3f} ({common.paired(seconds[ASK], seconds[HARD])}); "
        f"the aim of {AIM:.2f} at most is {common.verdict(against <= AIM)}"
    )
    made = {name: outcomes[0].tokens for name, outcomes in results.items() if outcomes[0].tokens}
    print("Tokens of the two generations: " + "; ".join(f"{name} {a} + {b}" for name, (a, b) in made.items()))
    print("\nWhere the time goes, medians in seconds:\n")
    names = list(results[ASK][0].stages)
    columns = [ASK, HARD, NORMAL]
    where = [[name, *(_stage(results[column], name) for column in columns)] for name in names]
    print(common.table(["stage", *columns], where))


def _stage(outcomes: list[Outcome], stage: str) -> str:
    values = [outcome.stages[stage] for outcome in outcomes if stage in outcome.stages]
    return f"{statistics.median(values):.3f}" if values else ""


if __name__ == "__main__":
    main()

"""Kept engines on the fake worker: in the test's own process, or in one of their own that may be killed.

Run as `kept_bench.py MODEL FOLDER KEEP QUESTION…`: it asks each question and prints the answer, a line each.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fake_worker import COMMAND

from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import EngineConfig, Sampling
from toolchat.engine.kept.engine import KeptEngine, Wanted
from toolchat.engine.kept.place import digest
from toolchat.wire.deltas import Finished, Text
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import UserMessage

LOADS = "listen; state importing; ready"


def engine(
    model: str,
    folder: Path,
    keep: float | None = 60.0,
    *,
    context: int | None = None,
    loads: str = LOADS,
    device: str = "cpu",
    plan: Callable[[], EngineConfig] | None = None,
    sets_time: bool = True,
    first_time: Callable[[], bool] = lambda: False,
    settings: dict[str, object] | None = None,
) -> KeptEngine:
    """An engine of the model in `folder`."""
    wanted = Wanted(
        model=model,
        device=device,
        names=lambda: (digest(folder, device, settings or {}, "vllm"),),
        context=context,
        plan=plan or (lambda: EngineConfig(model, str(folder), "cpu", context, None)),
        card=lambda: "cpu",
        sampling=Sampling(0.5),
    )
    logs = Path.home() / "logs"
    return KeptEngine(wanted, logs, keep, sets_time=sets_time, first_time=first_time, worker=(*COMMAND, loads))


async def started(made: KeptEngine) -> list[str]:
    """Start it; its states, and what was said."""
    told = []
    async for event in made.start():
        match event:
            case EngineState(state):
                told.append(state)
            case Notice(text):
                told.append(text)
    return told


async def ask(made: KeptEngine, steps: str, request_id: str = "one") -> str:
    """The text of the answer, with the reason of its end behind it."""
    text = ""
    async for delta in made.generate(request_id, [UserMessage(steps)], [], GenerateOptions(max_tokens=8)):
        match delta:
            case Text(piece):
                text += piece
            case Finished(reason):
                text += f" ({reason})"
    return text


async def main(model: str, folder: Path, keep: float, questions: Sequence[str]) -> None:
    made = engine(model, folder, keep)
    await started(made)
    print("ready", made.pid, flush=True)
    for question in questions:
        print(await ask(made, question), flush=True)
    await made.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))

"""`toolchat repl` as it is, but for the model: run as `python scripted_repl.py SCRIPT [FLAGS]`.

SCRIPT is a Python file that sets `engine`, a ScriptedEngine, and may set `fetch`, which is called with the name of each
model and stands for its download. All else is real: signals, keys, tools in their own processes.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

from toolchat.cli import start
from toolchat.engine.base import Engine
from toolchat.models.choice import ModelChoice
from toolchat.session import engines, startup


def play(script: Path, flags: list[str]) -> None:
    names = runpy.run_path(str(script))
    engine: Engine = names["engine"]
    fetch: Callable[[str | None], None] = names.get("fetch", lambda name: None)

    def late(self: startup.Plan, arrived: object = None) -> Engine:
        return engine

    def choose(name: str | None, cache: Path, revision: str | None = None) -> ModelChoice:
        fetch(name)
        return ModelChoice(name or "scripted", "folder", cache)

    replaced: list[tuple[object, str, Callable[..., object]]] = [
        (engines, "engine_device", lambda: "cpu"),
        (startup, "choose_model", choose),
    ]
    for module, name, stand_in in replaced:
        setattr(module, name, stand_in)
    startup.Plan.late_engine = startup.Plan.engine = late  # type: ignore[method-assign]
    start.run(["repl", *flags])


if __name__ == "__main__":
    play(Path(sys.argv[1]), sys.argv[2:])

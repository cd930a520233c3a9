"""`toolchat` with a scripted engine in place of the real one: `python scripted_program.py ANSWERS ARGUMENT…`.

ANSWERS is JSON, a list with an item for each generation: a text, a list of `[tool, arguments]`, or an object of the
fields of an `Answer`. All else is real.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from toolchat.cli import start
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.session.startup import Plan
from toolchat.wire.deltas import FinishReason


def answer(item: Any) -> Answer:
    if isinstance(item, dict):
        return Answer(**item | {"reason": FinishReason(item.get("reason", "stop"))})
    return Answer(item) if isinstance(item, str) else Answer(calls=[call(name, **given) for name, given in item])


if __name__ == "__main__":
    engine = ScriptedEngine([answer(item) for item in json.loads(sys.argv[1])])
    Plan.engine = lambda _: engine  # type: ignore[method-assign,assignment]
    start.run(sys.argv[2:])

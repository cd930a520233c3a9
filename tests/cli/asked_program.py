"""`toolchat ask` with a scripted engine, in a state that the caller chooses: `asked_program.py STATE ARGUMENT…`.

STATE is the JSON of a `State`. All but the engine is real.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripted_program import answer

from toolchat.cli import input_text, start
from toolchat.engine.base import GenerateOptions
from toolchat.engine.scripted import ScriptedEngine
from toolchat.session.startup import Plan
from toolchat.wire.deltas import Delta
from toolchat.wire.messages import Message, ToolSpec


@dataclass(frozen=True, slots=True)
class State:
    """What a run begins with, see `asked_program`."""

    answers: Sequence[Any] = ()
    """As those of `scripted_program`; the last one is given again and again."""
    closed: Sequence[int] = ()
    """Standard streams."""
    encoding: str = "utf-8"
    """Of the standard streams."""
    log: str = ""
    """A file for the questions that were answered, a line each; empty for none."""
    delay: float = 0.0
    """Seconds before each piece of an answer."""
    wait: float = 2.0
    """Seconds after which a person is told what is waited for."""


@dataclass
class Engine(ScriptedEngine):
    """Gives its last answer again and again, and notes the questions that it has answered."""

    log: Path | None = None

    async def generate(
        self, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> AsyncIterator[Delta]:
        if len(self.answers) == 1:
            self.answers.append(self.answers[0])
        async for delta in super().generate(request_id, messages, tools, options):
            yield delta
        if self.log is not None:
            _append(self.log, f"{messages[-1].content}\n")


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def take(state: State) -> None:
    """Have the standard streams as `state` says, as an interpreter would have found them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, f"__{name}__")
        if number in state.closed:
            os.close(number)
            stream = None
        else:
            stream = io.TextIOWrapper(stream.detach(), state.encoding, "strict" if number < 2 else "backslashreplace")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    given = State(**json.loads(sys.argv[1]))
    take(given)
    scripted = [replace(answer(item), delay=given.delay) for item in given.answers]
    engine = Engine(scripted, context=10**6, log=Path(given.log) if given.log else None)
    Plan.engine = lambda _: engine  # type: ignore[method-assign,assignment]
    input_text.WAIT_SECONDS = given.wait
    start.run(sys.argv[2:])

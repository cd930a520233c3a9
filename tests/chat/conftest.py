from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from inprocess_tools import InProcessRunner

from toolchat.chat.conversation import Conversation
from toolchat.chat.guards import Limits
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import GenerateOptions
from toolchat.engine.scripted import ScriptedEngine
from toolchat.tools.load import load_tools
from toolchat.wire.events import Event, Stamper

FUNCTIONS = '''
import threading, time

running = 0
peak = 0
lock = threading.Lock()

def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

def long(lines: int) -> str:
    """Say much."""
    return "\\n".join(f"line {number}" for number in range(lines))

def fail(why: str) -> str:
    """Fail."""
    raise RuntimeError(why)

def slow(seconds: float) -> int:
    """Sleep, and say how many slept at once."""
    global running, peak
    with lock:
        running += 1
        peak = max(peak, running)
    time.sleep(seconds)
    with lock:
        running -= 1
    return peak
'''


@pytest.fixture
def runner(tmp_path: Path, request: pytest.FixtureRequest) -> InProcessRunner:
    module = f"loop_tools_{abs(hash(request.node.nodeid))}"
    (tmp_path / f"{module}.py").write_text(FUNCTIONS)
    names = ("add", "long", "fail", "slow")
    rows = "".join(f"  - callable: {module}:{name}\n" for name in names)
    file = tmp_path / "tools.yaml"
    file.write_text(f"version: 1\ntools:\n{rows}")
    return InProcessRunner(load_tools(file), says="at work")


class Harness:
    """A chat on a scripted engine, and everything that happened in it."""

    def __init__(self, runner: InProcessRunner, **options: Any) -> None:
        self.engine = ScriptedEngine()
        self.runner = runner
        self.conversation = Conversation()
        self.events: list[Event] = []
        self.loop = ChatLoop(
            engine=self.engine,
            conversation=self.conversation,
            runner=runner,
            options=GenerateOptions(max_tokens=100),
            stamp=Stamper("s", time.time),
            **options,
        )

    async def ask(self, text: str, on: Callable[[Event], None] | None = None) -> Sequence[Event]:
        start = len(self.events)
        async for event in self.loop.turn(text):
            self.events.append(event)
            if on is not None:
                on(event)
        return self.events[start:]

    def kinds(self) -> list[str]:
        return [type(event.body).__name__ for event in self.events]

    def bodies(self, kind: type) -> list[Any]:
        return [event.body for event in self.events if isinstance(event.body, kind)]


@pytest.fixture
def harness(runner: InProcessRunner) -> Harness:
    return Harness(runner)


@pytest.fixture
def make_harness(runner: InProcessRunner) -> Callable[..., Harness]:
    def make(rounds: int = 8, **options: Any) -> Harness:
        return Harness(runner, limits=Limits(rounds), **options)

    return make

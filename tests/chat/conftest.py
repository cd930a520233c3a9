from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_harness import Harness
from inprocess_tools import InProcessRunner

from toolchat.chat.guards import Limits
from toolchat.tools.load import load_tools

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

def say(text: str) -> str:
    """Say it."""
    return text

def fail(why: str) -> str:
    """Fail."""
    raise RuntimeError(why)

def draw(colors: list[str]) -> list:
    """Draw squares."""
    from PIL import Image

    return [part for color in colors for part in (color, Image.new("RGB", (4, 4), color))]

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
    names = ("add", "long", "fail", "slow", "draw", "say")
    rows = "".join(f"  - callable: {module}:{name}\n" for name in names)
    file = tmp_path / "tools.yaml"
    file.write_text(f"version: 1\ntools:\n{rows}")
    return InProcessRunner(load_tools(file), says="at work")


@pytest.fixture
def harness(runner: InProcessRunner) -> Harness:
    return Harness(runner)


@pytest.fixture
def make_harness(runner: InProcessRunner) -> Callable[..., Harness]:
    def make(rounds: int = 8, **options: Any) -> Harness:
        return Harness(runner, limits=Limits(rounds), **options)

    return make

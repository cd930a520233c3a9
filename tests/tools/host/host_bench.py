from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.tools.host.call import Prepared
from toolchat.tools.host.supervisor import Supervisor
from toolchat.tools.run import ToolRunner
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

HOSTILE = Path(__file__).parent / "hostile_tools.py"
HANG = (
    "loop_in_python",
    "loop_in_c",
    "ignore_signals",
    "stop_itself",
    "swallow_cancellation",
    "fork_often",
    "hang_counter",
)
LIMIT = 0.5
STATEFUL = ("count_calls", "crash_counter", "hang_counter")


@dataclass
class Outcome:
    result: ToolResult
    output: str
    call: ToolCall
    seconds: float


@dataclass
class Bench:
    """A runner, driven from synchronous tests on one event loop."""

    loop: asyncio.Runner
    runner: ToolRunner

    @property
    def supervisor(self) -> Supervisor:
        assert self.runner._supervisor is not None
        return self.runner._supervisor

    @property
    def log(self) -> Path:
        assert self.supervisor.log is not None
        return self.supervisor.log

    async def call_async(self, name: str, cancel: asyncio.Event | None = None, **arguments: Any) -> Outcome:
        tool = self.runner.toolbox.get(name)
        assert tool is not None
        said: list[str] = []
        started = time.monotonic()
        prepared = await self.runner.prepare(tool, ToolCall("abcdefghi", name, arguments))
        if isinstance(prepared, ToolResult):
            return Outcome(prepared, "", ToolCall("abcdefghi", name, arguments), time.monotonic() - started)
        started = time.monotonic()
        result = await prepared.run(cancel, said.append)
        return Outcome(result, "".join(said), prepared.call, time.monotonic() - started)

    def call(self, name: str, **arguments: Any) -> Outcome:
        return self.loop.run(self.call_async(name, **arguments))

    async def prepare_async(self, name: str, **arguments: Any) -> Prepared:
        tool = self.runner.toolbox.get(name)
        assert tool is not None
        prepared = await self.runner.prepare(tool, ToolCall("abcdefghi", name, arguments))
        assert isinstance(prepared, Prepared)
        return prepared

    def prepare(self, name: str, **arguments: Any) -> Prepared:
        return self.loop.run(self.prepare_async(name, **arguments))

    def is_alive(self) -> bool:
        result = self.call("good", a=40, b=2).result
        return (result.content, result.status) == ("42", ResultStatus.OK)


def write_tools(folder: Path, rows: dict[str, dict[str, Any]], **modules: str) -> Path:
    """A tools file: the options by callable; and the modules beside it."""
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    lines = ["version: 1", "tools:"]
    for reference, options in rows.items():
        lines.append(f"  - callable: {reference}")
        lines += [f"    {key}: {value}" for key, value in options.items()]
    path = folder / "tools.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def hostile_rows() -> dict[str, dict[str, Any]]:
    sys.path.insert(0, str(HOSTILE.parent))
    try:
        import hostile_tools
    finally:
        sys.path.remove(str(HOSTILE.parent))
    rows: dict[str, dict[str, Any]] = {}
    for name, function in inspect.getmembers(hostile_tools, inspect.isfunction):
        if function.__module__ != "hostile_tools" or name.startswith("_"):
            continue
        options: dict[str, Any] = {"timeout": LIMIT if name in HANG else 30}
        if name.startswith("allocate"):
            options["memory"] = "256MiB"
        if name in STATEFUL:
            options["stateful"] = "true"
        rows[f"hostile_tools:{name}"] = options
    return rows


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


_numbers = itertools.count(1)


def unique() -> str:
    """A number of seconds to sleep that no other process sleeps."""
    return f"300.{os.getpid()}{next(_numbers):03}"


def command_lines() -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
            except OSError:
                continue
    return found


def runs(word: str) -> bool:
    """Whether any process has `word` in its command line."""
    return any(word in line for line in command_lines())


def exists(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"

"""What of toolchat runs on this machine, by /proc; and `toolchat`, started as a person's shell starts it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PROGRAM = (sys.executable, "-m", "toolchat")
PATIENCE = 120.0
"""Seconds that anything may take; generous, since a busy machine is no failure."""


def wait_until(what: str, condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.05)
    return value


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    """False also for a zombie: it has ended, and only waits for its parent to take note."""
    status = _read(pid, "status")
    return bool(status) and "\nState:\tZ" not in status


def workers(parent: int) -> list[int]:
    """The engine's processes that a toolchat with the process id `parent` started, running still, by their command."""
    return [
        pid
        for pid in (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
        if "toolchat.engine.worker" in (command := _read(pid, "cmdline").split("\0"))
        and f"--parent={parent}" in command
        and is_running(pid)
    ]


def tool_hosts(parent: int) -> list[int]:
    """The processes that hold the tools of a toolchat with the process id `parent`, running still."""
    return [
        pid
        for pid in (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
        if "toolchat.tools.host.server" in (command := _read(pid, "cmdline"))
        and f'"parent": {parent},' in command
        and is_running(pid)
    ]


def in_session_of(leader: int) -> list[int]:
    """The processes of the session that `leader` leads, itself too; a worker leads one of its own."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _read(int(folder.name), "stat").rpartition(") ")[2].split()
            if len(fields) > 3 and int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def wait_for_worker(parent: int) -> int:
    (worker,) = wait_until("an engine's process", lambda: workers(parent))
    return worker


def wait_for_import(worker: int) -> None:
    """Return while the worker is importing vLLM: torch's libraries are being mapped by then."""
    wait_until("torch in the engine's process", lambda: "libtorch" in _read(worker, "maps"))


def assert_nothing_left(parent: int, worker: int) -> None:
    """`parent` has ended; its worker, the tools' process, and whatever they started, must end too."""
    wait_until("no engine left", lambda: not workers(parent) and not in_session_of(worker), 30)
    wait_until("no tools left", lambda: not tool_hosts(parent), 30)


def start(*arguments: str, cwd: Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments], cwd=cwd, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

"""Runs a chat as a user without rights, and attacks it: as root many a fault would not show."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).with_name("attacking_tools.py")
CHAT = Path(__file__).with_name("attacked_chat.py")
NOBODY = 65534
# Root's files, and none of root's rights.
_NO_CAPABILITIES = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--securebits=+noroot,+noroot_locked")
_AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


@dataclass(frozen=True, slots=True)
class User:
    """How a command is run as a user without rights."""

    prefix: tuple[str, ...]
    python: str
    uid: int

    def command(self, *arguments: str) -> list[str]:
        return [*self.prefix, self.python, *arguments]


@functools.cache
def unprivileged() -> User:
    """Another user, where this one is root and that one can run Python; else this one, without capabilities."""
    if os.geteuid() != 0:
        return User((), sys.executable, os.geteuid())
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv here, and as root faults would not show", allow_module_level=True)
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(same, path="/usr/local/bin:/usr/bin")):
        # What toolchat starts is sys.executable again: that must work too.
        probe = "import sys, subprocess, toolchat.tools.load; subprocess.run([sys.executable, '-c', ''], check=True)"
        if (
            python is not None
            and not subprocess.run(
                [*_AS_NOBODY, python, "-c", probe], env=environment(), stderr=subprocess.DEVNULL, check=False
            ).returncode
        ):
            return User(_AS_NOBODY, python, NOBODY)
    return User(_NO_CAPABILITIES, sys.executable, 0)


def environment(**more: str) -> dict[str, str]:
    """One in which another Python finds what this one has."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HOME": "/tmp", **more}


@contextmanager
def folder_of(user: User) -> Iterator[Path]:
    """A folder that is the user's alone; pytest's own are in one that others cannot enter."""
    with tempfile.TemporaryDirectory(prefix="toolchat-attack-") as name:
        os.chown(name, user.uid, -1)
        yield Path(name)


def write(folder: Path, user: User, tools: dict[str, dict[str, Any]], samples: Sequence[str] = ()) -> Path:
    """The attacking tools and a tools file with these of them, with these options, and with these samples."""
    rows = ["version: 1", "tools:", *(f"  - callable: {sample}" for sample in samples)]
    for name, options in tools.items():
        rows += [f"  - callable: {TOOLS.stem}:{name}", *(f"    {key}: {value}" for key, value in options.items())]
    shutil.copy(TOOLS, folder)
    path = folder / "tools.yaml"
    path.write_text("\n".join(rows) + "\n")
    for file in (TOOLS.name, "tools.yaml"):
        os.chown(folder / file, user.uid, -1)
    return path


@dataclass(frozen=True, slots=True)
class Answers:
    """What the chat printed."""

    notices: list[str]
    results: list[str]
    unharmed: bool
    stderr: str


def attack(
    tools: dict[str, dict[str, Any]],
    *calls: tuple[str, dict[str, Any]],
    user: User | None = None,
    abi: str = "own",
    before: Sequence[str] = (),
    samples: Sequence[str] = (),
    **variables: str,
) -> Answers:
    """Start a chat with these tools, have it do these calls, and see what came of it.

    Of the arguments, "CHAT" is the chat's pid, "SOCKET" the name of its abstract socket, and "FOLDER" where the tools
    file lies. `before` is a command that runs all of it.
    """
    user = user or unprivileged()
    with folder_of(user) as folder:
        path = write(folder, user, tools, samples)
        asked = [json.dumps(call).replace('"FOLDER', f'"{folder}') for call in calls]
        if before and shutil.which(before[0]) is None:
            pytest.skip(f"there is no {before[0]} here")
        command = [*before, *user.command(str(CHAT), str(path), abi, *asked)]
        done = subprocess.run(
            command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=120, check=False
        )
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    unharmed = bool(rows) and rows[-1] == "unharmed" and done.returncode == 0
    return Answers(rows[0] if rows else [], rows[1 : -1 if unharmed else None], unharmed, done.stderr)

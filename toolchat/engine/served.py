"""The servers that `toolchat serve` has started: a note on each, for `toolchat ps` and `toolchat stop`, and their end.

A note lies beside the sockets of kept engines, and names processes by number and start, so that a number which another
process has by now names nothing. Of a server whose toolchat was killed, what is left is found by it. Never signals any
other process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from toolchat.engine.kept.place import folder_for_sockets
from toolchat.private_file import read_believed, write_whole
from toolchat.wire.errors import EngineError

SCRATCH = "toolchat-serve-"
"""How the name of a server's temporary folder begins."""
GRACE = 15.0
"""Seconds for vLLM to end its processes after SIGTERM: 2 to 4 s with the demo model (0.32, two cores)."""
END_SECONDS = 30.0
"""For processes that were killed: a GPU's driver may take seconds to let go of them."""
_LOOK_SECONDS = 0.05
_PREFIX, _SUFFIX = "serve-", ".json"
_MOST_NOTE = 1024**2


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A process: no two of one boot have the same number and start."""

    pid: int
    start: int
    """In the kernel's ticks since the machine started."""


@dataclass(frozen=True, slots=True)
class _Process:
    identity: Identity
    parent: int
    session: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A server that toolchat started, as its note has it."""

    model: str
    device: str
    """ "cpu" or "cuda"."""
    address: str
    """As `--server` takes it; empty for a node without an HTTP server."""
    toolchat: Identity
    leader: Identity
    """vLLM's first process, whose session the others are in."""
    members: tuple[Identity, ...] = ()
    """All of vLLM's processes that were there when the note was written."""
    ready: bool = False
    began: float = 0.0
    """By time.time()."""
    scratch: str | None = None
    socket: str | None = None
    boot: str = field(default_factory=lambda: _boot())
    path: Path | None = None
    """Of the note."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Of a note; None where it is none."""
        try:
            written: dict[str, Any] = json.loads(read_believed(path, _MOST_NOTE))
            known = {name: written[name] for name in cls.__slots__ if name in written}
            known |= {name: Identity(**known[name]) for name in ("toolchat", "leader")}
            known["members"] = tuple(Identity(**one) for one in known["members"])
            return cls(**{**known, "path": path})
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def write(self, folder: Path) -> Path:
        """Write the note, whole or not at all. Raises OSError."""
        path = folder / f"{_PREFIX}{self.toolchat.pid}{_SUFFIX}"
        write_whole(path, json.dumps({**asdict(self), "path": None}).encode())
        return path

    @property
    def is_attended(self) -> bool:
        """Whether the toolchat that started it lives, and will end it."""
        return self.boot == _boot() and identity_of(self.toolchat.pid) == self.toolchat

    def processes(self) -> set[int]:
        """vLLM's processes that are there now."""
        if self.boot != _boot():
            return set()
        table = _table()
        known = {one.pid for one in (self.leader, *self.members) if one.pid in table and table[one.pid].identity == one}
        if any(table[pid].session == self.leader.pid for pid in known):
            # The kernel gives no process the number of a session that has members.
            known |= {pid for pid, one in table.items() if one.session == self.leader.pid}
        return _with_descendants(known, table)

    def memory(self) -> int:
        """Bytes of the machine's memory that its processes have for themselves."""
        return sum(map(_own_bytes, self.processes()))

    @property
    def is_elsewhere(self) -> bool:
        """Whether it may live in another container, which shares the folder of notes and not the numbers."""
        here = _boot()
        return self.boot != here and self.boot.partition(" ")[0] == here.partition(" ")[0]

    def clear(self) -> None:
        """Remove what lies about of one that has ended."""
        # A note is this user's own, and no more than its names' place is believed all the same.
        if self.scratch is not None:
            scratch = Path(self.scratch)
            if scratch.parent == Path(tempfile.gettempdir()) and scratch.name.startswith(SCRATCH):
                shutil.rmtree(scratch, ignore_errors=True)
        if self.socket is not None:
            remove_socket(Path(self.socket))
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def served_models(folder: Path | None = None) -> list[ServedModel]:
    """Those of which anything lives, by the age of their start. What dead ones left is cleared away."""
    folder = folder or folder_for_sockets()
    found: list[ServedModel] = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()) if folder is not None else ():
            if not (path.name.startswith(_PREFIX) and path.suffix == _SUFFIX):
                continue
            if (served := ServedModel.read(path)) is None:
                continue
            if served.is_attended or served.processes():
                found.append(served)
            elif not served.is_elsewhere:
                with suppress(OSError):
                    served.clear()
    return sorted(found, key=lambda served: served.began)


def end_served(served: ServedModel, grace: float = GRACE) -> None:
    """End a server and its toolchat, and wait until it is gone. Raises EngineError where it does not end."""
    if served.is_attended:
        with suppress(ProcessLookupError):
            os.kill(served.toolchat.pid, signal.SIGTERM)
        # It ends the server, and itself.
        _wait(lambda: served.is_attended, 2 * grace)
        if served.is_attended:
            with suppress(ProcessLookupError):
                os.kill(served.toolchat.pid, signal.SIGKILL)
            _wait(lambda: served.is_attended, END_SECONDS)
    end_processes(served.processes, served.leader.pid, grace)
    served.clear()


def end_processes(members: Callable[[], set[int]], leader: int, grace: float = GRACE) -> None:
    """Ask the leader of the processes that `members` finds to end them all, and kill what is left after `grace`.

    Waits until they are gone. Raises EngineError where they do not end.
    """
    if leader in members():
        _signal((leader,), signal.SIGTERM)
        # The leader ends its children, and what it leaves is left for good.
        _wait(lambda: leader in members(), grace)
    until = time.monotonic() + END_SECONDS
    while left := members():
        _signal(left, signal.SIGKILL)
        if time.monotonic() > until:
            listed = " ".join(map(str, sorted(left)))
            raise EngineError(f"processes of vLLM's server do not end; end them with: kill -9 {listed}")
        time.sleep(_LOOK_SECONDS)


def remove_socket(path: Path) -> None:
    """vLLM leaves the file of its socket behind, and does not start where it is there."""
    with suppress(OSError):
        if path.is_socket():
            path.unlink()


def identity_of(pid: int) -> Identity | None:
    """None where there is no such process any more."""
    found = _read(pid)
    return found.identity if found is not None else None


def below(root: int) -> tuple[Identity, ...]:
    """The descendants of a process, whatever session they are in."""
    table = _table()
    return tuple(sorted(table[pid].identity for pid in _with_descendants({root}, table) - {root} if pid in table))


def _wait(going_on: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while going_on() and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _with_descendants(roots: set[int], table: dict[int, _Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, one in table.items():
        children.setdefault(one.parent, []).append(pid)
    found, pending = set(roots), list(roots)
    while pending:
        new = set(children.get(pending.pop(), ())) - found
        found |= new
        pending += new
    return found


def _table() -> dict[int, _Process]:
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {pid: one for pid in numbers if (one := _read(pid)) is not None}


def _read(pid: int) -> _Process | None:
    """None for a zombie too, which nobody has waited for."""
    try:
        # The second field is the program's name in parentheses, and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return None
        return _Process(Identity(pid, int(fields[19])), int(fields[1]), int(fields[3]))
    except (OSError, ValueError, IndexError):
        return None


def _own_bytes(pid: int) -> int:
    with suppress(OSError, ValueError):
        for row in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if row.startswith("RssAnon:"):
                return int(row.split()[1]) * 1024
    return 0


def _boot() -> str:
    """Where numbers of processes mean what they do: the machine's start and, behind a blank, the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""

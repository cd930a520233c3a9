"""Asks and ends kept engines, for `toolchat ps`, `toolchat stop`, and whoever needs the memory that one takes.

Nothing here waits for an engine's work: a thread of the worker answers. One that does not is ended by its process id,
which the kernel has told.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.engine.kept.place import ANSWER_SECONDS, SCRATCH, folder_for_sockets, note_of, peer_of, sockets
from toolchat.wire.codec import line
from toolchat.wire.errors import EngineError

END_SECONDS = 30.0
"""For a process that was killed: a GPU's driver may take seconds to let go of it."""
_LOOK_SECONDS = 0.01
_MOST_NOTE = 64 * 1024


@dataclass(frozen=True, slots=True)
class KeptWorker:
    """One that is loaded, as it tells of itself."""

    path: Path
    pid: int
    model: str = ""
    device: str = ""
    """"cpu" or "cuda"."""
    card: str = ""
    """What no two engines are loaded on at once: "cpu", or the UUID of the GPU."""
    version: str = ""
    """toolchat's."""
    context: int = 0
    memory: int = 0
    """Bytes of the machine's memory."""
    gpu: str = ""
    """What it takes of the GPU's memory, for people; empty on a CPU."""
    clients: int = 0
    requests: int = 0
    """Under way."""
    idle: float | None = None
    """Seconds since the last client; None while there is one."""
    keep: float = 0.0
    """Seconds that it stays after its last client; negative for ever."""
    ends_in: float | None = None
    """Seconds; None where that is not settled."""
    began: float = 0.0
    """By time.time()."""
    log: str | None = None
    answers: bool = True
    """Whether it does: one that was stopped by a signal, or is stuck, does not."""

    @property
    def name(self) -> str:
        """The digest of what is loaded."""
        return self.path.stem


def kept_workers(folder: Path | None = None) -> list[KeptWorker]:
    """Those that are loaded, by the age of their start. What dead ones left is cleared away."""
    folder = folder or folder_for_sockets()
    if folder is None:
        return []
    found = []
    for path in sockets(folder):
        if (engine := look(path)) is not None:
            found.append(engine)
        else:
            clear_dead(path)
    return sorted(found, key=lambda engine: engine.began)


def look(path: Path) -> KeptWorker | None:
    """What listens at `path`; None where nothing does any more."""
    connection = _connected(path)
    if connection is None:
        return None
    with connection:
        pid, _ = peer_of(connection)
        match _asked(connection, {"op": "status"}):
            case {"op": "status", **told}:
                known: dict[str, Any] = {name: value for name, value in told.items() if name in KeptWorker.__slots__}
                known |= {"path": path, "pid": pid, "version": str(told.get("toolchat", ""))}
                return KeptWorker(**known)
            case None:
                return KeptWorker(path, pid, answers=False)
    return None  # it is ending


def end(path: Path, *, if_idle: bool = False) -> int | None:
    """End what listens at `path`, and wait until its memory is free; how many clients it had.

    With `if_idle`, one that has clients is left alone, and None returned. Raises EngineError where it cannot be ended.
    """
    connection = _connected(path)
    if connection is None:
        return 0
    with connection:
        pid, _ = peer_of(connection)
        clients = 0
        match _asked(connection, {"op": "stop", "if_idle": if_idle}):
            case {"op": "busy"}:
                return None
            case {"op": "stopping", "clients": int(clients)}:
                pass
            case None:
                # It is ending, or it is stuck: a worker's main work never keeps it from answering.
                kill(pid)
        _wait_for_end(connection, pid)
    clear_dead(path)
    return clients


def kill(pid: int) -> None:
    """End a worker that does not answer, with all that it started: it leads a group of its own."""
    with suppress(ProcessLookupError):
        group = os.getpgid(pid)
        # Of a process that has ended and was replaced this would be another's.
        os.killpg(group, signal.SIGKILL) if group == pid else os.kill(pid, signal.SIGKILL)


def clear_dead(path: Path) -> None:
    """Remove what an engine left that was killed: its socket, its note, its temporary folder."""
    try:
        inode = path.lstat().st_ino
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            connection.connect(str(path))
        return  # it lives
    except ConnectionRefusedError:
        pass
    except OSError:
        return
    with suppress(OSError, ValueError, AttributeError, TypeError):
        note: Any = json.loads(note_of(path).read_bytes()[:_MOST_NOTE])
        scratch = Path(note["scratch"]) if note.get("scratch") else None
        # The note is this user's own, and no more than its name and place is believed all the same.
        if scratch is not None and scratch.parent == Path(tempfile.gettempdir()) and scratch.name.startswith(SCRATCH):
            shutil.rmtree(scratch, ignore_errors=True)
    with suppress(OSError):
        if path.lstat().st_ino == inode:  # else another took its place meanwhile
            path.unlink()
            note_of(path).unlink()


def _connected(path: Path) -> socket.socket | None:
    """A connection to what listens at `path`; None where nothing does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ANSWER_SECONDS)
    try:
        connection.connect(str(path))
        if peer_of(connection)[1] == os.geteuid():
            return connection
    except OSError:
        pass
    connection.close()
    return None


def _asked(connection: socket.socket, message: dict[str, Any]) -> dict[str, Any] | None:
    """Its answer to `message`; None where none comes, or none that can be understood."""
    until = time.monotonic() + ANSWER_SECONDS
    got = b""
    try:
        connection.sendall(line(message))
        while not got.endswith(b"\n"):
            connection.settimeout(max(0.001, until - time.monotonic()))
            if not (piece := connection.recv(1 << 16)):
                return {}
            got += piece
        answer = json.loads(got)
    except (OSError, ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _wait_for_end(connection: socket.socket, pid: int) -> None:
    """Wait until a process has ended. Its number alone does not tell: in a container nobody may wait for it.

    A process frees its memory before it closes its files.
    """
    until = time.monotonic() + END_SECONDS
    with suppress(OSError):
        connection.settimeout(END_SECONDS)
        while connection.recv(1 << 16):
            pass
    while alive(pid):
        if time.monotonic() > until:
            raise EngineError(f"the kept engine, process {pid}, does not end; end it with: kill -9 {pid}")
        time.sleep(_LOOK_SECONDS)


def alive(pid: int) -> bool:
    """False for a zombie too, which nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False

"""Processes as the kernel shows them: whose child is whose, dying with a parent, and ending a whole tree.

Linux only, standard library only; it never signals a process outside the tree or the mark that it is given.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `number` to this process when the thread that started it ends, however that ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died between the fork and the line above
        os._exit(1)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that loses its own, instead of the system's first process."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Let no other process of this user read this one's environment and memory, nor trace it or take its descriptors.

    For processes that hold secrets and run no tool. Not inherited by programs that are started.
    """
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def open_standard_streams() -> None:
    """Make descriptors 0 to 2 lead nowhere where they were closed, so that nothing else gets these numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def threads() -> int:
    """How many this process has, those of native libraries included."""
    return len(list((_PROC / "self" / "task").iterdir()))


def uses_gpu() -> bool:
    """Whether this process has begun to use an NVIDIA GPU: it cannot be forked then, and has terabytes mapped."""
    try:
        return b"/dev/nvidia" in Path("/proc/self/maps").read_bytes()
    except OSError:
        return False


def children(pid: int) -> set[int]:
    """The processes whose parent is `pid`, as far as they can be seen at this moment."""
    found: set[int] = set()
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            found.update(map(int, (task / "children").read_bytes().split()))
    except FileNotFoundError:
        if not (_PROC / "self" / "task" / str(os.getpid()) / "children").exists():
            # A kernel without CONFIG_PROC_CHILDREN.
            return {child for child in _pids() if _parent(child) == pid}
    except (OSError, ValueError):
        pass
    return found


def descendants(pid: int) -> set[int]:
    """The children of `pid`, their children, and so on."""
    found: set[int] = set()
    pending = children(pid)
    while pending:
        found |= pending
        pending = {child for parent in pending for child in children(parent)} - found
    return found


def kill_tree(root: int) -> None:
    """SIGKILL `root` and all its descendants."""
    _kill_all(lambda: {root} | descendants(root))


def kill_marked(mark: str) -> None:
    """SIGKILL every process whose environment held `mark` ("NAME=value") when it last began a program."""
    _kill_all(lambda: {pid for pid in _pids() if pid != os.getpid() and mark.encode() in _environment(pid)})


def _kill_all(find: Callable[[], set[int]]) -> None:
    """Stops first, until nothing new is found, so that none of them can fork while the others are looked for."""
    stopped: set[int] = set()
    while new := {pid for pid in find() if pid > 1} - stopped:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        # The second field is the program's name in parentheses, and may hold anything.
        return int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []

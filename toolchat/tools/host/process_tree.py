"""The process tree of a call, as the kernel shows it under /proc: who is in it, how much memory it takes, and its end.

And whether this process may be forked for one. Linux only, standard library only; it never signals a process outside
the tree or the mark that it is given.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

HARMLESS_THREADS = frozenset(("jemalloc_bg_thd",))
"""Threads, by the kernel's name, across which a process may be forked all the same.

jemalloc, the allocator that pyarrow brings, gives freed memory back in this one. Its handlers of `pthread_atfork` take
all its locks before a fork and make the child's state new. `benchmarks/fork_threads.py` with pyarrow 26.0.1: of 300
children that computed, allocated and read CSV, none hung and none failed. polars starts one of its own beside it, which
no such handler knows of."""
_MAX_NAMED = 3
_SETTLE_SECONDS = 0.2
"""A thread that has been joined can be seen by the kernel's count for a moment longer."""
_PROC = Path("/proc")
_KIB = 1024
_KEPT_IN_MEMORY = ("/memfd:", "/dev/shm/")

# kcmp(2) says whether two threads share a table of open files.
_KCMP, _KCMP_FILES = {"x86_64": 312, "aarch64": 272}.get(platform.machine()), 2
_libc = ctypes.CDLL(None, use_errno=True)


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


@dataclass(frozen=True, slots=True)
class Taken:
    """What a call takes."""

    size: int
    """Bytes of memory."""
    hidden: bool
    """Whether a process of this user's keeps from this one which files it has open: the size may be more then."""


def own_size() -> int:
    """Bytes of memory of this process's own: what a call forked from it begins with."""
    return _resident(os.getpid())


def tree_memory(root: int, enough: int) -> Taken:
    """The memory that `root` and its descendants take, files in memory that they hold open included.

    What is at most `enough` need not be exact: it may count shared pages once for each process. Pages count by share
    otherwise, since a forked process has those of its parent.
    """
    pids = {root} | descendants(root)
    files, hidden = _files_in_memory(pids)
    rough = sum(map(_resident, pids))
    if rough + files <= enough:
        return Taken(rough + files, hidden)
    anonymous = shared = 0
    for pid in pids:
        mine, ours = _proportional(pid)
        anonymous += mine
        shared += ours
    # A file in memory that is mapped counts among the shared pages as well.
    return Taken(anonymous + max(shared, files), hidden)


def _resident(pid: int) -> int:
    rows = _rows(pid, "status")
    if "RssAnon" not in rows:  # it has gone, or its first thread has, and then only the others show the memory
        rows = next((found for thread in _threads(pid) if "RssAnon" in (found := _rows(thread, "status"))), rows)
    return sum(rows.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap"))


def _proportional(pid: int) -> tuple[int, int]:
    rows = _rows(pid, "smaps_rollup") or next(filter(None, (_rows(one, "smaps_rollup") for one in _threads(pid))), {})
    if not rows:  # an older kernel, or a process that hides itself: all that it can have counts
        return _resident(pid), 0
    return rows.get("Pss_Anon", 0) + rows.get("SwapPss", 0), rows.get("Pss_Shmem", 0)


def _rows(pid: int, name: str) -> dict[str, int]:
    """The rows "Name:  123 kB" of a file, in bytes; none where the process has gone."""
    found: dict[str, int] = {}
    try:
        text = (_PROC / str(pid) / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return found
    for row in text.splitlines():
        key, _, value = row.partition(":")
        if value.endswith(" kB") and value[:-3].strip().isdigit():
            found[key] = int(value[:-3]) * _KIB
    return found


def _threads(pid: int) -> list[int]:
    try:
        return [int(task.name) for task in (_PROC / str(pid) / "task").iterdir()]
    except OSError:
        return []


def _tables(pid: int) -> list[int]:
    """One thread for each table of open files that a process has: a thread may have one of its own."""
    tables: list[int] = []
    for thread in _threads(pid):
        if not any(_share_table(thread, other) for other in tables):
            tables.append(thread)
    return tables


def _share_table(one: int, other: int) -> bool:
    return _KCMP is not None and _libc.syscall(_KCMP, one, other, _KCMP_FILES, 0, 0) == 0


def _files_in_memory(pids: set[int]) -> tuple[int, bool]:
    """Bytes of the memfds and files in /dev/shm that the processes hold open: pages that belong to no process.

    And whether a process hides what it has open, by a program that may not be read, for example.
    """
    sizes: dict[tuple[int, int], int] = {}
    hidden = False
    for thread in (thread for pid in pids for thread in _tables(pid)):
        try:
            opened = list((_PROC / str(thread) / "fd").iterdir())
        except PermissionError:
            hidden = hidden or _hides(thread)
            continue
        except OSError:
            continue
        for file in opened:
            try:
                if str(file.readlink()).startswith(_KEPT_IN_MEMORY):
                    facts = file.stat()
                    sizes[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
            except PermissionError:
                hidden = hidden or _hides(thread)
                break
            except OSError:
                continue
    return sum(sizes.values()), hidden


def _hides(thread: int) -> bool:
    """Whether one whose open files cannot be read is alive, and this user's.

    What is about to end has no memory any more and belongs to root; and root's tools may run programs as other users.
    """
    try:
        text = (_PROC / str(thread) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "\nVmSize:" in text and f"\nUid:\t{os.getuid()}\t" in text


def unsafe_to_fork() -> str | None:
    """Why a copy of this process could hang: a fork copies one thread, and the locks that the others hold for ever."""
    until = time.monotonic() + _SETTLE_SECONDS
    while (others := _unknown_threads()) and time.monotonic() < until:
        time.sleep(0.01)
    if others:
        names = ", ".join(dict.fromkeys(f'"{name}"' for name in others[:_MAX_NAMED]))
        owner = _thread_owner()
        if owner:
            return f'module "{owner}" starts a thread while it is imported ({names})'
        return f"a module or a library of its starts a thread while it is imported ({names})"
    if uses_gpu():
        return "a module uses the GPU while it is imported, so that memory is only watched"
    return None


def _unknown_threads() -> list[str]:
    """The names of the threads beside this one that may hold a lock across a fork: Python's, else the kernel's."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    return [names.get(number, name) for number, name in other_threads().items() if name not in HARMLESS_THREADS]


def _thread_owner() -> str | None:
    """The module whose code the first other thread runs; None for threads of native libraries."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame: FrameType | None = frames.get(thread.ident or 0)
        if thread is threading.main_thread():
            continue
        names: list[str] = []
        while frame is not None:
            names.append(str(frame.f_globals.get("__name__")))
            frame = frame.f_back
        # From the outermost frame inwards, past the machinery of threads.
        own = [name for name in reversed(names) if name.partition(".")[0] not in sys.stdlib_module_names]
        if own:
            return own[0]
    return None


def other_threads() -> dict[int, str]:
    """The kernel's names of this process's threads but the first, those of native libraries included, by number."""
    names: dict[int, str] = {}
    for task in (_PROC / "self" / "task").iterdir():
        # One may end meanwhile.
        with suppress(OSError):
            if task.name != str(os.getpid()):
                names[int(task.name)] = (task / "comm").read_text(encoding="utf-8", errors="replace").strip()
    return names


def uses_gpu() -> bool:
    """Whether this process has begun to use an NVIDIA GPU: it cannot be forked then, and has terabytes mapped."""
    try:
        return b"/dev/nvidia" in Path("/proc/self/maps").read_bytes()
    except OSError:
        return False

"""How much memory a call takes, with all the processes that it started, as the kernel shows it under /proc."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from toolchat.tools.host.processes import descendants

_PROC = Path("/proc")
_KIB = 1024
_KEPT_IN_MEMORY = ("/memfd:", "/dev/shm/")


# kcmp(2) says whether two threads share a table of open files.
_KCMP, _KCMP_FILES = {"x86_64": 312, "aarch64": 272}.get(platform.machine()), 2
_libc = ctypes.CDLL(None, use_errno=True)


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

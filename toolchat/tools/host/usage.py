"""How much memory a call takes, with all the processes that it started, as the kernel shows it under /proc."""

from __future__ import annotations

import os
from pathlib import Path

from toolchat.tools.host.processes import descendants

_PROC = Path("/proc")
_KIB = 1024
_KEPT_IN_MEMORY = ("/memfd:", "/dev/shm/")


def own_size() -> int:
    """Bytes of memory of this process's own: what a call forked from it begins with."""
    return _resident(os.getpid())


def tree_memory(root: int, enough: int) -> int:
    """Bytes of memory that `root` and its descendants take, files in memory that they hold open included.

    What is at most `enough` need not be exact: it may count shared pages once for each process. Pages count by share
    otherwise, since a forked process has those of its parent.
    """
    pids = {root} | descendants(root)
    files = _files_in_memory(pids)
    rough = sum(map(_resident, pids))
    if rough + files <= enough:
        return rough + files
    anonymous = shared = 0
    for pid in pids:
        mine, ours = _proportional(pid)
        anonymous += mine
        shared += ours
    # A file in memory that is mapped counts among the shared pages as well.
    return anonymous + max(shared, files)


def _resident(pid: int) -> int:
    rows = _rows(pid, "status")
    return sum(rows.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap"))


def _proportional(pid: int) -> tuple[int, int]:
    rows = _rows(pid, "smaps_rollup")
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


def _files_in_memory(pids: set[int]) -> int:
    """Bytes of the memfds and files in /dev/shm that the processes hold open: pages that belong to no process."""
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        try:
            opened = list((_PROC / str(pid) / "fd").iterdir())
        except OSError:
            continue
        for file in opened:
            try:
                if str(file.readlink()).startswith(_KEPT_IN_MEMORY):
                    facts = file.stat()
                    sizes[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
            except OSError:
                continue
    return sum(sizes.values())

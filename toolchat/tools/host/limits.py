"""The limits that the kernel holds one process of a call to. The host watches what its processes take together."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

from toolchat.tools.toolbox import MIB

MAX_OPEN_FILES = 4096
"""Of one process. Systems allow up to a million, and a kernel has a table for all users."""

_SPARE_MEMORY = 64 * MIB
"""Beyond the limit, for telling the chat that it was reached."""


def limit_memory(memory: int) -> int:
    """Bound this process's address space to its size and `memory` bytes, or to a hard limit that is lower.

    Returns how many bytes it may really take.
    """
    size = _size()
    soft, hard = size + memory, size + memory + _SPARE_MEMORY
    _, given = resource.getrlimit(resource.RLIMIT_AS)
    if given != resource.RLIM_INFINITY and given < hard:
        # `ulimit -v` of the user's: it holds, and nobody but root could raise it.
        hard = given
        soft = min(soft, max(given - _SPARE_MEMORY, size))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return soft - size


def use_spare_memory() -> None:
    """Let the process say that it has reached its limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def limit_open_files() -> None:
    """Bound how many files this process, and each that it starts, may hold open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most if soft == resource.RLIM_INFINITY else min(soft, most), most))


def _size() -> int:
    """Bytes of address space that this process has."""
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()

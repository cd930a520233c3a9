"""Sets attributes of this process by prctl(2), and its file descriptors: when it dies, who may read it, whom it adopts.

Linux only, standard library only: processes import this before anything else of theirs runs.
"""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `number` to this process when the thread that started it ends, however that ends.

    Ends the process here and now where `parent` has ended already.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died between the fork and the line above
        os._exit(1)


def live_without_parent() -> None:
    """Undo `die_with_parent`. Call in the thread that called that: the kernel keeps the signal for each thread."""
    _libc.prctl(_PR_SET_PDEATHSIG, 0)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant that loses its own, instead of the system's first process."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_memory() -> None:
    """Let no other process of this user read this one's environment and memory, nor trace it or take its descriptors.

    For processes that hold secrets, tokens in the environment or the conversation, and run no tool. Not inherited by
    programs that are started.
    """
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def reserve_standard_descriptors() -> None:
    """Make descriptors 0 to 2 lead nowhere where they were closed, so that nothing else gets these numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)

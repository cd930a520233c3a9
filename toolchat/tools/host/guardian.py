"""The process between the chat and a host: it outlives the host and ends what that left. No tool's code runs in it.

A host that is killed cannot end its calls, and what they started could be anywhere by then, with any environment. All
of it has come to the guardian, because the kernel gives orphans to the nearest ancestor that asked for them.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from contextlib import suppress
from typing import Never

from toolchat.process import adopt_orphans, die_with_parent, hide_memory
from toolchat.tools.host.process_tree import children, kill_tree

_END_SECONDS = 2.0
_WAITED_FOR = (signal.SIGCHLD, signal.SIGTERM)


def split(parent: int, control: int) -> int:
    """Become two: the guardian, which never returns from here, and its child, which is to be the host.

    Returns the guardian's pid. `parent` is the chat, and `control` the host's descriptor, which only the host keeps.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    adopt_orphans()
    die_with_parent(parent, signal.SIGTERM)
    me = os.getpid()
    host = os.fork()
    if host:
        os.close(control)
        hide_memory()
        _guard(host)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
    die_with_parent(me)
    return me


def _guard(host: int) -> Never:
    code = 1
    try:
        while (status := _reaped(host)) is None:
            if signal.sigwait(_WAITED_FOR) == signal.SIGTERM:  # the chat is gone, or wants an end
                break
        _end_all()
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
    finally:
        _exit_as(code)


def _reaped(host: int) -> int | None:
    """How the host ended; None while it lives. Whatever else has ended is buried too."""
    status = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == host:
                status = ended[1]
    return status


def _end_all() -> None:
    until = time.monotonic() + _END_SECONDS
    while (left := children(os.getpid())) and time.monotonic() < until:
        for pid in left:
            kill_tree(pid)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.002)


def _exit_as(code: int) -> Never:
    """End as the host did, so that the chat can say how that was."""
    if code < 0:
        faulthandler.disable()
        with suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os._exit(code & 0xFF)

"""How the end of a process is told."""

from __future__ import annotations

import signal

from toolchat.tools.host.channel import LOST_CHANNEL

CLOSED = "it closed the connection that its result goes through"


def how_it_ended(code: int) -> str:
    """ "exit code 3", "killed by SIGSEGV"; `code` is as `Popen.returncode` gives it."""
    if code == LOST_CHANNEL:
        return CLOSED
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}{', perhaps for want of memory' if code == -signal.SIGKILL else ''}"


def seconds_text(number: float) -> str:
    return "1 second" if number == 1 else f"{number:g} seconds"

"""What a person at a terminal does, in tests: read before answering; and how a program in a terminal is ended."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pexpect

from toolchat.ui.dialogs import ARMING_SECONDS

END_SECONDS = 10.0


def pause_to_read() -> None:
    """Be as slow as a person who reads a question: what comes sooner was on its way before it, and answers nothing."""
    time.sleep(ARMING_SECONDS + 0.1)


def reply(child: pexpect.spawn[str], line: str) -> None:
    """Type a line as a person does who has read the question."""
    pause_to_read()
    child.sendline(line)


def end_program(child: pexpect.spawn[str] | pexpect.spawn[bytes]) -> None:
    """End what runs in a terminal, where a test is over. Never fails: how a program ends is for the test to look at.

    pexpect gives a child a tenth of a second after each thing it does to end it, and raises where that was not enough.
    """
    child.ptyproc.delayafterclose = child.ptyproc.delayafterterminate = 0.01
    with suppress(pexpect.ExceptionPexpect, OSError):
        child.close(force=True)
    until = time.monotonic() + END_SECONDS
    with suppress(pexpect.ExceptionPexpect, OSError):
        while child.isalive() and time.monotonic() < until:
            os.kill(child.pid, signal.SIGKILL)
            time.sleep(0.02)

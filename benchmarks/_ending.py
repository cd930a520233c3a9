"""Ends what a benchmark has started by `started` with it, also where SIGTERM, SIGALRM or SIGHUP ends the benchmark.

By default these signals end a process at once: no `finally` runs, and a server or engine that it started stays.

A process that still runs is killed with its group. What has left the group, what is left of the group of a process that
has ended, and what runs where the benchmark itself is killed (SIGKILL), is not ended here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from types import FrameType
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP)

_started: list[subprocess.Popen[Any]] = []
_is_starting = False
_came: list[int] = []
"""Signals that came while a process was started, which was in no list yet."""


def unwind_when_ended() -> None:
    """Have the signals raise SystemExit, once; those that are ignored, as below nohup, or handled stay so."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def started(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """`subprocess.Popen` of a process that leads a group, which is killed when this process ends, if it still runs."""
    global _is_starting
    _is_starting = True
    try:
        process = subprocess.Popen(command, start_new_session=True, **options)
        _started.append(process)
    finally:
        _is_starting = False
        if _came:
            _end(_came[0], None)
    return process


def _end(number: int, _: FrameType | None) -> None:
    if _is_starting:
        _came.append(number)
        return
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


@atexit.register
def _end_started() -> None:
    for process in _started:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

"""Text that a command is given on standard input, or by a pipe. Never waits without saying so."""

from __future__ import annotations

import math
import os
import select
import stat
import sys
import time
from collections.abc import Callable

WAIT_SECONDS = 2.0
"""How long a reading may last before a person is told what is being waited for."""

Note = Callable[[str], None]
"""Tells the user a line that is no error."""

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFREG: "a file", stat.S_IFCHR: "a device"}


def tell(text: str) -> None:
    """A `Note`, on stderr."""
    from toolchat.ui.text.sanitize import sanitize

    print(f"toolchat: {sanitize(text)}", file=sys.stderr, flush=True)


def piped_text(leave_out: str = "</dev/null leaves it out", note: Note = tell) -> str:
    """What stands on standard input, to its end; empty where that is a terminal. Raises UsageError.

    `leave_out` is what a person does who did not mean it.
    """
    from toolchat.wire.errors import UsageError

    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return read_to_end(sys.stdin.fileno(), "standard input", leave_out, note).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}; {leave_out}") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is not text in UTF-8 (byte {error.start}); pipe text, or {leave_out}"
        ) from None


def read_to_end(descriptor: int, place: str, remedy: str, note: Note) -> bytes:
    """All that comes. Where the end has not come after WAIT_SECONDS, `note` is told what is waited for. Raises OSError.

    Whatever would not wait is waited for; a named pipe that nobody has opened for writing yet is no end either.
    """
    from toolchat.standard_streams import read_some

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    until: float | None = time.monotonic() + WAIT_SECONDS
    parts: list[bytes] = []
    while True:
        ready = poll.poll(None if until is None else max(0, math.ceil((until - time.monotonic()) * 1000)))
        if until is not None and time.monotonic() >= until:
            until = None
            kind = _KINDS.get(stat.S_IFMT(os.fstat(descriptor).st_mode), "a stream")
            size = sum(map(len, parts))
            note(f"reading {place} to its end ({kind}, {size} bytes so far); {remedy}")
        if ready:
            part = read_some(descriptor)
            if not part:
                return b"".join(parts)
            parts.append(part)

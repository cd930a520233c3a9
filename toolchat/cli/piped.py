"""Text that a command is given on standard input."""

from __future__ import annotations

import select
import sys

WAIT_SECONDS = 2.0
"""How long standard input may stay silent before a person is told that it is being waited for."""


def piped_text() -> str:
    """What stands on standard input, to its end; empty where that is a terminal. Raises UsageError."""
    from toolchat.standard_streams import read_all
    from toolchat.wire.errors import UsageError

    if sys.stdin is None or sys.stdin.isatty():
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], WAIT_SECONDS)
    if not ready:
        print("toolchat: reading standard input to its end; </dev/null leaves it out", file=sys.stderr)
    try:
        return read_all(sys.stdin.fileno()).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}; </dev/null leaves it out") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not text in UTF-8 (byte {error.start}); pipe text") from None

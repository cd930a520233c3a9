"""Log files that several chats append to: kept from growing for ever."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

LARGEST = 4_000_000
"""Bytes; beyond that a log is set aside, and the one set aside before is dropped."""


def appendable(path: Path) -> Path:
    """`path`, in a private folder that exists, ready to be appended to."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(OSError):
        if path.stat().st_size > LARGEST:
            path.replace(path.with_suffix(".log.1"))
    return path

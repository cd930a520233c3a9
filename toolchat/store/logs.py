"""Log files that several chats append to: kept from growing for ever."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from toolchat.private_file import private_folder

LARGEST = 4_000_000
"""Bytes; beyond that a log is set aside, and the one set aside before is dropped."""


def appendable(path: Path) -> Path:
    """`path`, in a private folder where there can be one, ready to be appended to."""
    with suppress(OSError):  # without a log a chat goes on
        private_folder(path.parent)
        if path.stat().st_size > LARGEST:
            path.replace(path.with_suffix(".log.1"))
    return path

"""What was typed in earlier chats, in a private file that several chats may share at once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import History

LARGEST = 2_000_000
"""Bytes; beyond that the older half is dropped."""


class PrivateHistory(History):
    """Each row of an entry stands behind a "+", and an empty row before it. Only the user may read the file.

    A file that cannot be read or written costs the history of earlier chats, and nothing else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        try:
            rows = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return
        entry: list[str] = []
        for row in reversed(rows):
            if row.startswith("+"):
                entry.append(row[1:])
            elif entry:
                yield "\n".join(reversed(entry))
                entry = []
        if entry:
            yield "\n".join(reversed(entry))

    def store_string(self, string: str) -> None:
        text = "\n" + "".join(f"+{row}\n" for row in string.split("\n"))
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                # One write: a reader never sees half an entry.
                os.write(file, text.encode("utf-8", "replace"))
                if os.fstat(file).st_size > LARGEST:
                    self._drop_older_half(file)
            finally:
                os.close(file)

    @staticmethod
    def _drop_older_half(file: int) -> None:
        size = os.fstat(file).st_size
        kept = os.pread(file, size, size // 2)
        # From the next beginning of an entry on.
        kept = kept[kept.find(b"\n\n+") + 1 :]
        os.ftruncate(file, 0)
        os.write(file, kept)

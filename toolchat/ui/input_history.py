"""The input history: lines typed in earlier chats, in a private file that several chats may share at once."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import History

from toolchat.private_file import open_private, private_folder
from toolchat.ui.pastes import Pastes

LARGEST = 2_000_000
"""Bytes; beyond that the older half is dropped."""
_TRIES = 20
"""Of the lock, a hundredth of a second apart: another chat has it for some microseconds."""


class PrivateHistory(History):
    """Each row of an entry stands behind a "+", and an empty row before it. Only the user may read the file.

    A file that cannot be read or written costs the history of earlier chats, and nothing else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def load_history_strings(self) -> Iterable[str]:
        try:
            with os.fdopen(open_private(self._path, os.O_RDONLY), "rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - LARGEST, 0))
                rows = file.read(LARGEST).decode("utf-8", "replace").split("\n")
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
            private_folder(self._path.parent)
            file = open_private(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                # Not waited for long: whoever holds the lock would hold the chat. Without it an entry is still one
                # write, so that no reader sees half of it, but nothing may be dropped.
                locked = _lock(file)
                os.write(file, text.encode("utf-8", "replace"))
                if locked and os.fstat(file).st_size > LARGEST:
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


class FoldedHistory(History):
    """Another history, whose long entries are folded where they come back; kept are the whole ones.

    What was pasted is marked in it: also in a later chat a file that only a paste names is none that the user named.
    """

    def __init__(self, whole: History, pastes: Pastes, is_folded: Callable[[str], bool] = lambda paste: False) -> None:
        """`is_folded` says of a short paste that comes back whether it stands folded."""
        super().__init__()
        self._whole = whole
        self._pastes = pastes
        self._is_folded = is_folded

    def load_history_strings(self) -> Iterable[str]:
        return (self._pastes.restored(entry, self._is_folded) for entry in self._whole.load_history_strings())

    def store_string(self, string: str) -> None:
        self._whole.store_string(self._pastes.marked(string))


def _lock(file: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        else:
            return True
    return False

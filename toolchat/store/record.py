"""The record of a session: every event as a line of JSON, on disk before it is shown."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from toolchat.private_file import private_folder
from toolchat.wire.events import Event, to_json


def new_session_id() -> str:
    """Sorts by time, and is unlike any other: "20261123-221500-1f9c3a"."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class SessionRecord:
    """Appends events to `<folder>/<session>.jsonl`, which only the user may read.

    Each event is one write(2), so it survives the death of this process at any point (not a power loss). A disk
    that is full or read-only must not end a chat: the first failure is kept in `failure`, and recording stops.
    """

    def __init__(self, folder: Path, session: str) -> None:
        self.path = folder / f"{session}.jsonl"
        self.failure: OSError | None = None
        self._file = -1
        try:
            private_folder(folder)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self.failure = error

    def append(self, event: Event) -> None:
        """Write one event. Sets `failure`, once, where that cannot be done."""
        if self.failure is not None:
            return
        # A lone surrogate becomes JSON's own escape of it, so that the file stays UTF-8.
        line = to_json(event).encode("utf-8", "backslashreplace") + b"\n"
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            self.failure = error

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

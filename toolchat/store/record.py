"""The record of a session: writes every event as a line of JSON before it is shown, and reads records back."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from toolchat.environment import refused
from toolchat.images.image import MAX_BYTES
from toolchat.private_file import open_file, private_folder, read_file
from toolchat.settings import NO_HOME
from toolchat.wire.codec import CodecError, event_line, read_event
from toolchat.wire.events import Event


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
        try:
            line = event_line(event)
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            self.failure = error
        except RecursionError:
            # The parsers bound what a model writes (`json_scan.MAX_DEPTH`): no event of theirs is that deep.
            self.failure = OSError("what happened is nested too deeply to be written")

    @property
    def loss(self) -> str:
        """What its failure costs, why, and what helps: one line for a person."""
        assert self.failure is not None
        why = refused(self.failure) or str(self.failure)
        state = self.path.parent.parent
        if state.is_relative_to(NO_HOME):
            why = "there is no home folder; set HOME, or XDG_STATE_HOME to a folder that can be written"
        elif self._file < 0 and not os.access(state, os.W_OK | os.X_OK):
            reason = self.failure.strerror or str(self.failure)
            why = f"{state}: {reason}; make that folder writable, or set XDG_STATE_HOME to one that is"
        else:
            return f"this session is not recorded: {why}"
        return f"this session is not recorded, and no log, typed line or grant is kept: {why}"

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_record(path: Path) -> Iterator[Event]:
    """The events of a record, in order, with the images that are kept in files beside it.

    A last line that was not written whole (a full disk, a loss of power) is left out. Raises CodecError, which names
    the file and the line, for one that cannot be read.
    """
    try:
        with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
            for number, row in enumerate(file, 1):
                if not row.endswith(b"\n"):
                    return
                try:
                    event = read_event(row, _load_image)
                except CodecError as error:
                    raise CodecError(f"{path}, line {number}: {error}") from None
                yield event
    except OSError as error:
        raise CodecError(f"{path}: cannot be read: {error.strerror or error}") from None


def _load_image(name: str, sha256: str) -> str:
    """The bytes of an image's file in base64, if they are those of which `sha256` is the digest."""
    try:
        content = read_file(Path(name), MAX_BYTES)
    except (OSError, ValueError) as error:  # a NUL in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CodecError(f"the image {name} cannot be read: {reason}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CodecError(f"the image {name} is not the one that was sent: its SHA-256 differs")
    return base64.b64encode(content).decode()

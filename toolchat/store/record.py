"""The record of a session that is under way: every event is a committed row of the database before it is shown.

Also reads the records of before, a file of JSON lines each, which `sessions export` writes too.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolchat.environment import refused
from toolchat.images.image import MAX_BYTES
from toolchat.private_file import open_file, read_file
from toolchat.settings import NO_HOME
from toolchat.store.database import Database
from toolchat.store.transcript import Transcript
from toolchat.wire import events
from toolchat.wire.codec import CodecError, event_line, read_event
from toolchat.wire.events import Event
from toolchat.wire.messages import Image, ToolCall

FILES = "files"
"""The folder beside the database with images and long results, named by what is in them."""


def new_session_id() -> str:
    """Sorts by time, and is unlike any other: "20261123-221500-1f9c3a"."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class SessionRecord:
    """Appends the events of one session, each in a transaction of its own, and keeps what it comes to in `transcript`.

    A row survives the death of this process at any point (not a power loss). A disk that is full or read-only must
    not end a chat: the first failure is kept in `failure`, and recording stops. Without a folder nothing is stored.
    """

    def __init__(self, folder: Path | None, session: str, *, database: Database | None = None, number: int = 0) -> None:
        """`database` is open already, with its session `number` taken, for a session that goes on."""
        self.session = session
        self.folder = folder
        self.failure: OSError | None = None
        self.transcript = Transcript()
        self._words = Words()
        self._unindexed: int | None = None
        self._database = database
        self._number = number
        if folder is None or database is not None:
            return
        try:
            self._database = Database(folder)
        except OSError as error:
            self.failure = error

    @property
    def stored(self) -> bool:
        """Whether everything so far can be found again."""
        return self._number > 0 and self.failure is None

    @property
    def files(self) -> Path | None:
        """Where the session may keep files; None where nothing is stored."""
        return self.folder / FILES if self.folder is not None and self.failure is None else None

    def goes_on(self, history: list[Event]) -> None:
        """Follow the events that the session has already."""
        for event in history:
            self.transcript.take(event)
            self._words.take(event)

    def append(self, event: Event) -> None:
        """Write one event. Sets `failure`, once, where that cannot be done."""
        self.transcript.take(event)
        if self._database is None or self.failure is not None:
            return
        try:
            line = event_line(event).decode().rstrip("\n")
            with self._database.writing() as rows:
                self._write(rows, event, line)
        except OSError as error:
            self.failure = error
        except RecursionError:
            self.failure = OSError("a call's arguments are nested too deeply to be written")

    def _write(self, rows: sqlite3.Connection, event: Event, line: str) -> None:
        if not self._number:
            self._number = insert_session(rows, self.session, event.time)
            assert self._database is not None
            self._database.take(self._number)
        rows.execute("INSERT INTO events (session, seq, line) VALUES (?, ?, ?)", (self._number, event.sequence, line))
        assert self._database is not None
        found = self._words.take(event)
        for message in found:
            insert_message(self._database, self._number, message)
        unindexed = event.sequence if self._unindexed is None else self._unindexed
        now = unindexed if self._words.pending else None
        if now != self._unindexed:
            self._unindexed = now
            rows.execute("UPDATE sessions SET unindexed = ? WHERE number = ?", (now, self._number))
        if isinstance(event.body, _TOLD):
            update_session(rows, self._number, self.transcript)

    def state(self) -> dict[str, Any]:
        """What was kept with `keep_state`."""
        if self._database is None or not self._number:
            return {}
        try:
            with self._database.errors():
                (text,) = self._database.connection.execute(
                    "SELECT state FROM sessions WHERE number = ?", (self._number,)
                ).fetchone()
            found = json.loads(text)
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def keep_state(self, state: dict[str, Any]) -> None:
        """Keep what belongs to the session and not to its conversation."""
        self._change("UPDATE sessions SET state = ? WHERE number = ?", json.dumps(state))

    def keeps_file(self, name: str) -> bool:
        """Note that the session needs this file, before it is written; False where that cannot be noted."""
        return self._change("INSERT OR IGNORE INTO kept (name, session) VALUES (?, ?)", name)

    def _change(self, statement: str, value: str) -> bool:
        if self._database is None or self.failure is not None or not self._number:
            return False
        try:
            with self._database.writing() as rows:
                rows.execute(statement, (value, self._number))
        except OSError as error:
            self.failure = error
        return self.failure is None

    def events(self) -> list[Event]:
        """Those that are stored. Raises CodecError or DatabaseError where they cannot be read."""
        return list(stored_events(self._database, self._number)) if self._database is not None else []

    @property
    def loss(self) -> str:
        """What its failure costs, why, and what helps: one line for a person."""
        assert self.failure is not None
        assert self.folder is not None
        why = refused(self.failure) or str(self.failure)
        state = self.folder.parent
        if state.is_relative_to(NO_HOME):
            why = "there is no home folder; set HOME, or XDG_STATE_HOME to a folder that can be written"
        elif self._database is None and not os.access(state, os.W_OK | os.X_OK):
            reason = self.failure.strerror or str(self.failure)
            why = f"{state}: {reason}; make that folder writable, or set XDG_STATE_HOME to one that is"
        else:
            return f"this session is not recorded: {why}"
        return f"this session is not recorded, and no log, typed line or grant is kept: {why}"

    def close(self) -> None:
        """Give the session back to other programs. One without a question and without a name is forgotten."""
        if self._database is None:
            return
        if self.stored and not self.transcript.turn_count:
            self._change("DELETE FROM sessions WHERE name IS NULL AND title = ? AND number = ?", "")
        self._database.close()
        self._database = None


_TOLD = (events.SessionStarted, events.QuestionAsked, events.TurnFinished, events.HistoryEdited)
"""The events after which a session is described otherwise."""


@dataclass(frozen=True, slots=True)
class Message:
    """A text of a session that is searched."""

    turn: int
    kind: str
    """One of "question", "answer", "call", "result"."""
    text: str


class Words:
    """Collects the texts of a session that are searched, from its events."""

    def __init__(self) -> None:
        self._text = ""
        self._turn = 0

    @property
    def pending(self) -> bool:
        """Whether there is text of an answer that is not over."""
        return bool(self._text)

    def take(self, event: Event) -> list[Message]:
        """The texts that are whole with this event."""
        match event.body:
            case events.TextDelta(text):
                self._text += text
                self._turn = event.turn
                return []
            case events.QuestionAsked(text):
                return [*self.rest(), Message(event.turn, "question", text)]
            case events.CallProposed(call):
                written = _written(call.arguments) if isinstance(call, ToolCall) else call.raw
                return [*self.rest(), Message(event.turn, "call", f"{call.name} {written}")]
            case events.CallFinished(result):
                return [*self.rest(), Message(event.turn, "result", result.content)]
            case events.RoundFinished() | events.TurnFinished() | events.HistoryEdited():
                return self.rest()
        return []

    def rest(self) -> list[Message]:
        """The text that has come so far."""
        text, self._text = self._text, ""
        return [Message(self._turn, "answer", text)] if text.strip() else []


def insert_session(rows: sqlite3.Connection, session: str, began: float) -> int:
    """A new row; its number."""
    made = rows.execute("INSERT INTO sessions (id, began, updated) VALUES (?, ?, ?)", (session, began, began))
    return int(made.lastrowid or 0)


def insert_message(database: Database, number: int, message: Message) -> None:
    """Add a text to those that are searched."""
    text = message.text.encode("utf-8", "replace").decode()  # SQLite takes no lone surrogates
    rows = database.connection
    made = rows.execute(
        "INSERT INTO messages (session, turn, kind, text) VALUES (?, ?, ?, ?)",
        (number, message.turn, message.kind, text),
    )
    if database.has_search:
        rows.execute("INSERT INTO search (rowid, text) VALUES (?, ?)", (made.lastrowid, text))


def update_session(rows: sqlite3.Connection, number: int, transcript: Transcript) -> None:
    """Describe a session as it is now."""
    title, model = (text.encode("utf-8", "replace").decode() for text in (transcript.title, transcript.model))
    rows.execute(
        # One that was cleared is still known by what it began with.
        "UPDATE sessions SET title = coalesce(nullif(?, ''), title), model = ?, turns = ?, updated = ? "
        "WHERE number = ?",
        (title[:_TITLE], model, transcript.turn_count, transcript.ended, number),
    )


_TITLE = 200
"""Characters of a title that are kept."""


def stored_events(database: Database, number: int) -> Iterator[Event]:
    """The events of a session, in order, with the images that are kept in files beside the database.

    A line in the text stands for an image whose file is gone or another: the session outlives its files.
    Raises CodecError, which names the session's row, or DatabaseError.
    """

    def load(name: str, sha256: str) -> str:
        # By its name: the state folder may have been moved.
        here = database.folder / FILES / Path(name).name
        try:
            return _load_image(str(here) if here.is_file() else name, sha256)
        except CodecError:
            return ""

    with database.errors():
        rows = database.connection.execute("SELECT seq, line FROM events WHERE session = ? ORDER BY seq", (number,))
        for sequence, line in rows:
            try:
                event = read_event(line, load)
            except CodecError as error:
                raise CodecError(f"{database.path}, event {sequence}: {error}") from None
            body = _without_lost(event.body)
            yield event if body is event.body else replace(event, body=body)


def _without_lost(body: events.EventBody) -> events.EventBody:
    """The same without images that have no bytes."""
    match body:
        case events.QuestionAsked(text, images) if not all(image.data for image in images):
            return events.QuestionAsked(text + _lost(images), tuple(image for image in images if image.data))
        case events.CallFinished(result) if not all(image.data for image in result.images):
            here = tuple(image for image in result.images if image.data)
            return events.CallFinished(replace(result, content=result.content + _lost(result.images), images=here))
    return body


def _lost(images: Sequence[Image]) -> str:
    return "".join(
        f"\n[the image {image.source or image.file} is no longer there]" for image in images if not image.data
    )


def read_record(path: Path) -> Iterator[Event]:
    """The events of a file of JSON lines, in order, with the images that are kept in files beside it.

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


def _written(arguments: dict[str, Any]) -> str:
    return json.dumps(arguments, ensure_ascii=False)


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

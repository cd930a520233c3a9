"""All stored sessions: lists, finds, searches, renames, copies, imports, deletes them, opens one to go on with it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from toolchat.store.database import Database
from toolchat.store.record import (
    FILES,
    SessionRecord,
    Words,
    insert_message,
    insert_session,
    new_session_id,
    stored_events,
    update_session,
)
from toolchat.store.results import keep_image
from toolchat.store.transcript import Transcript
from toolchat.wire import events
from toolchat.wire.codec import event_line
from toolchat.wire.errors import ToolchatError, UsageError
from toolchat.wire.events import Event
from toolchat.wire.messages import Image

LAST = "last"
"""What is written in the place of a session's name for the one that was used last."""
_NAME = re.compile(r"[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?")
_NAME_LENGTH = 80
_UNDER_WAY = 3600.0
"""Seconds within which a file without its final name may still be written."""
_AROUND = 60
"""Characters on each side of what was searched for that are shown of a text."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as lists show it."""

    number: int
    id: str
    name: str | None
    """As the user has named it."""
    title: str
    """The beginning of its first question."""
    model: str
    began: float
    """Seconds since the epoch."""
    updated: float
    turns: int

    @property
    def handle(self) -> str:
        """What a user types for it."""
        return self.name or self.id


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was searched for."""

    session: StoredSession
    turn: int
    kind: str
    """See `Message.kind`."""
    excerpt: str
    """One line."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A stored session that this program goes on with, and nobody else."""

    stored: StoredSession
    record: SessionRecord
    history: tuple[Event, ...]
    copied_from: str = ""
    """The session that this one is a copy of, since another program has that open; empty where it is itself."""


_COLUMNS = "number, id, name, title, model, began, updated, turns"


class SessionStore:
    """The sessions of a folder. Every method raises DatabaseError where the database refuses."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where the database cannot be opened."""
        self._database = Database(folder)

    def close(self) -> None:
        self._database.close()

    def latest(self, limit: int | None = None, *, empty: bool = False, begins: str = "") -> list[StoredSession]:
        """The last used first; with `empty` also those in which nothing was asked, and that have no name.

        With `begins` only those whose name or id begins so.
        """
        where = "1" if empty else "(title != '' OR name IS NOT NULL)"
        order = "ORDER BY updated DESC, number DESC LIMIT ?"
        return self._rows(
            f"WHERE {where} AND (substr(id, 1, ?) = ? OR substr(name, 1, ?) = ?) {order}",
            (len(begins), begins, len(begins), begins, -1 if limit is None else limit),
        )

    def find(self, key: str) -> StoredSession:
        """The session that `key` names: "last", a name, an id, or the beginning or end of an id.

        Raises UsageError where there is none, or more than one.
        """
        if key == LAST:
            if not (latest := self.latest(1)):
                raise UsageError("no session is stored yet; a chat with toolchat repl makes one")
            return latest[0]
        for column in ("name", "id"):
            if found := self._rows(f"WHERE {column} = ?", (key,)):
                return found[0]
        size = len(key)
        where = "WHERE ? > 0 AND (substr(id, 1, ?) = ? OR substr(id, -?) = ?) LIMIT 3"
        parts = self._rows(where, (size, size, key, size, key))
        if len(parts) == 1:
            return parts[0]
        if parts:
            raise UsageError(f"{key}: more than one session has an id like that; write more of it")
        names = [name for one in self.latest(200) for name in (one.name, one.id) if name]
        near = get_close_matches(key, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "toolchat sessions list shows them"
        raise UsageError(f"{key or repr(key)}: there is no session of that name or id; {hint}")

    def events(self, session: StoredSession) -> Iterator[Event]:
        """Raises CodecError for an event that cannot be read."""
        return stored_events(self._database, session.number)

    def open(self, session: StoredSession) -> Opened:
        """Have the session, or a copy of it where another program has it open. This object must then not be closed.

        Raises CodecError where it cannot be read.
        """
        copied_from = ""
        if not self._database.take(session.number):
            copied_from = session.handle
            session = self.copy(session)
            self._database.take(session.number)
        history = tuple(self.events(session))
        record = SessionRecord(self._database.folder, session.id, database=self._database, number=session.number)
        record.goes_on(list(history))
        return Opened(session, record, history, copied_from)

    def copy(self, session: StoredSession, name: str | None = None) -> StoredSession:
        """A new session with all that this one has so far. Raises UsageError for a name that another session has."""
        if name is not None:
            self._check_name(name)
        made = new_session_id()
        old, new = f'"session":"{session.id}"', f'"session":"{made}"'
        with self._database.writing() as rows:
            number = insert_session(rows, made, session.began)
            rows.execute(
                "UPDATE sessions SET (name, title, model, updated, turns, state, unindexed) = (SELECT ?, title, model, "
                "updated, turns, state, unindexed FROM sessions WHERE number = ?) WHERE number = ?",
                (name, session.number, number),
            )
            lines = rows.execute("SELECT seq, line FROM events WHERE session = ?", (session.number,)).fetchall()
            rows.executemany(
                "INSERT INTO events (session, seq, line) VALUES (?, ?, ?)",
                # The codec writes the session's id before anything that could look like it.
                ((number, sequence, line.replace(old, new, 1)) for sequence, line in lines),
            )
            rows.execute("INSERT INTO kept SELECT ?, name FROM kept WHERE session = ?", (number, session.number))
            begin = int(rows.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0])
            rows.execute(
                "INSERT INTO messages (session, turn, kind, text) SELECT ?, turn, kind, text FROM messages "
                "WHERE session = ? ORDER BY id",
                (number, session.number),
            )
            if self._database.has_search:
                rows.execute(
                    "INSERT INTO search (rowid, text) SELECT id, text FROM messages WHERE id > ? AND session = ?",
                    (begin, number),
                )
        return self._rows("WHERE number = ?", (number,))[0]

    def rename(self, session: StoredSession, name: str) -> None:
        """Raises UsageError for a name that is none, or that another session has."""
        if name != session.name:
            self._check_name(name)
            with self._database.writing() as rows:
                rows.execute("UPDATE sessions SET name = ? WHERE number = ?", (name, session.number))

    def delete(self, session: StoredSession) -> None:
        """Delete it, and the files that only it needs. Raises UsageError where another program has it open."""
        if not self._database.take(session.number):
            raise UsageError(f"{session.handle} is open in another program; leave it there first")
        try:
            with self._database.writing() as rows:
                self._index([session.number])
                if self._database.has_search:
                    rows.execute(
                        "INSERT INTO search (search, rowid, text) "
                        "SELECT 'delete', id, text FROM messages WHERE session = ?",
                        (session.number,),
                    )
                rows.execute("DELETE FROM sessions WHERE number = ?", (session.number,))
        finally:
            self._database.give_back(session.number)

    def prune(self, before: float) -> int:
        """Delete the sessions that were not used since, but those that are open or have a name; how many."""
        gone = 0
        for session in self._rows("WHERE updated < ? AND name IS NULL", (before,)):
            with suppress(UsageError):
                self.delete(session)
                gone += 1
        return gone

    def collect(self) -> int:
        """Delete the files that no session needs any more; how many."""
        gone = 0
        folder = self._database.folder / FILES
        # Who is to write a file notes it first, and so waits until this is over.
        with self._database.writing() as rows, suppress(OSError):
            for path in folder.iterdir():
                if path.suffix == ".part" and time.time() - path.stat().st_mtime < _UNDER_WAY:
                    continue
                if rows.execute("SELECT 1 FROM kept WHERE name = ?", (path.name,)).fetchone() is None:
                    path.unlink()
                    gone += 1
        return gone

    def put(self, history: Iterable[Event], name: str | None = None) -> StoredSession:
        """Store a session that was recorded elsewhere, under its own id. Raises UsageError where that is taken."""
        history = list(history)
        if not history or not isinstance(history[0].body, events.SessionStarted):
            raise UsageError("expected the events of a session, one a line, from its first on")
        session = history[0].session
        if self._rows("WHERE id = ?", (session,)):
            raise UsageError(f"the session {session} is stored already")
        if any(event.session != session or event.sequence != at for at, event in enumerate(history)):
            raise UsageError("its events are of several sessions, or some are missing; expected one session, whole")
        if name is not None:
            self._check_name(name)
        kept: dict[str, None] = {}

        def keep(image: Image) -> Image:
            here = keep_image(self._database.folder / FILES, image)
            kept[Path(here.file).name] = None
            return here

        history = [replace(event, body=_with_images(event.body, keep)) for event in history]
        lines = [(event.sequence, event_line(event).decode().rstrip("\n")) for event in history]
        with self._database.writing() as rows:
            number = insert_session(rows, session, history[0].time)
            rows.executemany(
                "INSERT INTO events (session, seq, line) VALUES (?, ?, ?)", ((number, *line) for line in lines)
            )
            rows.executemany(
                "INSERT INTO kept (session, name) VALUES (?, ?)", ((number, name) for name in kept if name)
            )
            rows.execute("UPDATE sessions SET name = ? WHERE number = ?", (name, number))
            update_session(rows, number, Transcript(history))
            rows.execute("UPDATE sessions SET unindexed = 0 WHERE number = ?", (number,))
            self._index([number])
        return self._rows("WHERE number = ?", (number,))[0]

    def search(self, text: str, limit: int = 20) -> list[Hit]:
        """Texts with every word of `text`, as the beginning of a word; newest first. See `Message.kind`.

        Where there are none, or no words, those that hold `text` as it stands, in whatever case.
        """
        self._catch_up()
        words = re.findall(r"\w+", text)
        found: list[Any] = []
        columns = ", ".join(f"s.{column}" for column in _COLUMNS.split(", "))
        select = f"SELECT m.turn, m.kind, m.text, {columns}"
        with self._database.errors():
            run = self._database.connection.execute
            if words and self._database.has_search:
                query = " ".join(f'"{word}"*' for word in words)
                found = run(
                    f"{select} FROM search JOIN messages m ON m.id = search.rowid "
                    "JOIN sessions s ON s.number = m.session "
                    "WHERE search MATCH ? ORDER BY search.rowid DESC LIMIT ?",
                    (query, limit),
                ).fetchall()
            if not found and text.strip():
                pattern = re.sub(r"([%_\\])", r"\\\1", text.strip())
                found = run(
                    f"{select} FROM messages m JOIN sessions s ON s.number = m.session "
                    "WHERE m.text LIKE ? ESCAPE '\\' ORDER BY m.id DESC LIMIT ?",
                    (f"%{pattern}%", limit),
                ).fetchall()
        return [
            Hit(StoredSession(*row), turn, kind, excerpt(content, words or [text.strip()]))
            for turn, kind, content, *row in found
        ]

    def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH or name == LAST or name.startswith("-"):
            raise UsageError(
                f"{name!r}: expected a name in one line of at most {_NAME_LENGTH} characters, other than {LAST!r}, "
                "that does not begin with a dash"
            )
        if self._rows("WHERE name = ? OR id = ?", (name, name)):
            raise UsageError(f"{name}: another session has that name; toolchat sessions rename changes it")

    def _rows(self, rest: str, values: Sequence[Any]) -> list[StoredSession]:
        with self._database.errors():
            rows = self._database.connection.execute(f"SELECT {_COLUMNS} FROM sessions {rest}", values)
            return [StoredSession(*row) for row in rows]

    def _catch_up(self) -> None:
        """Make searchable what a program was killed over, and what was stored where SQLite had no FTS5."""
        with self._database.errors():
            run = self._database.connection.execute
            late = [row[0] for row in run("SELECT number FROM sessions WHERE unindexed IS NOT NULL")]
            stale = self._database.has_search and (
                run("SELECT count(*) FROM search_docsize").fetchone() != run("SELECT count(*) FROM messages").fetchone()
            )
        if stale:
            with self._database.writing() as rows:
                rows.execute("INSERT INTO search (search) VALUES ('rebuild')")
        for number in late:
            # An answer that streams in another program is made searchable there.
            if self._database.take(number):
                try:
                    with self._database.writing():
                        self._index([number])
                finally:
                    self._database.give_back(number)

    def _index(self, numbers: Iterable[int]) -> None:
        """Within a transaction: the texts of those sessions from `unindexed` on."""
        run = self._database.connection.execute
        for number in numbers:
            (begin,) = run("SELECT unindexed FROM sessions WHERE number = ?", (number,)).fetchone() or (None,)
            if begin is None:
                continue
            words = Words()
            for event in stored_events(self._database, number):
                if event.sequence >= begin:
                    for message in words.take(event):
                        insert_message(self._database, number, message)
            for message in words.rest():
                insert_message(self._database, number, message)
            run("UPDATE sessions SET unindexed = NULL WHERE number = ?", (number,))


@contextmanager
def stored_sessions(folder: Path) -> Iterator[SessionStore]:
    """The sessions, for a command. Raises ToolchatError, one line, where they cannot be had."""
    try:
        store = SessionStore(folder)
    except OSError as error:
        raise ToolchatError(f"the sessions cannot be read: {error}") from None
    try:
        yield store
    except OSError as error:
        raise ToolchatError(f"the sessions cannot be read or changed: {error}") from None
    finally:
        store.close()


def open_session_of(folder: Path, key: str) -> Opened:
    """The session that `key` names, to go on with: see `SessionStore.find` and `open`. Raises ToolchatError."""
    try:
        store = SessionStore(folder)
        try:
            return store.open(store.find(key))
        except BaseException:
            store.close()
            raise
    except OSError as error:
        raise ToolchatError(f"the sessions cannot be read: {error}") from None


def exported_lines(history: Iterable[Event]) -> Iterator[bytes]:
    """The events as lines that another machine can read: images are in them, and not only named."""
    for event in history:
        yield event_line(replace(event, body=_with_images(event.body, lambda image: replace(image, file=""))))


def excerpt(text: str, words: Sequence[str]) -> str:
    """What stands around the first of the words in `text`, in one line."""
    lower = text.lower()
    places = [at for word in words if (at := lower.find(word.lower())) >= 0]
    at = min(places, default=0)
    begin, end = max(0, at - _AROUND), at + _AROUND * 2
    line = " ".join(text[begin:end].split())
    return f"{'…' if begin else ''}{line}{'…' if end < len(text) else ''}"


def _with_images(body: events.EventBody, change: Any) -> events.EventBody:
    match body:
        case events.QuestionAsked(images=images) if images:
            return replace(body, images=tuple(map(change, images)))
        case events.CallFinished(result) if result.images:
            return replace(body, result=replace(result, images=tuple(map(change, result.images))))
    return body

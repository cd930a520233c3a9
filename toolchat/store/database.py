"""Opens the database of sessions: its place, its schema with migrations, its locks, its errors as one line each.

What the rows mean is up to `toolchat.store.record` (one session that is written) and `toolchat.store.sessions` (all).
 SQLite serialises writers of several programs; a lock of the kernel's says which sessions are open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from toolchat.private_file import DistrustedError, distrusted, open_private, private_folder

FILE = "sessions.db"
LOCK_FILE = "sessions.lock"
WAIT_SECONDS = 5.0
"""How long another program may be writing; a transaction takes well below a millisecond, an import some seconds."""

MIGRATIONS = (
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT UNIQUE,
        title TEXT NOT NULL DEFAULT '',
        model TEXT NOT NULL DEFAULT '',
        began REAL NOT NULL,
        updated REAL NOT NULL,
        turns INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT '{}',
        unindexed INTEGER
    );
    CREATE INDEX sessions_updated ON sessions (updated);
    CREATE INDEX sessions_unindexed ON sessions (number) WHERE unindexed IS NOT NULL;
    CREATE TABLE events (
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (session, seq)
    );
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        turn INTEGER NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL
    );
    CREATE INDEX messages_session ON messages (session);
    CREATE TABLE kept (
        session INTEGER NOT NULL REFERENCES sessions (number) ON DELETE CASCADE,
        name TEXT NOT NULL,
        PRIMARY KEY (session, name)
    ) WITHOUT ROWID;
    CREATE INDEX kept_name ON kept (name);
    """,
)
"""What brings a database from each version to the next; `PRAGMA user_version` is how many of them it has had.

`sessions.unindexed` is the first event whose text `messages` lacks, while an answer streams; `sessions.state` is what
belongs to a session and not to its conversation, as JSON; `kept` names the files that a session needs.
"""

_SEARCH = """CREATE VIRTUAL TABLE search USING fts5 (
    text, content='messages', content_rowid='id', tokenize="unicode61 remove_diacritics 2"
)"""
_LOCK = "hhqqi4x"
"""`struct flock` of Linux on 64 bits: type, whence, start, length, process (0 for a lock of an open file)."""
_OF_OPEN_FILE: int | None = getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" else None
"""fcntl's command for a lock that belongs to an open file; None on systems whose locks belong to the process."""


class DatabaseError(OSError):
    """What SQLite refused; as a text the file, why, and what to do."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class Database:
    """One connection. For one thread; transactions are explicit, see `writing`."""

    def __init__(self, folder: Path, *, make: bool = True, wait: float = WAIT_SECONDS) -> None:
        """Raises OSError, DatabaseError among them, where it cannot be had; without `make` also where there is none."""
        self.folder = folder
        self.path = folder / FILE
        if make:
            private_folder(folder, f"{FILE}*")
        elif not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))
        if (why := distrusted(self.path)) is not None:
            raise DistrustedError(errno.EPERM, f"{self.path}: {why}", str(self.path))
        os.close(open_private(self.path, os.O_RDWR | os.O_CREAT))
        self._locks: dict[int, int] = {}
        with self.errors():
            self.connection = sqlite3.connect(self.path, timeout=wait, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self.connection.close()
                raise

    def _prepare(self) -> None:
        run = self.connection.execute
        run("PRAGMA journal_mode = WAL")
        # The promise covers the death of this program; after a loss of power the database is whole, without its end.
        run("PRAGMA synchronous = NORMAL")
        run("PRAGMA foreign_keys = ON")
        if self._version() > len(MIGRATIONS):
            raise self._error(f"was made by a newer toolchat (version {self._version()}); use that one")
        can_search = _can_search(self.connection)
        if self._version() < len(MIGRATIONS) or (can_search and not self._has_search()):
            self._migrate()
        self.has_search = can_search and self._has_search()

    def _migrate(self) -> None:
        with self.writing():  # another program may have done it since
            for script in MIGRATIONS[self._version() :]:
                for statement in script.split(";"):
                    self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version = {max(len(MIGRATIONS), self._version())}")
            if not self._has_search() and _can_search(self.connection):
                self.connection.execute(_SEARCH)
                self.connection.execute("INSERT INTO search (search) VALUES ('rebuild')")

    def _version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def _has_search(self) -> bool:
        return self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'search'").fetchone() is not None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Have SQLite's errors raised as DatabaseError."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._error(_reason(error)) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block, or nothing of it. Raises DatabaseError."""
        with self.errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise
            try:
                self.connection.execute("COMMIT")
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    self.connection.execute("ROLLBACK")
                raise

    def take(self, number: int) -> bool:
        """Open the session of that number for this database alone; False where another has it open.

        The kernel gives it back when this process ends, however it does.
        """
        if number in self._locks:
            return True
        descriptor = open_private(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        try:
            _lock(descriptor, number)
        except OSError as error:
            os.close(descriptor)
            # A file system without locks: nobody can be told to be there.
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        self._locks[number] = descriptor
        return True

    def give_back(self, number: int) -> None:
        if (descriptor := self._locks.pop(number, None)) is not None:
            os.close(descriptor)

    def close(self) -> None:
        for number in list(self._locks):
            self.give_back(number)
        with suppress(sqlite3.Error):
            self.connection.close()

    def _error(self, why: str) -> DatabaseError:
        return DatabaseError(errno.EIO, why, str(self.path))


def _lock(descriptor: int, number: int) -> None:
    """Lock the byte of that number for writing. Raises OSError where another has it, or there are no locks."""
    if _OF_OPEN_FILE is None:
        # Keeps other programs out all the same, and is lost early where one program closes two of these.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number, os.SEEK_SET)
        return
    fcntl.fcntl(descriptor, _OF_OPEN_FILE, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0))


def _can_search(connection: sqlite3.Connection) -> bool:
    """Whether this SQLite has FTS5."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None


def _reason(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return "No space left on device; make room there, or write elsewhere"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"{error}; make its folder writable, or set XDG_STATE_HOME to one that is"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"another program has been writing it for {WAIT_SECONDS:g} seconds; end that program"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"it is damaged ({error}); move it away, and a new one is made"
        case sqlite3.SQLITE_IOERR:
            return f"{error}; look at the device and its limits, or write elsewhere"
    return str(error)

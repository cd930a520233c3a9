"""Downloads one large file in parts, several at a time, so that an interrupted download can resume.

The hub's library deletes an unfinished file; the default model is one file of 14.5 GB. A file is moved to its
destination only after its SHA-256 was checked.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.private_file import OPEN, make_folder, read_file

PART = 16 * 1024 * 1024
"""Bytes of one request. The hub allows 3,000 requests in five minutes without a login, so 160 MB a second."""
CONNECTIONS = 4
ATTEMPTS = 5
"""Consecutive attempts for one part that receive nothing, after which the download fails."""
WAIT = 1.0
"""Seconds before the second attempt; doubled for each further one."""
_READ = 1024 * 1024
_MAX_JOURNAL = 64 * 1024 * 1024
_RECORD = 0.5
"""Seconds between two writes of the journal: the downloading that is lost if the process is killed."""
_LEAVE = 0.5
"""Seconds to wait for a thread to stop."""
_TICK = 0.2
"""Seconds between two reports of progress: how soon a caller's exception stops the download."""
SILENT_SECONDS = 28.0
"""Seconds without a byte after which a download ends. With what it takes to stop, a person waits for 30."""

Report = Callable[[str, int], None]
"""Called in the caller's thread with the stage, "fetching", "checking" or "waiting for another download", and the
number of bytes of the file that are on the disk. An exception that it raises stops the download."""

Open = Callable[[int, int], AbstractContextManager[Iterator[bytes]]]
"""Opens a range of the file's bytes: from the first number, inclusive, to the second, exclusive."""


class NoRangesError(Exception):
    """The server does not support ranges."""


class TransientError(Exception):
    """The connection failed, and another attempt may succeed."""


class SilentError(TransientError):
    """The server holds the connection and has sent nothing for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no byte for {seconds:.0f} s")
        self.seconds = seconds


class BusyError(TransientError):
    """The server has had too many requests."""


class DamagedError(Exception):
    """The SHA-256 of the downloaded file is wrong. The file was deleted."""


@dataclass(frozen=True, slots=True)
class LargeFile:
    destination: Path
    size: int
    sha256: str
    lock: Path

    @property
    def unfinished(self) -> Path:
        return self.destination.with_name(f"{self.destination.name}.toolchat.incomplete")

    @property
    def journal(self) -> Path:
        """The progress by part: a line with the sizes of file and parts, then a line for each part that grew."""
        return self.destination.with_name(f"{self.destination.name}.toolchat.parts")


def bytes_there(file: LargeFile) -> int:
    """The number of bytes of a file that were downloaded, in this run or an earlier one."""
    if file.destination.exists():
        return file.size
    return sum(_read_journal(file).values())


def fetch(file: LargeFile, open_range: Open, report: Report) -> None:
    """Download `file` to its destination, resuming an earlier download.

    Raises the errors of `open_range`, TransientError only after several attempts; OSError of the disk; DamagedError.
    """
    with _locked(file.lock, lambda: report("waiting for another download", bytes_there(file))):
        if file.destination.exists():
            return
        make_folder(file.destination.parent, OPEN)
        done = _read_journal(file)
        if not done:
            _begin(file)
        _Download(file, open_range, done).run(report)
        _check(file, report)
        file.unfinished.replace(file.destination)
        file.journal.unlink(missing_ok=True)


class _Download:
    """Downloads the missing parts of a file in threads, and records each part's progress in the journal."""

    def __init__(self, file: LargeFile, open_range: Open, done: dict[int, int]) -> None:
        self._file = file
        self._open_range = open_range
        self._done = done
        self._recorded = dict(done)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._parts: queue.SimpleQueue[int] = queue.SimpleQueue()
        for part in range(-(-file.size // PART)):
            if done.get(part, 0) < self._length(part):
                self._parts.put(part)

    def run(self, report: Report) -> None:
        handle = os.open(self._file.unfinished, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        threads = [
            threading.Thread(target=self._work, args=(handle,), name=f"fetch-{number}", daemon=True)
            for number in range(min(CONNECTIONS, self._parts.qsize()))
        ]
        journal = os.open(self._file.journal, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            for thread in threads:
                thread.start()
            recorded = grew = time.monotonic()
            most = self._bytes()
            for thread in threads:
                while thread.is_alive():
                    report("fetching", there := self._bytes())
                    if there > most:
                        most, grew = there, time.monotonic()
                    elif time.monotonic() - grew > SILENT_SECONDS:
                        raise SilentError(SILENT_SECONDS)
                    thread.join(_TICK)
                    if time.monotonic() - recorded > _RECORD:
                        self._record(journal)
                        recorded = time.monotonic()
        finally:
            self._stop.set()
            with suppress(OSError):  # a full disk: then some bytes are downloaded again the next time
                self._record(journal)
            for thread in threads:
                if thread.ident is not None:
                    thread.join(_LEAVE)
            # A thread that still waits for the network ends at its time-out; until then its file stays open.
            if not any(thread.is_alive() for thread in threads):
                os.close(handle)
            with suppress(OSError):
                self._record(journal)
            os.close(journal)
        if self._failures:
            raise self._failures[0]
        report("fetching", self._bytes())

    def _record(self, journal: int) -> None:
        with self._lock:
            grown = {part: there for part, there in self._done.items() if there != self._recorded.get(part)}
        os.write(journal, "".join(f"{part} {there}\n" for part, there in grown.items()).encode())
        self._recorded |= grown

    def _work(self, handle: int) -> None:
        with suppress(queue.Empty):
            while not self._stop.is_set():
                part = self._parts.get_nowait()
                try:
                    self._fetch_part(part, handle)
                except BaseException as error:
                    self._failures.append(error)
                    self._stop.set()

    def _fetch_part(self, part: int, handle: int) -> None:
        failures = 0
        while not self._stop.is_set() and (there := self._done.get(part, 0)) < self._length(part):
            try:
                with self._open_range(part * PART + there, part * PART + self._length(part)) as pieces:
                    for piece in pieces:
                        self._write(handle, part, piece)
                        if self._stop.is_set():
                            return
                if self._done.get(part, 0) == there:
                    raise TransientError("the connection ended without an answer")
            except TransientError:
                failures = 0 if self._done.get(part, 0) > there else failures + 1
                if failures >= ATTEMPTS:
                    raise
                self._stop.wait(WAIT * 2 ** max(0, failures - 1))

    def _write(self, handle: int, part: int, piece: bytes) -> None:
        there = self._done.get(part, 0)
        left = memoryview(piece)[: self._length(part) - there]
        while left:
            written = os.pwrite(handle, left, part * PART + there)
            left, there = left[written:], there + written
            with self._lock:
                self._done[part] = there

    def _length(self, part: int) -> int:
        return min(PART, self._file.size - part * PART)

    def _bytes(self) -> int:
        with self._lock:
            return sum(self._done.values())


def _begin(file: LargeFile) -> None:
    # Made anew: a link in their place would have some other file emptied.
    file.unfinished.unlink(missing_ok=True)
    with file.unfinished.open("xb") as made:
        made.truncate(file.size)
    file.journal.unlink(missing_ok=True)
    with file.journal.open("x", encoding="utf-8") as journal:
        journal.write(f"{file.size} {PART}\n")


def _read_journal(file: LargeFile) -> dict[int, int]:
    """The downloaded bytes of each part; empty if there is no journal for a file and parts of these sizes."""
    try:
        if file.journal.is_symlink() or file.unfinished.is_symlink():
            return {}
        head, *lines = read_file(file.journal, _MAX_JOURNAL).decode().splitlines()
        if head != f"{file.size} {PART}" or file.unfinished.stat().st_size != file.size:
            return {}
        done: dict[int, int] = {}
        for line in lines:
            part, there = map(int, line.split())
            done[part] = max(0, min(there, PART, file.size - part * PART))
        return done
    except (OSError, ValueError):
        return {}


def _check(file: LargeFile, report: Report) -> None:
    digest, read, reported = hashlib.sha256(), 0, time.monotonic()
    with file.unfinished.open("rb") as made:
        while piece := made.read(_READ):
            digest.update(piece)
            read += len(piece)
            if time.monotonic() - reported > _TICK:
                report("checking", read)
                reported = time.monotonic()
    if read != file.size or digest.hexdigest() != file.sha256:
        file.unfinished.unlink(missing_ok=True)
        file.journal.unlink(missing_ok=True)
        raise DamagedError


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock that the hub's library uses for the same file; call `waiting` while another process holds it."""
    from filelock import FileLock, Timeout

    make_folder(path.parent, OPEN)
    lock: Any = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=_TICK)
            break
        except Timeout:
            waiting()
    try:
        yield
    finally:
        lock.release()

"""The temporary folders of engines: made, held for as long as a process uses them, and swept when nobody does any more.

vLLM and torch leave sockets and files in the temporary folder behind, so each engine on a CPU has one of its own.
Whoever uses it holds a lock on a file in it, which the kernel takes back from a process that is killed. A process id
would not tell: the temporary directory may be shared with containers, which have numbers of their own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from toolchat.engine.kept.place import SCRATCH

_LOCK = ".in-use"
_YOUNG_SECONDS = 60.0
"""A folder that is younger may not have its lock yet."""


class Scratch:
    """A new folder, in use until `leave` is called here and every process that inherits `lock` has ended."""

    def __init__(self) -> None:
        """Raises OSError."""
        sweep()
        self.path = tempfile.mkdtemp(prefix=SCRATCH)
        try:
            self.lock = os.open(Path(self.path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def leave(self) -> None:
        """Hold it no longer: others that do keep it."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def delete(self) -> None:
        self.leave()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(folder: Path | None = None) -> None:
    """Delete what processes left that were killed, of this user, in `folder` (None: the temporary directory)."""
    place = Path(tempfile.gettempdir()) if folder is None else folder
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(SCRATCH):
                with suppress(OSError), _held(Path(entry.path)):
                    shutil.rmtree(entry.path, ignore_errors=True)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a folder that nobody uses. Raises OSError where somebody does, and for what is no such folder of ours."""
    facts = path.lstat()
    is_old = time.time() - facts.st_mtime > _YOUNG_SECONDS
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or not is_old:
        raise OSError
    # Not made here: what has no lock is not ours, or of a toolchat that did not know of locks.
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)

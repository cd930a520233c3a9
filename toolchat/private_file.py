"""Files and folders that are this user's alone: made so, checked before they are believed, and never waited for."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from toolchat.wire.errors import ToolchatError

LOCK_SECONDS = 1.0
"""How long another program may hold the lock of a file that is to be changed: a change takes milliseconds."""

OPEN = 0o777
"""The mode of a folder that others may see, as far as the umask lets them."""

_MOST = 16 * 1024**2
_KINDS = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
_told: set[str] = set()


class UnfitFileError(OSError):
    """What stands there cannot be what is looked for; `strerror` says why, and what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


class NotAFileError(UnfitFileError):
    """It is something else than a file."""


class TooLargeError(UnfitFileError):
    """The file is larger than it may be."""


def private_folder(folder: Path) -> Path:
    """As `make_folder`; one of the user's that is there already, and that others may write in, is closed to them."""
    make_folder(folder)
    _close(folder)
    return folder


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make `folder` where it is missing, and each level above it that is missing too, for this user alone.

    `OPEN` is for what others may see, such as the cache of a library.

    Raises OSError where it cannot be made, and where something else than a folder stands there.
    """
    missing = []
    level = folder
    while not level.exists():
        missing.append(level)
        level = level.parent
    for level in reversed(missing):
        # Not mkdir(parents=True): that gives its mode to the last level only.
        with suppress(FileExistsError):
            level.mkdir(mode=mode)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def open_file(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a regular file, and nothing else: a pipe or a device would be waited for, for ever. Raises OSError."""
    with suppress(FileNotFoundError):
        _check_kind(path, path.stat())
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        _check_kind(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: Path, most: int) -> bytes:
    """What a regular file holds, if that is at most `most` bytes. Raises OSError, TooLargeError among them."""
    with os.fdopen(open_file(path, os.O_RDONLY), "rb") as file:
        # By its size too: a sparse file of gigabytes costs nothing on disk, and all of it in memory.
        if os.fstat(file.fileno()).st_size <= most and len(data := file.read(most + 1)) <= most:
            return data
    raise TooLargeError(errno.EFBIG, f"is larger than {_size(most)}", str(path))


def no_file(path: Path) -> str | None:
    """What stands at `path` instead of a file, and what to do; None for a file, and where there is nothing."""
    return _unfit(path, stat.S_IFREG, "a file")


def no_folder(path: Path) -> str | None:
    """As `no_file`, for a folder."""
    return _unfit(path, stat.S_IFDIR, "a folder")


def distrusted(path: Path) -> str | None:
    """Why what this file says should not be believed: others may have written it. None where nothing speaks against it.

    A missing file says nothing that could be believed.
    """
    try:
        facts = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None  # whoever opens it says what it is; nobody should change the mode of a device
    if facts.st_uid not in (os.geteuid(), 0):
        return "it belongs to another user"
    if facts.st_mode & stat.S_IWOTH or (facts.st_mode & stat.S_IWGRP and not _own_group(facts.st_gid)):
        return "others may write it; run: chmod go-w"
    return None


def ignore(path: Path, why: str) -> None:
    """Tell the user, once, that a file is not used."""
    text = f"{path} is ignored: {why}"
    if text not in _told:
        _told.add(text)
        # Paths are others' text.
        shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
        with suppress(OSError):
            print(f"toolchat: {shown}", file=sys.stderr, flush=True)


class PrivateFile:
    """A JSON file with mode 0600, replaced as a whole and under a lock: a reader never sees half of it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Any:
        """What it holds; None where it is missing, cannot be read, is not JSON, or may be by somebody else.

        Raises:
            ToolchatError: something else than a file stands there.
        """
        try:
            _close(self._path.parent)
            if (why := distrusted(self._path)) is not None:
                ignore(self._path, why)
                return None
            return json.loads(read_file(self._path, _MOST))
        except NotAFileError as error:
            raise ToolchatError(f"{self._path}: {error.strerror}") from None
        except TooLargeError as error:
            ignore(self._path, f"it {error.strerror}")
            return None
        except (OSError, ValueError, RecursionError):
            return None

    def change(self, change: Callable[[Any], Any]) -> None:
        """Write what `change` makes of what `read` returns, with nobody else changing it meanwhile.

        Raises:
            ToolchatError: it cannot be written, or another program keeps its lock.
        """
        from filelock import FileLock, Timeout

        lock = self._path.with_suffix(".lock")
        try:
            private_folder(self._path.parent)
            with FileLock(lock, timeout=LOCK_SECONDS, mode=0o600):
                self._write(change(self.read()))
        except Timeout:
            raise ToolchatError(
                f"{self._path}: another program has held {lock.name} for more than a second; end that program"
            ) from None
        except OSError as error:
            raise ToolchatError(
                f"{self._path}: cannot be written ({error.strerror}); make the folder writable"
            ) from None

    def _write(self, data: Any) -> None:
        # mkstemp makes the file with mode 0600; the rename puts it there whole or not at all.
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(data, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def _check_kind(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise NotAFileError(errno.EINVAL, _in_the_way(_kind(facts), "a file"), str(path))


def _unfit(path: Path, kind: int, expected: str) -> str | None:
    try:
        facts = path.stat()
    except OSError:
        return _in_the_way("a link that leads nowhere", expected) if _is_link(path) else None
    return _in_the_way(_kind(facts), expected) if stat.S_IFMT(facts.st_mode) != kind else None


def _is_link(path: Path) -> bool:
    with suppress(OSError):  # it is below what may not be looked into
        return path.is_symlink()
    return False


def _kind(facts: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(facts.st_mode), "a device")


def _in_the_way(kind: str, expected: str) -> str:
    return f"is {kind}; expected {expected}; remove it, or move it away"


def _close(folder: Path) -> None:
    """Take from others the right to write in a folder of this user's."""
    with suppress(OSError):
        facts = folder.stat()
        if facts.st_uid == os.geteuid() and facts.st_mode & 0o022:
            folder.chmod(stat.S_IMODE(facts.st_mode) & ~0o022)


def _own_group(group: int) -> bool:
    """Whether nobody else is in it: many systems give each user a group of the same name, and files its rights."""
    import grp
    import pwd

    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and entry.gr_name == user.pw_name and set(entry.gr_mem) <= {user.pw_name}


def _size(most: int) -> str:
    return f"{most // 1024**2} MiB" if most >= 1024**2 else f"{most // 1024} KiB"

"""Files and folders that are this user's alone: made so, checked before they are believed, and never waited for.

A file is believed by the whole way to it: whoever may rename a folder, or owns a link, decides what is found behind it.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import secrets
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Collection, Iterator
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
_MOST_STEPS = 1000
"""Of a way through folders and links; the kernel follows 40 links."""
_told: set[str] = set()


class UnfitFileError(OSError):
    """What stands there cannot be what is looked for; `strerror` says why, and what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


class NotAFileError(UnfitFileError):
    """It is something else than a file."""


class TooLargeError(UnfitFileError):
    """The file is larger than it may be."""


class DistrustedError(UnfitFileError):
    """Others may have made it, or what is in it."""


def private_folder(folder: Path, doubtful: str = "*.json") -> Path:
    """As `make_folder`; one of the user's that is there already, and that others may write in, is closed to them.

    What lies in a folder that has to be closed, and whose name is like `doubtful`, may be by others: it is set aside
    under another name.

    Raises:
        DistrustedError: the folder is not the user's, or others decide what is found under its name.
    """
    # Whose it is comes first: behind a link of another user's, a folder of the user's own would be changed.
    _check_way(folder, only_owners=True)
    make_folder(folder)
    _close(folder, doubtful)
    _check_way(folder)
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


def open_private(path: Path, flags: int) -> int:
    """As `open_file`, for a file of the user's own, to be written or read.

    Raises:
        DistrustedError: others decide what is found at `path`; a link of theirs would lead to any file of the user's.
    """
    _check_way(path)
    descriptor = open_file(path, flags & ~os.O_TRUNC)
    try:
        facts = os.fstat(descriptor)
        if not _own(facts):
            raise DistrustedError(errno.EPERM, "it belongs to another user", str(path))
        if facts.st_nlink > 1 and flags & os.O_ACCMODE != os.O_RDONLY:
            raise DistrustedError(errno.EPERM, "another file shares its content (a hard link); remove it", str(path))
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_file(path: Path, most: int) -> bytes:
    """What a regular file holds, if that is at most `most` bytes. Raises OSError, TooLargeError among them."""
    return _content(open_file(path, os.O_RDONLY), path, most)


def read_believed(path: Path, most: int) -> bytes:
    """As `read_file`, of what nobody else can have written.

    Raises:
        DistrustedError: others may have written it, or decide what is found at `path`.
    """
    return _content(_open_believed(path), path, most)


def write_whole(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Put a file there with mode 0600, whole or not at all: a failure leaves nothing beside it. Raises OSError.

    With `sync` it is on the disk before it takes the place of what was there.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
        os.close(_open_believed(path))
    except DistrustedError as error:
        return str(error)
    except OSError:
        return None  # whoever reads it says what is wrong
    return None


def steps(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and link on the way to `path`, from the root on, and what is there; through links, to their ends.

    Ends where something is missing, or cannot be looked at.
    """
    here = Path("/")
    with suppress(OSError):
        rest = deque((path if path.is_absolute() else Path.cwd() / path).parts[1:])
        for _ in range(_MOST_STEPS):
            facts = here.lstat()
            yield here, facts
            if stat.S_ISLNK(facts.st_mode):
                target = here.readlink()
                rest.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
                here = Path("/") if target.is_absolute() else here.parent
            if not rest:
                return
            part = rest.popleft()
            here = here.parent if part == ".." else here / part


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
            with suppress(OSError):
                _check_way(self._path.parent, only_owners=True)
                _close(self._path.parent, "*.json")
            return json.loads(read_believed(self._path, _MOST))
        except NotAFileError as error:
            raise ToolchatError(f"{self._path}: {error.strerror}") from None
        except DistrustedError as error:
            ignore(self._path, str(error))
            return None
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
        except DistrustedError as error:
            raise ToolchatError(f"{self._path}: is not written: {error}") from None
        except OSError as error:
            raise ToolchatError(
                f"{self._path}: cannot be written ({error.strerror}); make the folder writable"
            ) from None

    def _write(self, data: Any) -> None:
        write_whole(self._path, json.dumps(data, indent=1).encode(), sync=True)


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


def _content(descriptor: int, path: Path, most: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        # By its size too: a sparse file of gigabytes costs nothing on disk, and all of it in memory.
        if os.fstat(file.fileno()).st_size <= most and len(data := file.read(most + 1)) <= most:
            return data
    raise TooLargeError(errno.EFBIG, f"is larger than {_size(most)}", str(path))


def _open_believed(path: Path) -> int:
    facts = path.stat()
    _check_way(path)
    _check_believed(path, facts)  # it may be one that cannot be opened
    descriptor = open_file(path, os.O_RDONLY)
    try:
        _check_believed(path, os.fstat(descriptor), descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_believed(path: Path, facts: os.stat_result, descriptor: int | None = None) -> None:
    _check_kind(path, facts)  # nobody should change the mode of a device
    if not _own(facts):
        raise DistrustedError(errno.EPERM, "it belongs to another user", str(path))
    if _others_write(path if descriptor is None else descriptor, facts):
        raise DistrustedError(errno.EPERM, "others may write it; run: chmod go-w", str(path))


def _check_way(path: Path, *, only_owners: bool = False) -> None:
    """Raise DistrustedError where others decide what is found at `path`, by a folder or link on the way to it.

    The folders that hold the home folder are the system's.
    """
    above: Collection[Path] = ()
    with suppress(RuntimeError):  # a user without one
        above = Path.home().resolve().parents
    for place, facts in steps(path):
        if stat.S_ISREG(facts.st_mode) or place in above:
            continue
        if not _own(facts):
            # Whoever made a link decides where it leads, even where the folder is closed to them by now.
            whose = "it" if place == path else f"{place}, on the way to it,"
            raise DistrustedError(errno.EPERM, f"{whose} belongs to another user", str(path))
        # In a sticky folder nobody removes or renames what others have there.
        closed = only_owners or not stat.S_ISDIR(facts.st_mode) or bool(facts.st_mode & stat.S_ISVTX)
        if not closed and _others_write(place, facts):
            raise DistrustedError(errno.EPERM, f"others may write in {place}; run: chmod go-w {place}", str(path))


def _own(facts: os.stat_result) -> bool:
    return facts.st_uid in (os.geteuid(), 0)


def _others_write(place: Path | int, facts: os.stat_result) -> bool:
    """Whether somebody else than the user and root may write there, by its mode or its access control list."""
    if facts.st_mode & stat.S_IWOTH:
        return True
    # With a list the group's bits are the most that it gives to anybody named in it.
    return bool(facts.st_mode & stat.S_IWGRP) and (not _own_group(facts.st_gid) or _has_list(place))


def _has_list(place: Path | int) -> bool:
    try:
        return bool(os.getxattr(place, "system.posix_acl_access"))
    except OSError:
        return False


def _close(folder: Path, doubtful: str) -> None:
    """Take from others the right to write in a folder of this user's, and set aside what they may have put there."""
    facts = folder.stat()
    if facts.st_uid != os.geteuid() or not facts.st_mode & 0o022:
        return
    others = _others_write(folder, facts)
    folder.chmod(stat.S_IMODE(facts.st_mode) & ~0o022)
    for path in sorted(folder.glob(doubtful)) if others else ():
        aside = path.with_name(f"{path.name}.set-aside-{secrets.token_hex(4)}")
        path.rename(aside)
        ignore(path, f"others could write in its folder; it is set aside as {aside.name}")


@functools.cache
def _own_group(group: int) -> bool:
    """Whether nobody else is in it: many systems give each user a group of the same name, and files its rights."""
    import grp
    import pwd

    try:
        user, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
    except KeyError:
        return False
    if user.pw_gid != group or entry.gr_name != user.pw_name or not set(entry.gr_mem) <= {user.pw_name}:
        return False
    # Who has it as the group that comes with the account is not listed in it.
    return all(other.pw_gid != group or other.pw_uid == user.pw_uid for other in pwd.getpwall())


def _size(most: int) -> str:
    return f"{most // 1024**2} MiB" if most >= 1024**2 else f"{most // 1024} KiB"

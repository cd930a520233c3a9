"""Describes what the operating system refused in one line that names the place and the remedy, such as a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

NO_FOLDER = "the working directory has been deleted; change to a folder that is there"

_REMEDIES = {
    errno.ENOSPC: "make room there, or write elsewhere",
    errno.EDQUOT: "make room there, or write elsewhere",
    errno.EFBIG: "write elsewhere, or raise the limit with: ulimit -f",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "give yourself the right to it, or choose another place",
    errno.EPERM: "give yourself the right to it, or choose another place",
    errno.EIO: "look at the device, or choose another place",
    errno.ESTALE: "mount it again, or choose another place",
    errno.ENOMEM: "end other programs, or raise the limit of memory (ulimit -v, or the container's)",
    errno.EMFILE: "raise the limit of open files with: ulimit -n 1024",
    errno.ENFILE: "end other programs: the system has no more open files to give",
    errno.EAGAIN: "end other programs, or raise the limit of processes with: ulimit -u",
}
"""Of what the environment refuses, whatever was tried."""

_OF_PLACES = {
    errno.ENOENT: "make it, or choose another place",
    errno.ENOTDIR: "choose a place that is below a folder",
    errno.EISDIR: "name a file",
    errno.EEXIST: "remove it, or choose another place",
    errno.ENOTEMPTY: "empty it, or choose another place",
    errno.ELOOP: "mend its links, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ETXTBSY: "end the program that uses it",
    errno.ENXIO: "choose another place",
    errno.ENODEV: "choose another place",
    errno.EBADF: "open it the other way, or leave the redirection out",
}
"""The same, where it is said of which place: without one they may be the program's own mistakes."""


def refused(error: BaseException) -> str | None:
    """What the system refused, and what to do about it; None where `error` may be the program's own fault."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MemoryError):
        return f"there is not enough memory; {_REMEDIES[errno.ENOMEM]}"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return f"no further thread can be started; {_REMEDIES[errno.EAGAIN]}"
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if error.errno == errno.ENOENT and "temporary directory" in str(error.strerror):
        return f"no temporary folder can be written; set TMPDIR to one that can ({error.strerror})"
    if error.errno == errno.ENOENT and error.filename in (None, "", ".") and working_folder() is None:
        return NO_FOLDER
    remedy = _REMEDIES.get(error.errno)
    if error.filename is None or isinstance(error.filename, int):
        return f"{_reason(error)}; {remedy}" if remedy is not None else None
    remedy = remedy or _OF_PLACES.get(error.errno)
    place = os.fsdecode(error.filename)
    return f"{place}: {_reason(error)}; {remedy}" if remedy is not None else None


_WANTING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)


def wanting(error: BaseException) -> str | None:
    """As `refused`, but only where the machine or the place that this process is in is the reason, whatever code ran: a
    file that is not there may be the mistake of who named it."""
    why = refused(error)
    by_itself = not isinstance(error, OSError) or error.errno in _WANTING
    return why if by_itself or why == NO_FOLDER else None


def working_folder() -> Path | None:
    """The folder that this process is in; None where it has been deleted, or cannot be reached."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _reason(error: OSError) -> str:
    return str(error.strerror or os.strerror(error.errno or 0))

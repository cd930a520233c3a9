"""The three standard streams as a program may find them: closed, one-way, full, not waiting, in any encoding."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import sys
from typing import Any, BinaryIO, TextIO, cast

_BYTES = 65536


class OutputError(OSError):
    """What is written to a standard stream has nowhere to go: a full disk, a terminal that is gone."""


def open_standard_streams() -> None:
    """Have three streams that work: what is written is all written, and what the encoding lacks is replaced.

    One that the caller closed leads nowhere: the next file opened would take its number. So does a standard input that
    cannot be read, as nohup(1) gives one.
    """
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, and that is this one.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)
    if fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        lead_nowhere(0)
    if _is_own(sys.stdout, sys.__stdout__, 1):
        sys.stdout = _rewrapped(sys.stdout, "standard output", optional=False)
    if _is_own(sys.stderr, sys.__stderr__, 2):
        sys.stderr = _rewrapped(sys.stderr, "standard error", optional=True)


def lead_nowhere(number: int) -> None:
    """Have a descriptor lead to /dev/null from now on."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def read_some(fd: int) -> bytes:
    """What can be read next, waited for where there is nothing yet; empty at the end. Raises OSError.

    Another program that has the same pipe or terminal open may have said that nobody waits for it.
    """
    while True:
        try:
            return os.read(fd, _BYTES)
        except BlockingIOError:
            _wait(fd, select.POLLIN)


def read_all(fd: int) -> bytes:
    """All that comes, up to the end. Raises OSError."""
    return b"".join(iter(lambda: read_some(fd), b""))


class _Output(io.RawIOBase):
    """A descriptor that takes everything: one that would not wait is waited for.

    Its errors name it. Where it is optional there are none, but that nobody reads it any more: an answer is not to be
    lost because a log is full.
    """

    def __init__(self, fd: int, place: str, *, optional: bool) -> None:
        self._fd = fd
        self._place = place
        self._optional = optional
        self.name = f"<{place}>"

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                _wait(self._fd, select.POLLOUT)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    raise
                if self._optional:
                    break
                raise OutputError(error.errno, error.strerror, self._place) from None
        return size


def _wait(fd: int, what: int) -> None:
    poll = select.poll()
    poll.register(fd, what)
    poll.poll()


def _is_own(stream: TextIO | None, first: TextIO | None, number: int) -> bool:
    """Whether it is what Python itself made of the descriptor, and not what a caller has put in its place."""
    return isinstance(stream, io.TextIOWrapper) and stream is first and stream.fileno() == number


def _rewrapped(stream: TextIO, place: str, *, optional: bool) -> TextIO:
    assert isinstance(stream, io.TextIOWrapper)
    errors = "replace" if stream.errors in ("strict", "surrogateescape") else stream.errors
    output = _Output(stream.fileno(), place, optional=optional)
    # Without a buffer between: one would write again what was written when a signal's handler raised.
    return io.TextIOWrapper(
        cast("BinaryIO", output),
        encoding=stream.encoding,
        errors=errors,
        line_buffering=stream.line_buffering,
        write_through=True,
    )

"""Looking at files, and only at those under the working directory; nothing here writes or follows a link out.

Hidden files stay hidden: no name that begins with a dot is listed, opened or passed through.
"""

from __future__ import annotations

import fnmatch
import os
import unicodedata
from codecs import getincrementaldecoder

from toolchat.samples.confined import opened

_MAX_BYTES = 64 * 1024
_MAX_NAMES = 500
_MAX_PATTERN = 200


def list_files(path: str, pattern: str | None = None) -> str:
    """List the files under a path in the working directory.

    Args:
        path: Folder to list, '.' for the current one
        pattern: Only names that match, e.g. '*.txt'

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: the path is a file.
        PermissionError: the path is hidden, leads out of the working directory, or may not be read.
        ValueError: the pattern is too long or holds a "/".
    """
    if pattern is not None and ("/" in pattern or len(pattern) > _MAX_PATTERN):
        raise ValueError("pattern must match the names in one folder, such as *.txt")
    with opened(path, folder=True) as fd, os.scandir(fd) as entries:
        names = sorted(_shown(entry) for entry in entries if not entry.name.startswith("."))
    if not names:
        return "(empty)"
    if pattern:
        names = [name for name in names if fnmatch.fnmatchcase(_composed(name.rstrip("/")), _composed(pattern))]
        if not names:
            return f"No files match {pattern}."
    more = len(names) - _MAX_NAMES
    return "\n".join(names[:_MAX_NAMES]) + (f"\n... and {more} more" if more > 0 else "")


def read_file(path: str, max_lines: int | None = None) -> str:
    """Read a text file and return its contents.

    Args:
        path: Path of the file
        max_lines: Read at most this many lines

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a folder.
        PermissionError: the path is hidden, leads out of the working directory, or may not be read.
        ValueError: the file is not text, or max_lines is less than 1.
    """
    if max_lines is not None and max_lines < 1:
        raise ValueError(f"max_lines must be at least 1 (got {max_lines})")
    with opened(path, folder=False) as fd:
        size = os.fstat(fd).st_size
        data = _head(fd)
    cut = len(data) > _MAX_BYTES
    text = _text(path, data[:_MAX_BYTES], cut)
    lines = text.splitlines(keepends=True)
    if max_lines is not None and len(lines) > max_lines:
        return "".join(lines[:max_lines]).rstrip("\n")
    if cut:
        return f"{text}\n... (cut: these are the first {_MAX_BYTES} of {max(size, len(data))} bytes)"
    return text.rstrip("\n") or "(empty)"


def _shown(entry: os.DirEntry[str]) -> str:
    """A folder's name ends in a slash; what does not print is escaped, so that a name stays one line."""
    name = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in entry.name)
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name


def _composed(name: str) -> str:
    """A letter and its accent as one character, which people and models write, whatever the file system has."""
    return unicodedata.normalize("NFC", name)


def _head(fd: int) -> bytes:
    """At most one byte more than is shown, so that a longer file is noticed."""
    chunks: list[bytes] = []
    left = _MAX_BYTES + 1
    while left and (chunk := os.read(fd, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _text(path: str, data: bytes, cut: bool) -> str:
    """`data` as UTF-8 with plain newlines; a character that the cut halved is dropped."""
    decoder = getincrementaldecoder("utf-8-sig")()
    try:
        text = decoder.decode(data, final=not cut)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not a text file") from None
    if "\0" in text:
        raise ValueError(f"{path} is not a text file")
    return text.replace("\r\n", "\n")

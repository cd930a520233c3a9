"""Looking at files, and only at those under the working directory; nothing here writes or follows a link out.

Hidden files stay hidden: no name that begins with a dot is listed, opened or passed through. Links are resolved once
and the resolved path is checked; then it is walked from the working directory folder by folder, following no link at
all, however folders are changed meanwhile: a link swapped in after the check makes the walk fail.
"""

from __future__ import annotations

import fnmatch
import os
import stat
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_BYTES = 64 * 1024
_MAX_NAMES = 500
_MAX_PATTERN = 200

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: where a pipe takes the file's place after the check, opening it must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


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
    with _opened(path, folder=True) as fd, os.scandir(fd) as entries:
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
    with _opened(path, folder=False) as fd:
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


@contextmanager
def _opened(path: str, folder: bool) -> Iterator[int]:
    """A descriptor of the folder, or of the regular file, that `path` names; closed at the end.

    Raises:
        FileNotFoundError, IsADirectoryError, NotADirectoryError: there is no such file, or folder.
        PermissionError: the path is hidden, leads out of the working directory, or may not be read.
        ValueError: the path is neither a regular file nor a folder (a pipe, a device).
    """
    descriptor = _open(path, folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: str, folder: bool) -> int:
    missing = FileNotFoundError(f"no such {'folder' if folder else 'file'}: {path}")
    parts = _parts(path, missing)
    try:
        return _walk(path, parts, folder)
    except FileNotFoundError:
        raise missing from None
    except NotADirectoryError:
        raise (NotADirectoryError(f"{path} is a file, not a folder") if folder else missing) from None
    except PermissionError as error:
        # Ours has a message alone; the system's has an errno and would show the resolved name.
        raise (error if error.errno is None else PermissionError(f"{path} may not be read")) from None
    except OSError as error:
        if error.errno is None:
            raise
        raise missing from None


def _parts(path: str, missing: FileNotFoundError) -> tuple[str, ...]:
    """The names from the working directory down to what `path` resolves to."""
    if "\0" in path:
        raise missing
    given = Path(path).parts
    if any(part.startswith(".") and part != ".." for part in given):
        raise PermissionError(f"{path} is hidden: names that begin with a dot stay closed")
    path = _spelled(path)
    root = Path(os.path.realpath("."))
    try:
        resolved = Path(os.path.realpath(path))
    except (OSError, UnicodeError):
        raise missing from None
    if not resolved.is_relative_to(root):
        raise PermissionError(f"{path} is outside the working directory")
    parts = resolved.relative_to(root).parts
    if any(part.startswith(".") for part in parts):
        raise PermissionError(f"{path} is hidden: names that begin with a dot stay closed")
    return parts


def _spelled(path: str) -> str:
    """`path` with each name as its folder has it, where only the way differs in which its accents are written."""
    if path.isascii():
        return path
    spelled = Path()
    for part in Path(path).parts:
        if not part.isascii() and not os.path.lexists(spelled / part):
            spelled /= _name_in(spelled, part)
        else:
            spelled /= part
    return str(spelled)


def _name_in(folder: Path, name: str) -> str:
    wanted = unicodedata.normalize("NFC", name)
    try:
        with os.scandir(folder) as entries:
            same = (entry.name for entry in entries if unicodedata.normalize("NFC", entry.name) == wanted)
            return min(same, default=name)
    except OSError:
        return name


def _walk(path: str, parts: tuple[str, ...], folder: bool) -> int:
    """Open `parts` one below the other from the working directory, following no link."""
    current = os.open(".", _FOLDER)
    try:
        for part in parts if folder else parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = below
        if folder:
            return os.dup(current)
        if not parts:
            raise IsADirectoryError(f"{path} is a folder, not a file")
        return _open_file(path, parts[-1], current)
    finally:
        os.close(current)


def _open_file(path: str, name: str, parent: int) -> int:
    # Looked at before it is opened: to open a device can already have an effect.
    _check_regular(path, os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    descriptor = os.open(name, _FILE, dir_fd=parent)
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is not a regular file")

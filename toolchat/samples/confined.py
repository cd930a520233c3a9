"""Opening a path under the working directory, and nothing else, however its folders are changed meanwhile.

Links are resolved once and the resolved path is checked; then it is walked from the working directory
folder by folder, following no link at all. A link swapped in after the check makes the walk fail.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: where a pipe takes the file's place after the check, opening it must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(path: str, folder: bool) -> Iterator[int]:
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

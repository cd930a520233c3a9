from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from toolchat.environment import NO_FOLDER, refused


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device; make room there"),
        (OSError(errno.EROFS, "Read-only file system", b"/a"), "/a: Read-only file system; choose a place"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files; raise the limit of open files with: ulim"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory; end other programs"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "Resource temporarily unavailable; end"),
        (MemoryError(), "there is not enough memory; end other programs"),
        (RuntimeError("can't start new thread"), "no further thread can be started; end other programs"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a/b"), "/a/b: Not a directory; choose a place"),
        (ExceptionGroup("several", [MemoryError()]), "there is not enough memory"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "no temporary folder can be written; set TMPDIR to one that can",
        ),
    ],
)
def test_what_the_system_refuses_is_a_line_with_the_place_and_the_remedy(error: Exception, line: str) -> None:
    told = refused(error)
    assert told is not None
    assert told.startswith(line)
    assert "\n" not in told


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        OSError("without a number"),
        OSError(errno.EBADF, "Bad file descriptor"),
        OSError(errno.EINVAL, "Invalid argument"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        RuntimeError("x"),
    ],
)
def test_what_may_be_the_programs_own_fault_is_not_explained_away(error: Exception) -> None:
    assert refused(error) is None


def test_a_deleted_working_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()  # noqa: PTH109
    assert refused(caught.value) == NO_FOLDER

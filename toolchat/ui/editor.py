"""The user's own editor: which one it is, and the file that a question is written in."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from toolchat.private_file import UnfitFileError, read_file
from toolchat.wire.errors import UsageError

MOST_BYTES = 1024**2
NO_EDITOR = "There is no editor: set EDITOR to one, such as nano or vim."
_USUAL = ("nano", "vi", "vim", "emacs")


def editor_of(environment: Mapping[str, str]) -> list[str] | None:
    """The editor's command and its arguments, by VISUAL and EDITOR, else one that is usual; None without any."""
    for name in ("VISUAL", "EDITOR"):
        written = environment.get(name, "").strip()
        if written:
            try:
                return shlex.split(written) or None
            except ValueError:
                return [written]
    path = environment.get("PATH")
    return next(([name] for name in _USUAL if shutil.which(name, path=path)), None)


@contextmanager
def temporary_text(text: str) -> Iterator[Path]:
    """A file for this user alone that holds `text`, and is gone afterwards with what an editor has left beside it."""
    with tempfile.TemporaryDirectory(prefix="toolchat-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "question.md")
        path.write_text(f"{text}\n" if text else "", encoding="utf-8", errors="replace")
        yield path


def text_of(path: Path) -> str:
    """What was written there. Raises UsageError."""
    try:
        return read_file(path, MOST_BYTES).decode("utf-8").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"what the editor wrote is not text in UTF-8 (byte {error.start})") from None
    except UnfitFileError as error:
        raise UsageError(f"what the editor wrote {error}") from None
    except OSError as error:
        raise UsageError(f"what the editor wrote cannot be read: {error.strerror}") from None

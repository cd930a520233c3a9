"""The user's editor: which one it is, the file that a question is written in, and what was written there."""

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
_USUAL = ("sensible-editor", "editor", "nano", "vi", "vim", "emacs")
"""Tried in this order where neither VISUAL nor EDITOR is set."""


def editor_of(environment: Mapping[str, str]) -> list[str]:
    """The editor's command and its arguments: VISUAL, EDITOR, or a usual one that is installed. Raises UsageError."""
    path = environment.get("PATH")
    for name in ("VISUAL", "EDITOR"):
        if written := environment.get(name, "").strip():
            return _words(name, written, path)
    found = next((place for name in _USUAL if (place := shutil.which(name, path=path))), None)
    if found is None:
        raise UsageError("there is no editor; set EDITOR to one, such as nano or vim")
    return [found]


def ending(code: int) -> str:
    """How an editor has failed: its exit code, negative for a signal, in words that follow its name."""
    return f"has ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"


def _words(name: str, written: str, path: str | None) -> list[str]:
    try:
        words, reason = shlex.split(written), "no program is named"
    except ValueError as error:
        words, reason = [], str(error)
    if not words or not words[0]:
        raise UsageError(f"{name}: expected a command, not {written!r} ({reason}); set it to your editor")
    if shutil.which(words[0], path=path) is None:
        raise UsageError(f"{name}: {words[0]} is no program that can be started; set it to your editor")
    return words


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

"""What `ask` asks: the question as it was given, files, and standard input."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchat.cli.piped import Note, piped_text, read_to_end
from toolchat.wire.errors import UsageError

MAX_TEXT = 16 * 1024**2
"""Bytes of a file: far more than any context holds."""
_LEAVE_OUT = "--no-stdin leaves it out"


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    images: tuple[str, ...] = ()
    """Files of images, by their paths."""


def read_question(given: str | None, files: Sequence[str], *, read_stdin: bool, note: Note) -> Question:
    """The question, the files and what stands on standard input, in this order.

    Raises UsageError where there is no text at all, and for a file that cannot be read or is neither text nor image.
    """
    from toolchat.session.resources import quoted

    texts, images = [_stripped(given or "")], []
    for name in files:
        text = _file(name, note)
        if text is None:
            images.append(name)
        else:
            texts.append(quoted(name, text))
    asked = any(texts)
    if piped := _stripped(piped_text(_LEAVE_OUT, note) if read_stdin else ""):
        texts.append(piped)
        if asked:
            from toolchat.images.image import size_text

            size = size_text(len(piped.encode("utf-8", "surrogatepass")))
            note(f"standard input adds {size} to the question; {_LEAVE_OUT}")
    text = "\n\n".join(text for text in texts if text)
    if not text:
        hint = 'ask -- "-…" for one that begins with "-"'
        pipe = ", or pipe one in" if read_stdin else ""
        raise UsageError(f'there is no question; write toolchat ask "…" ({hint}){pipe}')
    return Question(text, tuple(images))


def _stripped(text: str) -> str:
    # Files that were joined, and one that a shell has read, have further marks of their beginning.
    return re.sub("^\ufeff", "", text, flags=re.MULTILINE).strip()


def _file(name: str, note: Note) -> str | None:
    """The text of a file, or of a pipe such as `<(command)`; None for an image. Raises UsageError."""
    from toolchat.images.image import ACCEPTED, format_of

    data, piped = _bytes(name, note)
    if format_of(data) is not None:
        if piped:
            raise UsageError(f"{name}: an image in a pipe; write it to a file, and give that")
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name}: not text in UTF-8 (byte {error.start}), nor an image; expected text or a {ACCEPTED} image"
        ) from None


def _bytes(name: str, note: Note) -> tuple[bytes, bool]:
    """What a file or pipe holds, and whether it is a pipe. Raises UsageError."""
    try:
        # Not blocking: opening a named pipe would wait for its writer without a word.
        descriptor = os.open(Path(name).expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            facts = os.fstat(descriptor)
            if stat.S_ISFIFO(facts.st_mode):
                return read_to_end(descriptor, name, "Ctrl-C ends it", note), True
            if not stat.S_ISREG(facts.st_mode):
                raise UsageError(f"{name}: not a file; expected a text file or an image")
            data = stream.read(MAX_TEXT + 1)
    except IsADirectoryError:
        raise UsageError(f"{name}: a folder; expected a text file or an image") from None
    except FileNotFoundError:
        raise UsageError(f"{name}: no such file; expected a text file or an image") from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, a home that there is not
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{name}: cannot be read: {reason}") from None
    if len(data) > MAX_TEXT:
        raise UsageError(f"{name}: larger than {MAX_TEXT // 1024**2} MiB; send a part of it")
    return data, False

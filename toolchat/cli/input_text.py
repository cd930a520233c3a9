"""What a command is given to read: the question of `ask`, its files, standard input and the schema of its answer.

Never waits without saying so.
"""

from __future__ import annotations

import json
import math
import os
import re
import select
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.private_file import UnfitFileError, read_file
from toolchat.settings import user_path
from toolchat.wire.errors import UsageError

MAX_TEXT = 16 * 1024**2
"""Bytes of a file: far more than any context holds."""
MAX_SCHEMA = 4 * 1024**2
WAIT_SECONDS = 2.0
"""How long a reading may last before a person is told what is being waited for."""

Note = Callable[[str], None]
"""Tells the user a line that is no error."""

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFREG: "a file", stat.S_IFCHR: "a device"}
_LEAVE_OUT = "--no-stdin leaves it out"
_TYPES = ("null", "boolean", "object", "array", "number", "string", "integer")


def tell(text: str) -> None:
    """A `Note`, on stderr."""
    from toolchat.ui.text.sanitize import sanitize

    print(f"toolchat: {sanitize(text)}", file=sys.stderr, flush=True)


def piped_text(leave_out: str = "</dev/null leaves it out", note: Note = tell) -> str:
    """What stands on standard input, to its end; empty where that is a terminal. Raises UsageError.

    `leave_out` is what a person does who did not mean it.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return read_to_end(sys.stdin.fileno(), "standard input", leave_out, note).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}; {leave_out}") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is not text in UTF-8 (byte {error.start}); pipe text, or {leave_out}"
        ) from None


def read_to_end(descriptor: int, place: str, remedy: str, note: Note) -> bytes:
    """All that comes. Where the end has not come after WAIT_SECONDS, `note` is told what is waited for. Raises OSError.

    Whatever would not wait is waited for; a named pipe that nobody has opened for writing yet is no end either.
    """
    from toolchat.standard_streams import read_some

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    until: float | None = time.monotonic() + WAIT_SECONDS
    parts: list[bytes] = []
    while True:
        ready = poll.poll(None if until is None else max(0, math.ceil((until - time.monotonic()) * 1000)))
        if until is not None and time.monotonic() >= until:
            until = None
            kind = _KINDS.get(stat.S_IFMT(os.fstat(descriptor).st_mode), "a stream")
            size = sum(map(len, parts))
            note(f"reading {place} to its end ({kind}, {size} bytes so far); {remedy}")
        if ready:
            part = read_some(descriptor)
            if not part:
                return b"".join(parts)
            parts.append(part)


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


def read_schema(written: str) -> dict[str, Any]:
    """What --schema names: JSON, which begins with "{"; else a file that is there; else "module:Model".

    Raises UsageError, one line, where there is no such thing, or no JSON Schema in it.
    """
    from toolchat.tools.model_schema import is_reference, model_schema

    if written.lstrip().startswith("{"):
        return _parsed("--schema", written)
    path = user_path(written)
    if is_reference(written) and not path.exists():
        return model_schema(written)
    try:
        text = read_file(path, MAX_SCHEMA).decode("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            f"--schema {written}: no such file; expected a file with a JSON Schema, the schema itself ({{…}}), or "
            "module:Model"
        ) from None
    except UnfitFileError as error:
        raise UsageError(f"--schema {written}: {error.strerror}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"--schema {written}: cannot be read: {reason}") from None
    return _parsed(f"--schema {written}", text)


def _parsed(where: str, text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UsageError(f"{where}: not JSON ({place}: {error.msg}); expected a JSON Schema") from None
    except RecursionError:
        raise UsageError(f"{where}: nested too deeply") from None
    check_schema(where, schema)
    assert isinstance(schema, dict)
    return schema


def check_schema(where: str, schema: Any) -> None:
    """Raise UsageError for what is plainly no JSON Schema. What of one cannot be held to is told with the answer."""
    if not isinstance(schema, dict):
        raise UsageError(f'{where}: expected a JSON Schema, an object such as {{"type": "object", …}}')
    types = schema.get("type", [])
    for one in types if isinstance(types, list) else [types]:
        if one not in _TYPES:
            raise UsageError(f"{where}: type: expected one of {', '.join(_TYPES)}, not {json.dumps(one)[:60]}")
    if not isinstance(schema.get("properties", {}), dict):
        raise UsageError(f"{where}: properties: expected an object with a schema for each property")

"""The text of a result: how long it may be, which characters it holds, and what text bytes are.

`toolchat.tools.values` writes what a function returned, and `toolchat.wire.excerpt` cuts it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

NO_RESULT = "(no result)"
"""What the model is shown of a tool that returns None: an empty result would look like a failure."""

MAX_RESULT = 1024**2
"""Bytes of UTF-8 that a tool's process gives the chat at once. More than any context holds: the cut that the model's
context asks for is made by the chat, of this one and with its numbers."""

MAX_KEPT = 64 * 1024**2
"""Bytes of UTF-8 of a result that go into its file, where it is longer than `MAX_RESULT`."""

MAX_BODY = 1_000_000
"""Bytes of an answer over the network, which may never end."""
_LONGEST_CHARACTER = 4
"""Bytes, in UTF-8, UTF-16 and the encodings of Chinese and Japanese."""
_NO_CHARSETS = frozenset(("idna", "punycode", "raw-unicode-escape", "unicode-escape"))
"""Codecs of Python that no page is written in. They take minutes for what a server may send."""
_MAGIC = (
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"SQLite format 3", "SQLite"),
    (b"\x7fELF", "ELF"),
    (b"ID3", "MP3"),
    (b"OggS", "Ogg"),
    (b"RIFF", "RIFF"),
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` without what UTF-8 or many programs cannot hold, character for character.

    Halves of surrogate pairs become U+FFFD, and NUL, which is taken for the end of a text, becomes U+2400.
    """
    return without_surrogates(text).replace("\0", "\u2400")


def without_surrogates(text: str) -> str:
    """`text` with each half of a surrogate pair, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def of_bytes(data: bytes, charsets: Sequence[str] = ("utf-8",), *, cut: bool = False) -> str:
    """The text in the first of `charsets` that it is text in; what is none is told by its kind and size.

    Args:
        cut: whether more came behind `data`, so that its last character may not be whole.
    """
    for charset in charsets:
        for missing in range(_LONGEST_CHARACTER if cut else 1):
            with suppress(ValueError, LookupError):
                text = data[: len(data) - missing].decode(charset)
                if text and not any(character < " " and character not in "\t\n\r\f" for character in text):
                    return text
                break
    if not data:
        return ""
    kind = next((name for magic, name in _MAGIC if data.startswith(magic)), None)
    return f"[{len(data):,} byte{'s' if len(data) > 1 else ''} of {f'a {kind} file' if kind else 'binary data'}]"


def of_answer(answer: Any) -> tuple[str, str | None]:
    """The text of an answer of urllib or http.client, and a note for below it."""
    status = f" with the status {answer.status}" if answer.status is not None else ""
    # One of http.client reads as empty then, whatever it held; the others of urllib raise.
    if answer.fp is None or getattr(answer, "closed", False):
        return f"[a response{status} that was read or closed before; return what its read() gives]", None
    body = answer.read(MAX_BODY + 1)
    cut = len(body) > MAX_BODY
    text = of_bytes(body[:MAX_BODY], (*_declared(answer.headers.get_content_charset()), "utf-8"), cut=cut)
    return text, f"the text of a response{status}{f', its first {MAX_BODY:,} bytes' if cut else ''}"


def _declared(charset: str | None) -> list[str]:
    """The codec of a charset that a server names; none where it names none that there is."""
    with suppress(LookupError, ValueError):
        name = codecs.lookup(charset or "").name
        return [] if name in _NO_CHARSETS else [name]
    return []

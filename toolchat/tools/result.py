"""Turns what a function returned or raised into the text for the model: valid UTF-8, of bounded size."""

from __future__ import annotations

import re
from typing import Any

from toolchat.tools.values import raised_text, value_text

NO_RESULT = "(no result)"
"""What the model is shown of a tool that returns None: an empty result would look like a failure."""

MAX_RESULT = 1024**2
"""Bytes of UTF-8. More than any context holds: the cut that the model's context asks for is made by the chat."""

_MAX_ERROR = 2000
_HEAD_SHARE = 2 / 3
_SURROGATE = re.compile("[\ud800-\udfff]")


def result_text(value: Any) -> str:
    """A string as it is, None as "(no result)", anything else as `values` writes it; see `bounded`."""
    return NO_RESULT if value is None else bounded(value_text(value))


def error_text(error: BaseException) -> str:
    """ "Error: ValueError: unknown time zone: Mars", from whatever was raised. Never raises."""
    text = bounded(raised_text(error), _MAX_ERROR * 8)
    most = len(type(error).__name__) + len(": ") + _MAX_ERROR
    return f"Error: {text}" if len(text) <= most else f"Error: {text[:most]}..."


def bounded(text: str, limit: int = MAX_RESULT) -> str:
    """`text` in about `limit` bytes: whole, or head and tail with a line between them that says what is missing.

    Halves of surrogate pairs, which UTF-8 cannot hold, become U+FFFD, and NUL, which many programs take for the
    end of a text, becomes U+2400.
    """
    if len(text) <= limit:
        whole = _clean(text)
        if len(whole.encode()) <= limit:
            return whole
    head_bytes = int(limit * _HEAD_SHARE)
    tail_bytes = limit - head_bytes
    head = _clean(text[:head_bytes]).encode()[:head_bytes].decode("utf-8", "ignore")
    tail = _clean(text[-tail_bytes:]).encode()[-tail_bytes:].decode("utf-8", "ignore")
    missing = len(text) - len(head) - len(tail)
    return f"{head}\n[… {missing:,} of {len(text):,} characters are left out here …]\n{tail}"


def without_surrogates(text: str) -> str:
    """`text` with each half of a surrogate pair, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def _clean(text: str) -> str:
    return without_surrogates(text).replace("\0", "\u2400")

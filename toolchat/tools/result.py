"""Turns what a function returned or raised into text that UTF-8 can hold; `toolchat.wire.excerpt` cuts it."""

from __future__ import annotations

import re
from typing import Any

from toolchat.tools.values import raised_text, value_text
from toolchat.wire.excerpt import shortened

NO_RESULT = "(no result)"
"""What the model is shown of a tool that returns None: an empty result would look like a failure."""

MAX_RESULT = 1024**2
"""Bytes of UTF-8 that a tool's process gives the chat at once. More than any context holds: the cut that the model's
context asks for is made by the chat, of this one and with its numbers."""

MAX_KEPT = 64 * 1024**2
"""Bytes of UTF-8 of a result that go into its file, where it is longer than `MAX_RESULT`."""

_MAX_ERROR = 2000
_SURROGATE = re.compile("[\ud800-\udfff]")


def result_text(value: Any) -> str:
    """A string as it is, None as "(no result)", anything else as `values` writes it; however long, and clean."""
    return NO_RESULT if value is None else clean(value_text(value))


def error_text(error: BaseException) -> str:
    """ "Error: ValueError: unknown time zone: Mars", from whatever was raised. Never raises."""
    kind, colon, message = clean(raised_text(error)).partition(": ")
    return f"Error: {kind}{colon}{shortened(message, _MAX_ERROR)}"


def clean(text: str) -> str:
    """`text` without what UTF-8 or many programs cannot hold, character for character.

    Halves of surrogate pairs become U+FFFD, and NUL, which is taken for the end of a text, becomes U+2400.
    """
    return without_surrogates(text).replace("\0", "\u2400")


def without_surrogates(text: str) -> str:
    """`text` with each half of a surrogate pair, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)

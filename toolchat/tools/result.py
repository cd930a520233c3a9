"""What a function returned or raised, as the text that the model is shown. Pure, and never raises."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import to_jsonable_python

NO_RESULT = "(no result)"
"""What the model is shown of a tool that returns None: an empty result would look like a failure."""

_MAX_ERROR = 2000
_SURROGATE = re.compile("[\ud800-\udfff]")


def result_text(value: Any) -> str:
    """A string as it is, None as "(no result)", anything else as JSON.

    Raises:
        TypeError: the value cannot be written as JSON.
    """
    if value is None:
        return NO_RESULT
    if isinstance(value, str):
        return str(value)
    try:
        # json.dumps rather than pydantic's writer: its spacing is the one that models are trained on, and it
        # does not fail on half of a surrogate pair.
        return json.dumps(to_jsonable_python(value, inf_nan_mode="constants"), ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        raise TypeError(f"the tool returned a {type(value).__name__}, which cannot be written as JSON") from None


def error_text(error: BaseException) -> str:
    """ "Error: ValueError: unknown time zone: Mars", from whatever was raised."""
    try:
        message = str(error).strip()
    except Exception:
        message = "its message cannot be shown"
    if len(message) > _MAX_ERROR:
        message = f"{message[:_MAX_ERROR]}..."
    kind = type(error).__name__
    return f"Error: {kind}: {message}" if message else f"Error: {kind}"


def without_surrogates(text: str) -> str:
    """`text` with each half of a surrogate pair, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)

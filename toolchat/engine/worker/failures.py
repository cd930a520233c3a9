"""Reduces an engine's failure to one line: vLLM wraps its reasons in pages of pydantic or tracebacks."""

from __future__ import annotations

import re

from toolchat.engine.config import EngineConfig
from toolchat.wire.errors import EngineError

TO_THE_CPU = "for the CPU, install its engine: make EXTRA=cpu install"

_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning)\b(:|$)")
"""The last line of a traceback."""

_PYDANTIC = re.compile(r"\d+ validation errors? for .+")
"""The first line of pydantic's messages; the second names a field, the third says what is wrong with it."""

_NO_MEMORY = (
    "Free memory on device",
    "No available memory for the cache blocks",
    "to serve even a single token",
    "KV cache is needed",
    "out of memory",
    "OutOfMemoryError",
)
"""Of vLLM's and torch's messages, those that mean that the GPU's memory does not suffice."""


def one_line(error: BaseException) -> str:
    """The most telling line of an exception."""
    if isinstance(error, EngineError):
        return str(error)
    rows = [row.strip() for row in str(error).splitlines() if row.strip()]
    text = _telling(rows).split(" [type=")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def why_not_loaded(error: BaseException, config: EngineConfig) -> str:
    """`one_line`, and what to do, where that is known."""
    line = one_line(error)
    if isinstance(error, EngineError) or config.device == "cpu":
        return line
    whole = f"{type(error).__name__} {error}"
    if any(words in whole for words in _NO_MEMORY):
        return (
            f"the GPU's memory does not suffice ({line}); close other programs on it, give more of it (--gpu-memory), "
            f"or take a smaller model"
        )
    if type(error).__name__ == "CalledProcessError":
        return (
            f"a command that compiles code for the GPU failed ({line}); it needs a C compiler and Python's headers: "
            "Debian, Ubuntu: apt install gcc python3-dev"
        )
    if config.model == "demo":
        return f"{line}; {TO_THE_CPU}"
    return line


def _telling(rows: list[str]) -> str:
    for row in rows:
        if row.startswith(("Value error,", "Assertion failed,")):
            return row
    if len(rows) > 2 and _PYDANTIC.fullmatch(rows[0]):
        return f"{rows[1]}: {rows[2]}"
    # A traceback within the message, such as that of vLLM's second interpreter: its end tells, not its beginning.
    if any(row.startswith("Traceback (most recent call last)") for row in rows):
        return next((row for row in reversed(rows) if _EXCEPTION.match(row)), rows[-1])
    return rows[0] if rows else ""

"""Calls to ask about, for the tests of both ways to ask."""

from __future__ import annotations

from typing import Any

from toolchat.chat.approval import PendingCall, Validate, fits
from toolchat.engine.scripted import call
from toolchat.tools.toolbox import Tool

WRITE = Tool("write_file", "Write.", {}, "./notes.py:write_file", "write_file()", "t:1:1", source_digest="d")


def pending(validate: Validate = fits, **arguments: Any) -> PendingCall:
    return PendingCall(call("write_file", **arguments), WRITE, validate)

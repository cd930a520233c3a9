"""Says in the words of the API what toolchat says of its flags."""

from __future__ import annotations

import re
from typing import TypeVar

from toolchat.wire.errors import ToolchatError

E = TypeVar("E", bound=BaseException)

_NOT_FLAGS = {"--image": "images", "--yes": 'approve="allow"', "--no-store": "store=False", "--no-tools": "tools=[]"}


def worded(text: str) -> str:
    """What toolchat says of its flags, in the words of the API."""
    from toolchat.settings import SETTINGS

    known = {setting.flag: name for name, setting in SETTINGS.items()} | _NOT_FLAGS
    return re.sub(r"--[a-z][a-z-]*[a-z]", lambda match: known.get(match[0], match[0]), text)


def worded_error(error: E) -> E:
    """The same error, with its message so."""
    if isinstance(error, ToolchatError) and len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (worded(error.args[0]),)
    return error

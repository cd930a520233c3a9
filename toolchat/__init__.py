"""toolchat: a terminal chat with a local Mistral model that can call your Python functions.

`Chat` and `AsyncChat` are the same chat for Python programs, see docs/python.md. Importing this costs next to nothing:
every name is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolchat.api.answers import Answer as Answer
    from toolchat.api.answers import AnswerError as AnswerError
    from toolchat.api.answers import Call as Call
    from toolchat.api.answers import CallRequest as CallRequest
    from toolchat.api.async_chat import AsyncChat as AsyncChat
    from toolchat.api.async_chat import AsyncStream as AsyncStream
    from toolchat.api.chat import Chat as Chat
    from toolchat.api.chat import Stream as Stream
    from toolchat.wire import events as events
    from toolchat.wire.errors import EngineError as EngineError
    from toolchat.wire.errors import ToolchatError as ToolchatError
    from toolchat.wire.errors import UsageError as UsageError

__version__ = "0.1.0"

_HOMES = {
    "Answer": "api.answers",
    "AnswerError": "api.answers",
    "AsyncChat": "api.async_chat",
    "AsyncStream": "api.async_chat",
    "Call": "api.answers",
    "CallRequest": "api.answers",
    "Chat": "api.chat",
    "EngineError": "wire.errors",
    "Stream": "api.chat",
    "ToolchatError": "wire.errors",
    "UsageError": "wire.errors",
    "events": "wire",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOMES[name]}"
    if name == "events":
        return importlib.import_module(f"{home}.events")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

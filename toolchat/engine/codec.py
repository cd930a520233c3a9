"""What crosses the socket between the parent and the engine's worker: one JSON object a line, each way.

To the worker: `generate`, `abort`, `count`. From it: `state`, `ready`, `failed`, `delta`, `error`, `count`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from toolchat.wire.deltas import (
    CallArguments,
    CallEnded,
    CallStarted,
    Delta,
    Finished,
    FinishReason,
    Note,
    Text,
    Thinking,
    Usage,
)
from toolchat.wire.messages import (
    AssistantMessage,
    CallOrigin,
    FailedCall,
    Image,
    Message,
    Part,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)
from toolchat.wire.tokens import TokenCount

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of the longest line either side reads: a long history is one line."""


def line(message: dict[str, Any]) -> bytes:
    """A message as it is sent. Lone surrogates travel as escapes, so that no text can break the channel."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def encode_delta(delta: Delta) -> dict[str, Any]:
    kind = {"t": type(delta).__name__}
    match delta:
        case CallEnded(index, call):
            return kind | {"index": index, "ok": isinstance(call, ToolCall), "call": asdict(call)}
        case _:
            return kind | asdict(delta)


def decode_delta(data: dict[str, Any]) -> Delta:
    match data:
        case {"t": "Text", "text": text}:
            return Text(text)
        case {"t": "Thinking", "text": text}:
            return Thinking(text)
        case {"t": "CallStarted", "index": index, "name": name}:
            return CallStarted(index, name)
        case {"t": "CallArguments", "index": index, "text": text}:
            return CallArguments(index, text)
        case {"t": "CallEnded", "index": index, "ok": ok, "call": call}:
            return CallEnded(index, _tool_call(call) if ok else FailedCall(**call))
        case {"t": "Note", "text": text}:
            return Note(text)
        case {"t": "Finished", "reason": reason, "usage": usage}:
            return Finished(FinishReason(reason), Usage(**usage))
    raise ValueError(f"not a delta: {data!r}")


def decode_count(data: dict[str, Any]) -> TokenCount:
    """From `asdict` of one."""
    return TokenCount(data["total"], tuple(data["tools"]), tuple(data["messages"]), data["format"])


def encode_message(message: Message) -> dict[str, Any]:
    return {"t": type(message).__name__} | asdict(message)


def decode_message(data: dict[str, Any]) -> Message:
    fields = {key: value for key, value in data.items() if key != "t"}
    match data["t"]:
        case "SystemMessage":
            return SystemMessage(**fields)
        case "UserMessage":
            return UserMessage(**fields | {"images": _images(fields)})
        case "ToolMessage":
            return ToolMessage(**fields | {"images": _images(fields)})
        case "AssistantMessage":
            calls = tuple(_tool_call(call) for call in fields["calls"])
            parts = tuple(Part(**part) for part in fields["parts"])
            return AssistantMessage(**fields | {"calls": calls, "parts": parts})
    raise ValueError(f"not a message: {data!r}")


def decode_prompt(command: dict[str, Any]) -> tuple[list[Message], list[ToolSpec]]:
    """The messages and the tools of a command."""
    return [decode_message(message) for message in command["messages"]], [decode_tool(t) for t in command["tools"]]


def encode_tool(tool: ToolSpec) -> dict[str, Any]:
    return asdict(tool)


def decode_tool(data: dict[str, Any]) -> ToolSpec:
    return ToolSpec(**data)


def _images(fields: dict[str, Any]) -> tuple[Image, ...]:
    return tuple(Image(**image) for image in fields["images"])


def _tool_call(data: dict[str, Any]) -> ToolCall:
    return ToolCall(data["id"], data["name"], data["arguments"], CallOrigin(data["origin"]))

"""The messages of a conversation, and the calls and results they carry, as every room of the house sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Any

from toolchat.wire.excerpt import NOTHING, Excerpt


class CallOrigin(StrEnum):
    """How a tool call came to be well-formed."""

    CONSTRAINED = "constrained"
    """Generated under a grammar: it could not be malformed."""
    PARSED = "parsed"
    """Generated freely, and parsed without help."""
    REPAIRED = "repaired"
    """Its arguments were converted to fit the tool's schema."""
    EDITED = "edited"
    """The user, or a hook of theirs, changed its arguments before it ran."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the model asked for, whose text was complete and whose arguments are a JSON object."""

    id: str
    """Nine letters or digits, as Mistral's validators demand."""
    name: str
    arguments: dict[str, Any]
    origin: CallOrigin = CallOrigin.PARSED


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call the model began and that cannot be run: malformed or cut off."""

    id: str
    name: str
    """The tool's name as far as it is known and legal, else "invalid_tool_call"."""
    raw: str
    """The text as generated, markers written out."""
    reason: str
    """What is wrong with it, for the model and the user."""
    truncated: bool = False
    """True where the text merely ended too soon (`finish_reason="length"`)."""
    illegal_name: str = ""
    """The name that was called, at most 80 characters of it, where that is what is wrong: no tool can have it."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that a message carries, whole: nothing is fetched later."""

    media_type: str
    """Such as "image/png"."""
    data: str
    """The file's bytes in base64."""
    width: int
    """Pixels."""
    height: int
    source: str = ""
    """Where it came from, for people: a file's name, an address, a tool."""
    file: str = ""
    """Where on this machine its bytes are kept; empty where they are not."""


class ResultStatus(StrEnum):
    """How a call ended."""

    OK = "ok"
    ERROR = "error"
    """The tool raised, or its arguments were wrong, or there is no such tool."""
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What one call came to. `content` is what the model is shown."""

    call_id: str
    name: str
    content: str
    status: ResultStatus = ResultStatus.OK
    seconds: float = 0.0
    images: tuple[Image, ...] = ()
    left_out: int = 0
    """Characters of what the tool returned that `content` does not have: it says so itself, in a line."""
    hooks: str = ""
    """What the user's hooks have done to the call or the result, in a few words."""


@dataclass(frozen=True, slots=True)
class CutResult(ToolResult):
    """A result that is longer than the chat takes from a tool's process. The chat makes a ToolResult of it.

    `content` is the excerpt as a text, for whoever does not cut it further.
    """

    excerpt: Excerpt = NOTHING


@dataclass(frozen=True, slots=True)
class SystemMessage:
    content: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    content: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of what the model generated beside calls: text for the reader, or thinking."""

    text: str
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """Text, calls, or both; never neither. A FailedCall stands in history as a call with empty arguments."""

    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    """What came before both; sent again only where the tokenizer's version has a place for it."""
    parts: tuple[Part, ...] = ()
    """Text and thinking in their order, where some thinking came after text; else empty.

    `content` and `thinking` then hold each kind by itself.
    """


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """The result of one call, as history holds it."""

    call_id: str
    name: str
    content: str
    images: tuple[Image, ...] = ()


def assistant_message(parts: Iterable[Part], calls: tuple[ToolCall, ...] = ()) -> AssistantMessage:
    """The message that consists of these parts, in their order, and then the calls."""
    merged: list[Part] = []
    for part in parts:
        if merged and merged[-1].thinking == part.thinking:
            merged[-1] = Part(joined(merged[-1].text, part.text), part.thinking)
        elif part.text:
            merged.append(part)
    content = reduce(joined, (part.text for part in merged if not part.thinking), "")
    thinking = reduce(joined, (part.text for part in merged if part.thinking), "")
    interleaved = any(part.thinking for part in merged[1:])
    return AssistantMessage(content, calls, thinking, tuple(merged) if interleaved else ())


def joined(before: str, after: str) -> str:
    """Two texts that something else stood between: with a blank line where their words would run together."""
    apart = not before or not after or before[-1].isspace() or after[0].isspace()
    return before + after if apart else f"{before}\n\n{after}"


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What the model is told of a tool."""

    name: str
    """`^[a-zA-Z0-9_-]{1,64}$`."""
    description: str
    parameters: dict[str, Any]
    """A JSON Schema (draft 7) of type "object"."""

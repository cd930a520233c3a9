"""What an engine yields while it generates (small increments, in order, ended by one `Finished`), and token counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from toolchat.wire.messages import FailedCall, ToolCall


class FinishReason(StrEnum):
    STOP = "stop"
    """The model ended its answer."""
    LENGTH = "length"
    """`max_tokens` or the context's end cut it off."""
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and seconds of one generation."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt tokens, those whose keys and values the prefix cache still held."""
    completion_tokens: int = 0
    ttft: float = 0.0
    """Seconds from the request to its first token."""
    seconds: float = 0.0
    """Seconds from the request to its last token."""
    estimated: bool = False
    """Whether the tokens are estimates: a server did not count them."""

    @property
    def new_tokens(self) -> int:
        """Of the prompt tokens, those that had to be read anew."""
        return self.prompt_tokens - self.cached_tokens

    def __add__(self, other: Usage) -> Usage:
        """Of this generation and one after it; `ttft` is that of the first."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            ttft=self.ttft or other.ttft,
            seconds=self.seconds + other.seconds,
            estimated=self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of a prompt, by part; the parts add up to the total. Exact unless `estimated`."""

    total: int
    tools: tuple[int, ...] = ()
    """Of each tool's schema, in their order."""
    messages: tuple[int, ...] = ()
    """Of each message, in their order, the system prompt's among them."""
    format: int = 0
    """What belongs to no single one of them: the beginning of the sequence, the brackets around the tools."""
    estimated: bool = False
    """Whether these are estimates: a server renders the prompt, and has not counted it."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """The model has begun to write a call; its name is certain. `index` counts the calls of this generation from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the JSON text of call `index`'s arguments, for display only."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """Call `index` is whole, or will never be."""

    index: int
    call: ToolCall | FailedCall


@dataclass(frozen=True, slots=True)
class Note:
    """Something about this generation that the user should know, in one line: what could not be held to a schema."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    reason: FinishReason
    usage: Usage


Delta = Text | Thinking | CallBegun | CallArguments | CallEnded | Note | Finished

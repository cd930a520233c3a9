"""The `Engine` protocol: what the rest of toolchat knows of the place where tokens come from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from toolchat.wire.deltas import Delta
from toolchat.wire.errors import EngineError, ExitCode
from toolchat.wire.events import EngineState
from toolchat.wire.messages import Message, ToolSpec


class EngineCrashedError(EngineError):
    """The engine died while it was loading, answering or idle. It can be started again; the conversation is kept."""


class ContextOverflowError(EngineError):
    """The prompt alone fills the model's context; nothing was generated."""

    exit_code = ExitCode.LIMIT


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """How to sample, and what form the answer may take."""

    max_tokens: int
    """At most so many new tokens; the engine cuts it to what the context leaves."""
    temperature: float = 0.0
    seed: int | None = None
    tool_choice: str = "auto"
    """One of "auto", "none" and "required", or the name of one tool."""
    parallel_tool_calls: bool = True


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is known of a model once it is loaded."""

    model: str
    context: int
    """Tokens of prompt and answer together."""
    tokenizer_version: int
    constrains_calls: bool
    """True where tool calls are generated under a grammar."""
    thinks: bool = False
    sees: bool = False


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Exact tokens of a prompt, by part."""

    total: int
    tools: int
    """Of the total, what the tools' schemas cost."""


class Engine(Protocol):
    """Asynchronous, and able to serve several requests at once."""

    @property
    def info(self) -> EngineInfo | None:
        """None until the engine is ready."""

    def start(self) -> AsyncIterator[EngineState]:
        """Load the model, yielding each state up to "ready"; again after a crash, for a fresh start.

        Raises EngineError where the model cannot be loaded.
        """

    def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        """Stream one assistant message; the last delta is `Finished`.

        Raises ContextOverflowError, EngineCrashedError or EngineError.
        """

    def abort(self, request_id: str) -> None:
        """Stop a request as soon as may be; its stream ends with `FinishReason.ABORT`. Unknown ids are ignored."""

    async def count(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> TokenCount:
        """The exact number of tokens that `generate` would send."""

    async def close(self) -> None:
        """End the engine and all its processes; safe to call at any time, and twice."""

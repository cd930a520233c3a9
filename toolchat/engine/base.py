"""The `Engine` protocol: all that the rest of toolchat knows about a source of tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from toolchat.wire.deltas import Delta, TokenCount
from toolchat.wire.errors import EngineError, ExitCode
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec


class EngineCrashedError(EngineError):
    """The engine died while it was loading, answering or idle. It can be started again; the conversation is kept."""


class AnswerBrokenError(EngineError):
    """The answer broke off after some of it had come, as where a connection breaks. What came is kept."""


class ContextOverflowError(EngineError):
    """The prompt leaves less of the model's context than `GenerateOptions.reserve`; nothing was generated."""

    exit_code = ExitCode.LIMIT

    def __init__(self, message: str, count: TokenCount, context_window: int) -> None:
        super().__init__(message)
        self.count = count
        """What the prompt would have taken, by part."""
        self.context_window = context_window
        """Tokens of prompt and answer together."""


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """How to sample, and what form the answer may take."""

    max_tokens: int
    """At most so many new tokens; the engine cuts it to what the context leaves."""
    temperature: float | None = None
    """None for the model's own."""
    top_p: float | None = None
    """Sample among the likeliest tokens that have this much of the probability, above 0 up to 1; None as above."""
    seed: int | None = None
    tool_choice: str = "auto"
    """One of "auto", "none" and "required", or the name of one tool."""
    parallel_tool_calls: bool = True
    """Whether several calls may come at once."""
    response_schema: dict[str, Any] | None = None
    """A JSON Schema that an answer in text is held to; calls may still come, by `tool_choice`."""
    reasoning_effort: str | None = None
    """One of `EngineInfo.reasoning_efforts`; None for the model's own default."""
    reserve: int = 1
    """A prompt that leaves fewer tokens than this for the answer is refused: ContextOverflowError."""
    constrained: bool = True
    """Whether tool calls and schemas are enforced by a grammar. False leaves the model free, to measure the difference;
    `response_schema` then only enters the prompt, and calls are parsed as they come."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is known of a model once it is loaded."""

    model: str
    context_window: int
    """Tokens of prompt and answer together."""
    tokenizer_version: int
    """0 where the server renders and parses."""
    constrains_calls: bool
    """True where tool calls are generated under a grammar."""
    supports_reasoning: bool = False
    supports_images: bool = False
    """Whether user messages may hold images."""
    details: Mapping[str, str] = field(default_factory=dict)
    """How it was loaded, for --debug and for reports: "number format", "context", "KV cache" and so on."""
    width: int = 2
    """Requests that are generated at the same time; more of them wait for their turn."""
    reasoning_efforts: tuple[str, ...] = ()
    """What may be asked for; empty where the model's format knows no such thing (before v15)."""
    exact_counts: bool = True
    """Whether tokens are counted as the model will read them; else they are estimates until the server has counted."""
    server: str = ""
    """Where it is, in short; empty for an engine on this machine."""
    profile: str = ""
    """How the server is used: "token profile" or "chat profile"."""
    models: tuple[str, ...] = ()
    """Those that the server has."""
    notes: tuple[str, ...] = ()
    """What the user is to be told once it is ready, a line each."""


class Engine(Protocol):
    """Asynchronous, and able to serve several requests at once."""

    @property
    def info(self) -> EngineInfo | None:
        """None until the engine is ready."""

    def start(self) -> AsyncIterator[EngineState | Notice]:
        """Load the model, yielding each state up to "ready", and what is to be told of how it is loaded.

        Again after a crash, for a fresh start.

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

        Raises ContextOverflowError, EngineCrashedError, AnswerBrokenError or EngineError.
        """

    def abort(self, request_id: str) -> None:
        """Stop a request as soon as may be; its stream ends with `FinishReason.ABORT`. Unknown ids are ignored."""

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        """The exact number of tokens that `generate` would send, by part."""

    async def ended(self) -> str:
        """Wait until the engine, which is ready, has ended by itself; how, in one line. Cancel it before `close`."""

    async def close(self) -> None:
        """End the engine and all its processes; safe to call at any time, and twice."""


@runtime_checkable
class SharedEngine(Protocol):
    """An engine whose worker may serve other commands too, and outlives `Engine.close`."""

    async def stop(self) -> None:
        """End the worker at once, whoever else uses it, and close."""

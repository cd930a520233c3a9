"""The chat profile: chat completions of any OpenAI-compatible server. Calls are checked, not constrained."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from toolchat.engine.config import Sampling
from toolchat.engine.remote.chat_format import ChatStream, Written, estimate, estimates
from toolchat.engine.remote.connection import DONE, Connection
from toolchat.engine.remote.failures import BrokenStreamError, RefusedError
from toolchat.engine.worker.failures import one_line
from toolchat.wire.codec import decode_prompt, encode_count, encode_delta
from toolchat.wire.deltas import CallArguments, Delta, Finished, FinishReason, Note, Text, Thinking, TokenCount, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.messages import Message, ToolSpec

Send = Callable[[dict[str, Any]], None]
"""Sends a message to the chat; called in the connection's thread, too."""

_OPTIONAL = (
    "parallel_tool_calls",
    "stream_options",
    "reasoning_effort",
    "response_format",
    "tool_choice",
    "temperature",
    "top_p",
    "strict",
    "seed",
)
"""What a server may refuse, and a request can do without."""
_QUIET = frozenset({"stream_options", "strict"})
"""Of these, what nobody asked for."""
_LEAST_SUSPECTED = frozenset({"strict", "stream_options", "parallel_tool_calls"})
"""What is left out where a refusal names nothing."""
_WORDS = {"response_format": ("response_format", "json_schema"), "stream_options": ("stream_options", "include_usage")}
_ANSWER_LIMIT = re.compile(r"at most (\d[\d,]*) (?:completion|output)", re.IGNORECASE)
_TRIES = 8
"""Requests at most for one generation, each with less than the one before."""


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model as chat completions reach it."""

    name: str
    context: int
    """Tokens of prompt and answer together."""
    context_known: bool
    """Whether the server or the user said so, and it is not merely assumed."""
    sampling: Sampling | None = None
    """What its publisher recommends, for requests that name nothing; None leaves it to the server."""


class Chat:
    """Generations by chat completions, several at once. Each is a task of the connection's thread."""

    def __init__(self, connection: Connection, send: Send, model: ChatModel) -> None:
        self._connection = connection
        self._send = send
        self._model = model
        self._refused: set[str] = set()
        """Parts of requests that this server does not take."""
        self._answer_limit: int | None = None
        self._scale = 1.0
        """How many tokens the server counts for one that is estimated here."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The connection's thread's alone."""

    def generate(self, command: dict[str, Any]) -> None:
        request = _Request(command["id"], *decode_prompt(command), command["options"], time.monotonic())
        self._connection.soon(partial(self._begin, request))

    def abort(self, request_id: str) -> None:
        self._connection.soon(partial(self._cancel, request_id))

    def _begin(self, request: _Request) -> None:
        task = self._tasks[request.id] = asyncio.ensure_future(self._generate(request))
        task.add_done_callback(partial(self._ended, request))

    def _cancel(self, request_id: str) -> None:
        if (task := self._tasks.get(request_id)) is not None:
            task.cancel()

    def _ended(self, request: _Request, task: asyncio.Task[None]) -> None:
        del self._tasks[request.id]
        # Here, since a task that is cancelled at once never begins.
        if task.cancelled():
            self._deltas(request, [Finished(FinishReason.ABORT, self._usage(request))])

    def count(self, command: dict[str, Any]) -> None:
        count = encode_count(self._count(*decode_prompt(command)))
        self._send({"op": "count", "id": command["id"], "count": count})

    def _count(self, messages: Sequence[Message], tools: Sequence[ToolSpec], total: int | None = None) -> TokenCount:
        """An estimate by part; `total` scales it to what the server has counted."""
        sizes, of_tools = estimates(messages, tools)
        whole = sum(sizes) + sum(of_tools)
        scale = self._scale if total is None else (total - 1) / max(whole, 1)
        scaled = [int(size * scale) for size in sizes]
        scaled_tools = [int(size * scale) for size in of_tools]
        return TokenCount(sum(scaled) + sum(scaled_tools) + 1, tuple(scaled_tools), tuple(scaled), 1, estimated=True)

    async def _generate(self, request: _Request) -> None:
        try:
            await self._answer(request)
        except Exception as error:
            begun = request.stream.begun
            self._send({"op": "broken" if begun else "error", "id": request.id, "message": one_line(error)})

    async def _answer(self, request: _Request) -> None:
        count = self._count(request.messages, request.tools)
        reserve = request.options["reserve"]
        if self._model.context_known and count.total + reserve > self._model.context:
            self._overflow(request, count)
            return
        room = self._model.context - count.total if self._model.context_known else request.options["max_tokens"]
        request.max_tokens = min(request.options["max_tokens"], max(room, reserve), self._answer_limit or room)
        for _ in range(_TRIES):
            try:
                await self._stream(request)
                return
            except RefusedError as error:
                if request.stream.begun or not self._can_do_without(request, error):
                    raise
                if request.overflowed is not None:
                    self._overflow(request, request.overflowed)
                    return
        raise EngineError(f"{self._connection.address.text}: refuses every form of the request; see its log")

    async def _stream(self, request: _Request) -> None:
        stream = request.stream = ChatStream()
        whole = False
        events = self._connection.events(
            f"{self._connection.address.api}/chat/completions",
            self._body(request),
            lambda why: self._deltas(request, [Note(why)]),
        )
        async with aclosing(events):
            async for event in events:
                if event is DONE:
                    whole = True
                    break
                deltas = stream.feed(event)
                if deltas:
                    request.first = request.first or time.monotonic()
                    self._deltas(request, deltas)
        where = self._connection.address.text
        if not whole and not stream.reason:
            raise BrokenStreamError(f"{where}: the server ended the answer in the middle; see its log")
        if stream.reason in ("error", "abort"):
            raise BrokenStreamError(f"{where}: the server gave the answer up ({stream.reason}); see its log")
        deltas, reason = stream.finish()
        notes: list[Delta] = []
        if stream.reason == "content_filter":
            notes.append(Note("the server's content filter cut the answer"))
        if request.options["tool_choice"] not in ("auto", "none") and request.tools and not stream.calls:
            notes.append(Note(f"{where} let the model answer without a call, though --tool-choice asks for one"))
        usage = self._usage(request)
        if not usage.estimated:
            self._learn(request, usage.prompt_tokens)
        self._deltas(request, [*notes, *deltas, Finished(reason, usage)])

    def _body(self, request: _Request) -> dict[str, Any]:
        options = request.options
        written = Written(request.messages, request.tools, strict="strict" not in self._refused)
        if written.broken_up:
            self._deltas(
                request,
                [Note("control markers in the text are broken up by a space: the server may take them for its own")],
            )
        recommended = self._model.sampling
        schema = options["response_schema"]
        wanted: dict[str, Any] = {
            "temperature": _own(options["temperature"], recommended.temperature if recommended is not None else None),
            "top_p": _own(options["top_p"], recommended.top_p if recommended is not None else None),
            "seed": options["seed"],
            "reasoning_effort": options["reasoning_effort"],
            "response_format": None if schema is None else _response_format(schema),
            "stream_options": {"include_usage": True},
        }
        if written.tools:
            wanted["tool_choice"] = _tool_choice(options["tool_choice"])
            # It is the default; many servers know nothing of it.
            wanted["parallel_tool_calls"] = None if options["parallel_tool_calls"] else False
        limit = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        body = {"model": self._model.name, "messages": written.messages, "stream": True, limit: request.max_tokens}
        if written.tools:
            body["tools"] = written.tools
        taken = {name: value for name, value in wanted.items() if value is not None and name not in self._refused}
        request.used = frozenset(taken) | ({"strict"} if written.tools and "strict" not in self._refused else set())
        return body | taken

    def _can_do_without(self, request: _Request, error: RefusedError) -> bool:
        """Whether the request is worth another try, changed by what the refusal says."""
        if (figures := error.exceeded) is not None:
            return self._fit(request, *figures)
        if error.status not in (400, 422, 500, 501):
            return False
        said = error.said.lower()
        if (most := _ANSWER_LIMIT.search(error.said)) and int(most[1].replace(",", "")) < request.max_tokens:
            request.max_tokens = self._answer_limit = int(most[1].replace(",", ""))
            return True
        if "max_tokens" in said and "max_completion_tokens" in said and "max_tokens" not in self._refused:
            self._refused.add("max_tokens")
            return True
        named = {
            name for name in _OPTIONAL if name in request.used and any(w in said for w in _WORDS.get(name, (name,)))
        }
        if not named and error.status in (400, 422):
            named = set(request.used & _LEAST_SUSPECTED)
        if not named:
            return False
        self._refused |= named
        if told := sorted(named - _QUIET):
            what = " and ".join(told)
            self._deltas(request, [Note(f"{self._connection.address.text} refuses {what}: left out from here on")])
        return True

    def _fit(self, request: _Request, context: int, sent: int | None) -> bool:
        """Leave the answer what the context, of the size that the server told, has room for beside the prompt."""
        self._model = replace(self._model, context=context, context_known=True)
        left = None if sent is None else context - sent
        if left is not None and request.options["reserve"] <= left < request.max_tokens:
            request.max_tokens = left
            return True
        total = max(sent or 0, context, self._count(request.messages, request.tools).total)
        request.overflowed = self._count(request.messages, request.tools, total)
        return True

    def _overflow(self, request: _Request, count: TokenCount) -> None:
        context = self._model.context
        self._send(
            {
                "op": "overflow",
                "id": request.id,
                "message": f"the conversation takes about {count.total} tokens and the context holds {context}; "
                "start a new one, or shorten the question",
                "count": encode_count(count),
                "context": context,
            }
        )

    def _learn(self, request: _Request, counted: int) -> None:
        sizes, of_tools = estimates(request.messages, request.tools)
        if (estimated := sum(sizes) + sum(of_tools)) > 0:
            # What is far off is told by a server that counts otherwise, as of the new tokens alone.
            self._scale = min(3.0, max(0.4, counted / estimated))

    def _usage(self, request: _Request) -> Usage:
        now = time.monotonic()
        ttft, seconds = round((request.first or now) - request.began, 6), round(now - request.began, 6)
        if (counted := request.stream.usage) is not None:
            return Usage(counted.prompt, counted.cached, counted.completion, ttft, seconds)
        prompt = self._count(request.messages, request.tools).total
        return Usage(prompt, 0, estimate(" " * request.written), ttft, seconds, estimated=True)

    def _deltas(self, request: _Request, deltas: Sequence[Delta]) -> None:
        request.written += sum(
            len(delta.text) for delta in deltas if isinstance(delta, Text | Thinking | CallArguments)
        )
        self._send({"op": "deltas", "id": request.id, "deltas": [encode_delta(delta) for delta in deltas]})


@dataclass(slots=True)
class _Request:
    """A generation under way."""

    id: str
    messages: Sequence[Message]
    tools: Sequence[ToolSpec]
    options: Mapping[str, Any]
    began: float
    """By time.monotonic()."""
    max_tokens: int = 0
    first: float = 0.0
    """When the first of it came; 0 before."""
    written: int = 0
    """Characters that have come."""
    used: frozenset[str] = frozenset()
    """Which of the optional parts the last try had."""
    overflowed: TokenCount | None = None
    """What the prompt takes, where the server says that it is too long."""
    stream: ChatStream = field(default_factory=ChatStream)


def _own(asked: float | None, default: float | None) -> float | None:
    return default if asked is None else asked


def _tool_choice(choice: str) -> str | dict[str, Any] | None:
    match choice:
        case "auto":
            return None
        case "none" | "required":
            return choice
        case name:
            return {"type": "function", "function": {"name": name}}


def _response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}

"""A connection to a worker, from the chat's side: requests out, and to each of them what it is told.

Whatever goes wrong in reading from it closes it and fails its requests: none of them waits for ever. Whose process the
worker is, and how it is started and ended, is a matter of `local` and `kept`. Nothing here imports vLLM or torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

from toolchat.engine.base import (
    AnswerBrokenError,
    ContextOverflowError,
    EngineCrashedError,
    EngineInfo,
    GenerateOptions,
)
from toolchat.wire.codec import decode_count, decode_delta, encode_message, encode_tool, line
from toolchat.wire.deltas import Delta, Finished, Note, TokenCount
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec

_END_SECONDS = 1.0
"""A worker that closed its socket has this long to end by itself, and so to show how."""

_Answer: TypeAlias = list[Delta] | TokenCount | EngineError
"""What a request is told: a part of its stream, its count, or why there is neither."""


class Link:
    """One connection, from its beginning to its end, and the requests that are made over it."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.info: EngineInfo | None = None
        """None until the worker is ready, and again when the connection has ended."""
        self.log: str | None = None
        """The worker's."""
        self.states: asyncio.Queue[EngineState | EngineError] = asyncio.Queue()
        """Of loading, up to "ready"; an error where it ended before."""
        self.crashed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """How it ended, where it was ready and nobody asked it to end."""
        self.failure = ""
        """Why it ends, where that is known."""
        self._answers: dict[str, asyncio.Queue[_Answer]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: dict[str, Any]) -> None:
        """Say `first`, and begin to hear."""
        self._writer = writer
        self.send(first)
        self._reading = asyncio.create_task(self._read(reader), name="engine-reader")

    def ask(
        self, request_id: str, op: str, messages: Sequence[Message], tools: Sequence[ToolSpec], **more: Any
    ) -> asyncio.Queue[_Answer]:
        """Begin a request; what it is told, until it is forgotten."""
        answers: asyncio.Queue[_Answer] = asyncio.Queue()
        self._answers[request_id] = answers
        self.send(
            {
                "op": op,
                "id": request_id,
                "messages": [encode_message(message) for message in messages],
                "tools": [encode_tool(tool) for tool in tools],
                **more,
            }
        )
        return answers

    def forget(self, request_id: str) -> None:
        self._answers.pop(request_id, None)

    def send(self, message: dict[str, Any]) -> None:
        # A worker that died meanwhile is noticed by the reader, which fails the requests.
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line(message))

    async def close(self) -> None:
        """Say no more and hear no more. May be called again, and by several at once."""
        self.info = None
        self._give_up()
        if self._reading is not None:
            self._reading.cancel()
        closed = EngineCrashedError("the engine was closed")
        self._fail_requests(closed)
        self.states.put_nowait(closed)
        await self._over(0)
        if self._writer is not None:
            self._writer.close()
            # Closed by then: a kept worker is not to take this client for one that is still there.
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._writer.wait_closed()

    def _give_up(self) -> None:
        """Called when the connection is of no use any more, before `_over`."""

    async def _over(self, seconds: float) -> str:
        """Wait, for `seconds` at most, until whatever belongs to the connection has ended; how it did."""
        return "the connection ended"

    def _not_loaded(self, how: str) -> EngineError:
        return EngineError(f"{self.model} could not be loaded: {how}{self._where}")

    @property
    def _where(self) -> str:
        return f"; its log is {self.log}" if self.log is not None else ""

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            # The last line of a worker that is killed may be half of one.
            while (row := await reader.readline()).endswith(b"\n"):
                self._hear(json.loads(row))
        except ConnectionError:
            pass
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            self.failure = f"its process sent what cannot be understood: {type(error).__name__}: {text}"
            self._give_up()
        was_ready, self.info = self.info is not None, None
        how = await self._over(_END_SECONDS)
        if was_ready:
            crash = f"the engine crashed ({how}){self._where}"
            self._fail_requests(EngineCrashedError(crash))
            self.crashed.set_result(crash)
        else:
            self.states.put_nowait(self._not_loaded(how))

    def _hear(self, message: dict[str, Any]) -> None:
        match message:
            case {"op": "deltas", "id": request_id, "deltas": deltas}:
                self._answer(request_id, [decode_delta(delta) for delta in deltas])
            case {"op": "count", "id": request_id, "count": count}:
                self._answer(request_id, decode_count(count))
            case {"op": "error", "id": request_id, "message": text}:
                self._answer(request_id, EngineError(text))
            case {"op": "broken", "id": request_id, "message": text}:
                self._answer(request_id, AnswerBrokenError(text))
            case {"op": "overflow", "id": request_id, "message": text, "count": count, "context": context}:
                self._answer(request_id, ContextOverflowError(text, decode_count(count), context))
            case {"op": "state", "state": state}:
                self.states.put_nowait(EngineState(state, self.model))
            case {"op": "failed", "message": text}:
                self.failure = text
            case {"op": "ready", **info}:
                info.pop("capacity", None)
                info |= {name: tuple(info.get(name, ())) for name in ("reasoning_efforts", "models", "notes")}
                self.log = info.pop("log", self.log)
                self.info = EngineInfo(**{"model": self.model} | info)
                self.states.put_nowait(EngineState("ready", self.info.model))
            case _:
                raise ValueError(f"no message of a worker: {message!r}")

    def _answer(self, request_id: str, answer: _Answer) -> None:
        # An aborted request is forgotten before its last deltas come.
        if (answers := self._answers.get(request_id)) is not None:
            answers.put_nowait(answer)

    def _fail_requests(self, error: EngineError) -> None:
        for answers in self._answers.values():
            answers.put_nowait(error)


class LinkedEngine:
    """What every engine behind a `Link` does alike; see `Engine` for the protocol. `start` is its own."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._numbers = itertools.count()

    @property
    def info(self) -> EngineInfo | None:
        return self._link.info if self._link is not None else None

    async def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        link = self._running()
        answers = link.ask(request_id, "generate", messages, tools, options=asdict(options))
        over = begun = False
        try:
            while not over:
                deltas = await answers.get()
                if isinstance(deltas, EngineError):
                    over = True
                    # Nothing is lost where nothing came: the question can be asked again.
                    raise deltas if begun or not isinstance(deltas, AnswerBrokenError) else EngineError(str(deltas))
                assert isinstance(deltas, list)
                for delta in deltas:
                    over = isinstance(delta, Finished)
                    begun = begun or not isinstance(delta, Note)
                    yield delta
        finally:
            link.forget(request_id)
            if not over:
                link.send({"op": "abort", "id": request_id})

    def abort(self, request_id: str) -> None:
        if self._link is not None:
            self._link.send({"op": "abort", "id": request_id})

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        link = self._running()
        request_id = f"count-{next(self._numbers)}"
        answers = link.ask(request_id, "count", messages, tools, reasoning_effort=reasoning_effort)
        try:
            count = await answers.get()
        finally:
            link.forget(request_id)
        if isinstance(count, EngineError):
            raise count
        assert isinstance(count, TokenCount)
        return count

    async def ended(self) -> str:
        if self._link is None:
            raise EngineCrashedError("the engine is not running")
        return await asyncio.shield(self._link.crashed)

    async def close(self) -> None:
        if (link := self._link) is None:
            return
        await link.close()
        if self._link is link:
            self._link = None

    async def _loading(self, link: Link, *, debug: bool) -> AsyncIterator[EngineState | Notice]:
        """The states up to "ready". Closes the engine and raises EngineError where it does not come to that."""
        while True:
            state = await link.states.get()
            if isinstance(state, EngineError):
                await self.close()
                raise state
            if state.state == "ready" and link.info is not None:
                for note in link.info.notes:
                    yield Notice(note)
                if debug:
                    yield Notice("; ".join(f"{name}: {value}" for name, value in link.info.details.items()))
            yield state
            if state.state == "ready":
                return

    def _running(self) -> Link:
        if self._link is None or self._link.info is None:
            raise EngineCrashedError("the engine is not running")
        return self._link

"""The transport to a server that is a process: lines of JSON-RPC over its standard streams.

The SDK's own keeps a line that never ends in memory, and says nothing of how a process ended or of what it printed. A
server is untrusted: lines have a bound here, and the whole process tree ends with the transport.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params
from mcp.shared.message import SessionMessage

from toolchat.tools.host.process_client import how_it_ended
from toolchat.tools.host.process_tree import kill_tree
from toolchat.tools.mcp.tool_schemas import cleaned

MAX_LINE = 64 * 1024**2
"""Bytes of one message."""
_PIECE = 256 * 1024
_GRACE = 0.5
"""Seconds that a server has to end by itself once its standard input is closed."""
_HEAD = 200
_ID = re.compile(rb'"id"\s*:\s*(\d{1,15})\s*,')
_BOM = b"\xef\xbb\xbf"
_KEPT_LINES = 8
_MOST_LINES = 3
_MOST_OPEN = 64
"""Requests of a server that are not answered yet, and messages to it that wait: beyond that it is not read on."""
_MOST_SAID = 400
"""Characters of what a server printed last that a failure quotes."""

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class StdioServer:
    """One process of a server; see `streams`."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        cwd: str | None,
        log: Callable[[str], None],
    ) -> None:
        """`log` is given each line that it prints on standard error, and of standard output what is no message."""
        self._command = command
        self._environment = environment
        self._cwd = cwd
        self._log = log
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self.ended = asyncio.Event()
        """Set once it does not speak any more, by itself."""
        self._ending = False
        self._open: Counter[types.RequestId] = Counter()
        """Its requests that are to be answered still, by their ids: it may use one twice."""
        self._room = asyncio.Event()
        self.noise = 0
        """Lines on its standard output that were no messages."""
        self._wrong = ""

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def how(self) -> str:
        """How it ended, and what it said last: for people, one line."""
        code = self._process.returncode if self._process is not None else None
        # Of a traceback, what was raised: all else of it is indented.
        lines = ([line for line in self._last if not line[:1].isspace()] or [*self._last])[-_MOST_LINES:]
        said = " ".join(" ".join(lines).split())[-_MOST_SAID:]
        how = self._wrong or (how_it_ended(code) if code is not None else "it closed its standard output")
        return f"{how}: {said}" if said else how

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[Streams]:
        """Start it, and end it with all that it started. Raises OSError where it cannot be started."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._environment),
            cwd=self._cwd,
            start_new_session=True,
            limit=_PIECE,
        )
        incoming, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [
            asyncio.create_task(self._read(process, incoming, outgoing), name="mcp-read"),
            asyncio.create_task(self._write(process, outgoing), name="mcp-write"),
            asyncio.create_task(self._listens(process, incoming), name="mcp-listens"),
            asyncio.create_task(self._said(process), name="mcp-said"),
        ]
        try:
            yield read, write
        finally:
            await asyncio.shield(self._end(process, tasks))
            for stream in (incoming, read, write, outgoing):
                stream.close()

    async def _read(
        self,
        process: asyncio.subprocess.Process,
        incoming: MemoryObjectSendStream[SessionMessage | Exception],
        outgoing: MemoryObjectReceiveStream[SessionMessage],
    ) -> None:
        assert process.stdout is not None
        pieces: list[bytes] = []
        size = 0
        try:
            while data := await process.stdout.read(_PIECE):
                *lines, rest = data.split(b"\n")
                for line in lines:
                    whole = b"".join([*pieces, line])
                    pieces, size = [], 0
                    for message in self._messages(whole):
                        await self._let_in(message, outgoing)
                        await incoming.send(SessionMessage(message))
                        self._withdraw(message)
                pieces.append(rest)
                size += len(rest)
                if size > MAX_LINE:
                    self._wrong = f"it sent a message of more than {MAX_LINE // 1024**2} MiB"
                    break
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            # The session has ended, and says why: what the process does then is no reason.
            self._ending = True
        except ConnectionError:
            pass
        finally:
            if not self._ending:
                # A moment for its end to be seen, so that how that was can be said.
                with suppress(TimeoutError):
                    if not self._wrong:
                        await asyncio.wait_for(_gone(process), 0.2)
                self.ended.set()
            incoming.close()

    async def _let_in(self, message: types.JSONRPCMessage, outgoing: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Wait while too many requests of the server are open: each costs memory until its answer is read.

        Answers that wait to be written count for themselves: a request that is cancelled then is answered all the same.
        """
        if not isinstance(message, types.JSONRPCRequest):
            return
        while max(self._open.total(), outgoing.statistics().tasks_waiting_send) >= _MOST_OPEN:
            self._room.clear()
            await self._room.wait()
        self._open[coerce_request_id(message.id)] += 1

    def _withdraw(self, message: types.JSONRPCMessage) -> None:
        """Close the request that a message cancels: the SDK will not answer it."""
        if isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self._close(cancelled_request_id_from_params(message.params))

    def _close(self, number: types.RequestId | None) -> None:
        if number is not None:
            self._open.subtract([coerce_request_id(number)])
            self._open = +self._open  # only those that are open, of which this may have been none
            self._room.set()

    def _messages(self, line: bytes) -> Sequence[types.JSONRPCMessage]:
        """What a line says; several messages where it is a batch, as of the protocol of March 2025."""
        line = line.strip().removeprefix(_BOM)
        if not line:
            return ()
        try:
            return (types.jsonrpc_message_adapter.validate_json(line, by_name=False),)
        except (ValueError, RecursionError):
            pass
        if found := _mended(line):
            return found
        self.noise += 1
        if self.noise <= _KEPT_LINES:
            self._note(line.decode("utf-8", "replace"))
        return ()

    async def _write(
        self, process: asyncio.subprocess.Process, outgoing: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        assert process.stdin is not None
        with suppress(anyio.ClosedResourceError, anyio.EndOfStream, ConnectionError):
            async for message in outgoing:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
                match message.message:
                    case types.JSONRPCResponse(id=number) | types.JSONRPCError(id=number):
                        self._close(number)
                self._room.set()

    async def _listens(
        self, process: asyncio.subprocess.Process, incoming: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        """Notice a server that will never hear anything again."""
        assert process.stdin is not None
        with suppress(ConnectionError):
            await process.stdin.wait_closed()
        with suppress(TimeoutError):
            await asyncio.wait_for(_gone(process), 0.2)
        if process.returncode is None and not self._ending:
            self._wrong = "it closed its standard input"
            self.ended.set()
            incoming.close()

    async def _said(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        rest = b""
        while data := await process.stderr.read(_PIECE):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._note(line.decode("utf-8", "replace"))
            if len(rest) > _PIECE:
                self._note(rest.decode("utf-8", "replace"))
                rest = b""
        if rest:
            self._note(rest.decode("utf-8", "replace"))

    def _note(self, line: str) -> None:
        if line.strip():
            self._last.append(line[:_MOST_SAID])
            self._log(line[: 4 * _MOST_SAID])

    async def _end(self, process: asyncio.subprocess.Process, tasks: Sequence[asyncio.Task[None]]) -> None:
        self._ending = True
        if process.stdin is not None:
            process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(_gone(process), _GRACE)
        if process.returncode is None:
            kill_tree(process.pid)
        else:
            # What it started and left behind is in its session still.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, 9)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A child of its that holds the pipes open must not keep this waiting.
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 2.0)
        transport = process._transport  # type: ignore[attr-defined]  # nothing public closes the pipes
        transport.close()


def _mended(line: bytes) -> Sequence[types.JSONRPCMessage]:
    """The messages that a line may stand for though it is none; see `_mended_one`."""
    try:
        read = json.loads(line)
    except RecursionError:
        match = _ID.search(line[:_HEAD])
        return _no_answer(int(match[1]) if match is not None else None)
    except ValueError:
        return ()
    return [message for one in (read if isinstance(read, list) else [read]) for message in _mended_one(one)]


def _mended_one(read: Any) -> Sequence[types.JSONRPCMessage]:
    """A message with texts that UTF-8 can hold and nothing too deep, or an error in place of an answer that makes no
    sense, so that its request does not wait."""
    try:
        return (types.jsonrpc_message_adapter.validate_python(cleaned(read), by_name=False),)
    except ValueError:
        return _no_answer(read.get("id") if isinstance(read, dict) and "method" not in read else None)


def _no_answer(number: Any) -> Sequence[types.JSONRPCMessage]:
    if not isinstance(number, int | str) or isinstance(number, bool):
        return ()
    error = types.ErrorData(code=types.PARSE_ERROR, message="it answered with what the protocol does not know")
    return (types.JSONRPCError(jsonrpc="2.0", id=number, error=error),)


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Wait for its end. `Process.wait` also waits for its pipes, which a child of its may hold open."""
    while process.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(0.005)

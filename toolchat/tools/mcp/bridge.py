"""The bridge: the one process that has the `mcp` SDK. It starts servers, holds their sessions, and makes the calls.

Servers are strangers: one that hangs, dies, floods or lies costs its own calls and nothing else. What they started
ends with this process; its parent, the guardian, sees to that where this process cannot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from toolchat.process import hide_memory
from toolchat.tools.host.channel import AsyncChannel, Message
from toolchat.tools.host.confine import Fence
from toolchat.tools.host.guardian import split
from toolchat.tools.host.process_tree import children, kill_tree
from toolchat.tools.host.protocol import from_descriptor
from toolchat.tools.mcp.bridged_server import Server, explained, is_lost
from toolchat.tools.mcp.protocol import BridgeRequest

if TYPE_CHECKING:
    from toolchat.tools.mcp.login_store import Login

_MOST_LINES = 100
"""Lines that a server says under one call; of more it is said how many there were."""
_LONGEST_LINE = 500
_PART = 32 * 1024
_CLOSE_SECONDS = 1.5


@dataclass(slots=True)
class _Call:
    """A call under way."""

    server: int
    task: asyncio.Task[None] | None = None
    lines: int = 0
    percent: int = -1


class Bridge:
    """See `run`."""

    def __init__(self, request: BridgeRequest) -> None:
        from toolchat.tools.mcp.results import Writer

        self.request = request
        self._servers = [Server(number, one, self) for number, one in enumerate(request.servers)]
        self._calls: dict[int, _Call] = {}
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._questions = 0
        self._writer = Writer(Path(request.files))
        self._tasks: set[asyncio.Task[None]] = set()
        self.refreshes: set[asyncio.Task[Login | None]] = set()
        self._ended = asyncio.Event()

    async def run(self, channel: Callable[[Callable[[Message], None], Callable[[], None]], AsyncChannel]) -> None:
        """Serve until the chat's end of the channel is closed."""
        self._channel = channel(self._heard, self._ended.set)
        for server in self._servers:
            self.start(server.live(), f"mcp-{server.served.name}")
        await self._ended.wait()
        for task in self._tasks:
            task.cancel()
        ending = asyncio.gather(*self._tasks, *self.refreshes, return_exceptions=True)
        await asyncio.wait({ending}, timeout=_CLOSE_SECONDS)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def send(self, message: Message) -> None:
        self._channel.send(message)

    # What a server says or asks meanwhile

    def said(self, server: Server, line: str) -> None:
        for number, call in self._calls.items():
            if call.server == server.number:
                self._say(server, number, line)

    def _say(self, server: Server, number: int, text: str) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        call.lines += 1
        if call.lines <= _MOST_LINES:
            line = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
            server.tell({"op": "said", "id": number, "text": f"{line}\n"})

    async def _progress(
        self, server: Server, number: int, progress: float, total: float | None, message: str | None
    ) -> None:
        if (call := self._calls.get(number)) is None:
            return
        percent = int(100 * progress / total) if total else -1
        if message is None and percent == call.percent:
            return
        call.percent = percent
        share = f"{progress:g} of {total:g}" if total is not None else f"{progress:g}"
        self._say(server, number, f"{share}: {message}" if message else share)

    async def elicit(self, server: Server, params: Any) -> Any:
        import mcp_types as types

        from toolchat.tools.mcp.session import wire

        if not server.busy:
            server.tell({"op": "unasked", "server": server.number})
            return types.ElicitResult(action="decline")
        self._questions += 1
        number = self._questions
        asked = wire(params)
        self._asked[number] = answered = asyncio.get_running_loop().create_future()
        server.tell(
            {
                "op": "elicit",
                "id": number,
                "server": server.number,
                "message": str(asked.get("message", ""))[:4000],
                "schema": asked.get("requestedSchema"),
                "url": asked.get("url"),
            },
        )
        try:
            answer = await answered
        finally:
            if self._asked.pop(number, None) is not None and answered.cancelled():
                self._channel.send({"op": "unask", "id": number})
        action = answer.get("action")
        content = answer.get("content")
        return types.ElicitResult(
            action=action if action in ("accept", "decline") else "cancel",
            content=content if action == "accept" and isinstance(content, dict) and not asked.get("url") else None,
        )

    # What the chat wants

    def _heard(self, message: Message) -> None:
        match message:
            case {"op": "check", "id": int(number), "server": int(at)}:
                self._check(self._servers[at], number, message)
            case {"op": "call", "id": int(number), "server": int(at)}:
                call = self._calls[number] = _Call(at)
                call.task = self.start(self._call(self._servers[at], number, message), "mcp-call")
            case {"op": "again", "server": int(at)}:
                self._servers[at].again.set()
            case {"op": "cancel", "id": int(number)}:
                found = self._calls.get(number)
                if found is not None and found.task is not None:
                    found.task.cancel()
            case {"op": "elicited", "id": int(number)}:
                if (asked := self._asked.get(number)) is not None and not asked.done():
                    asked.set_result(message)
            case {"op": "ask", "id": int(number), "server": int(at), "what": str(what), "with": given}:
                self.start(self._answer(self._servers[at], number, what, given), f"mcp-{what}")

    def _tool(self, server: Server, message: Message) -> dict[str, Any] | str:
        """What the tool of a call is now; what is to be said where there is none, or another than was shown."""
        tool = server.tools.get(message["tool"])
        if server.connection is None:
            return f"Error: the server {server.served.name} is not there; answer without it"
        if tool is None:
            return f"Error: the server {server.served.name} does not offer that tool any more"
        if tool["fingerprint"] != message["fingerprint"]:
            what = "has changed since it was shown; it is offered anew from the next turn on"
            return f"Error: not run: {message['tool']} of the server {server.served.name} {what}"
        return tool

    def _check(self, server: Server, number: int, message: Message) -> None:
        from toolchat.tools.mcp.tool_schemas import checked_arguments

        tool = self._tool(server, message)
        if isinstance(tool, str):
            server.tell({"op": "rejected", "id": number, "message": tool})
            return
        match checked_arguments(tool["parameters"], message["arguments"]):
            case str(problem):
                server.tell({"op": "rejected", "id": number, "message": problem})
            case arguments, repaired:
                self._channel.send({"op": "checked", "id": number, "arguments": arguments, "repaired": repaired})

    async def _call(self, server: Server, number: int, message: Message) -> None:
        tool = self._tool(server, message)
        try:
            if isinstance(tool, str):
                self._fail(number, tool.removeprefix("Error: "))
                return
            progress = partial(self._progress, server, number)
            assert server.connection is not None  # `_tool` says so where it is not there
            with server.asked():
                result = await server.connection.call(message["tool"], message["arguments"], progress)
            self._give(server, number, result)
        except asyncio.CancelledError:
            self._fail(number, "cancelled", status="interrupted")
            raise
        except Exception as error:
            why = f"the server {server.served.name}: {server.wants}" if server.wants else explained(error)
            if is_lost(error):
                server.lost.set()
                why = f"the server {server.served.name} ended ({await server.how() or why})"
            self._fail(number, server.redactor.text(why))
        finally:
            self._calls.pop(number, None)

    def _give(self, server: Server, number: int, result: dict[str, Any]) -> None:
        """Send the result of a call; of a long one its beginning in parts first."""
        import base64

        from toolchat.tools.result import MAX_KEPT, MAX_RESULT
        from toolchat.wire.excerpt import cut_to_bytes

        call = self._calls[number]
        if call.lines > _MOST_LINES:
            server.tell({"op": "said", "id": number, "text": f"({call.lines - _MOST_LINES} more lines)\n"})
        written = self._writer.result(result)
        text = server.redactor.text(written.text)
        content: Any = text
        if (excerpt := cut_to_bytes(text, MAX_RESULT)) is not None:
            content = {"head": excerpt.head, "tail": excerpt.tail, "total": excerpt.total}
            kept = text.encode()[:MAX_KEPT].decode("utf-8", "ignore")
            for at in range(0, len(kept), _PART):
                self._channel.send({"op": "part", "id": number, "text": kept[at : at + _PART]})
        images = [base64.b64encode(picture).decode() for picture in written.pictures]
        self._channel.send({"op": "result", "id": number, "content": content, "ok": written.ok, "images": images})

    def _fail(self, number: int, why: str, status: str = "error") -> None:
        self._channel.send({"op": "failed", "id": number, "why": why, "status": status})

    async def _answer(self, server: Server, number: int, what: str, given: Any) -> None:
        """Prompts and resources."""
        try:
            if server.connection is None:
                raise RuntimeError("it is not there")
            with server.asked():
                async with asyncio.timeout(server.served.start_timeout):
                    answer = await self._fetched(server.connection, what, given)
        except TimeoutError:
            server.tell({"op": "answer", "id": number, "error": "it did not answer in time"})
        except Exception as error:
            server.tell({"op": "answer", "id": number, "error": server.wants or explained(error)})
        else:
            server.tell({"op": "answer", "id": number, "answer": answer})

    async def _fetched(self, connection: Any, what: str, given: Any) -> Any:
        from toolchat.tools.mcp.tool_schemas import cleaned

        match what:
            case "prompts" | "resources" | "templates":
                return cleaned(await connection.listed(what))
            case "prompt":
                return self._writer.prompt(await connection.prompt(given["name"], given["arguments"]))
        read = await connection.read(given["uri"])
        return cleaned(self._writer.resources(read))


def main() -> Never:
    """Be the bridge that the first argument, a `BridgeRequest`, describes."""
    import socket

    request = BridgeRequest.decode(from_descriptor(int(sys.argv[1])))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    split(request.parent, request.channel)
    hide_memory()
    if request.confined:
        Fence(request.abi, request.terminals).enter()
    logging.getLogger().addHandler(logging.NullHandler())
    logging.disable(logging.CRITICAL)

    async def serve() -> None:
        sock = socket.socket(fileno=request.channel)
        os.set_inheritable(request.channel, False)
        await Bridge(request).run(lambda heard, ended: AsyncChannel(sock, request.token, heard, ended))

    try:
        asyncio.run(serve())
    finally:
        for pid in children(os.getpid()):
            kill_tree(pid)
        os._exit(0)


if __name__ == "__main__":
    main()

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
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from toolchat.process import hide_memory
from toolchat.tools.host.channel import AsyncChannel, Message
from toolchat.tools.host.confine import Fence
from toolchat.tools.host.guardian import split
from toolchat.tools.host.process_tree import children, kill_tree
from toolchat.tools.host.protocol import from_descriptor
from toolchat.tools.mcp.protocol import BridgeRequest, Served
from toolchat.tools.mcp.reach import explained, is_lost, reached
from toolchat.tools.variables import Redactor

if TYPE_CHECKING:  # the SDK is imported once the channel to the chat is there
    from toolchat.tools.mcp.bearer import Bearer
    from toolchat.tools.mcp.logins import Login
    from toolchat.tools.mcp.stdio import StdioServer

_MOST_LINES = 100
"""Lines that a server says under one call; of more it is said how many there were."""
_LONGEST_LINE = 500
_MOST_NOTES = 20
"""Remarks on a server's tools."""
_MOST_LOGGED = 4 * 1024**2
"""Characters of one server's in the log of the tools, while the chat runs."""
_PART = 32 * 1024
_CLOSE_SECONDS = 1.5
_OFFER_SECONDS = 3.0
_LEVELS = {"debug": 0, "info": 1, "notice": 1}
"""Log levels that are shown without their name; "debug" is not shown."""


@dataclass(slots=True)
class _Call:
    """A call under way."""

    server: int
    task: asyncio.Task[None] | None = None
    lines: int = 0
    percent: int = -1


@dataclass
class _Server:
    """A server, and the state of its session."""

    number: int
    served: Served
    redactor: Redactor
    connection: Any = None
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the chat was told of each tool, by the server's name for it."""
    listing: asyncio.Lock = field(default_factory=asyncio.Lock)
    stale: bool = False
    """Whether its tools have changed while they were listed."""
    offering: asyncio.Task[None] | None = None
    """Lists its prompts and resources anew."""
    offers_stale: bool = False
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where the session is of no more use."""
    process: StdioServer | None = None
    """Where it is one."""
    again: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where it may be started again."""
    busy: int = 0
    """Requests of the chat that it has not answered yet: only meanwhile it may ask the user something."""
    logged: int = 0
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    """Of the user's login there, as they were and are: in what it says they are replaced."""
    login: Bearer | None = None
    """Of one at an address whose headers the file does not sign itself."""

    @property
    def wants(self) -> str:
        """What it wants of a login; "" for nothing."""
        return self.login.problem if self.login is not None else ""

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While the block runs, it has been asked something."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1


class Bridge:
    """See `run`."""

    def __init__(self, request: BridgeRequest) -> None:
        from toolchat.tools.mcp.results import Writer

        self._request = request
        self._servers = [_Server(number, one, Redactor(one.secrets)) for number, one in enumerate(request.servers)]
        self._calls: dict[int, _Call] = {}
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._questions = 0
        self._writer = Writer(Path(request.files))
        self._tasks: set[asyncio.Task[None]] = set()
        self._refreshes: set[asyncio.Task[Login | None]] = set()
        """Of logins: they are not cancelled at the end, but waited for."""
        self._ended = asyncio.Event()

    async def run(self, channel: Callable[[Callable[[Message], None], Callable[[], None]], AsyncChannel]) -> None:
        """Serve until the chat's end of the channel is closed."""
        self._channel = channel(self._heard, self._ended.set)
        for server in self._servers:
            self._start(self._live(server), f"mcp-{server.served.name}")
        await self._ended.wait()
        for task in self._tasks:
            task.cancel()
        ending = asyncio.gather(*self._tasks, *self._refreshes, return_exceptions=True)
        await asyncio.wait({ending}, timeout=_CLOSE_SECONDS)

    def _start(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tell(self, server: _Server, message: Message) -> None:
        """Send what came from a server, without the secrets that it was given."""
        self._channel.send(server.redactor.data(message))

    # What becomes of a server

    async def _live(self, server: _Server) -> None:
        """Start it, and once more where it ends."""
        modern, again = True, False
        while True:
            why, was_ready, asked = await self._once(server, modern=modern)
            server.connection = None
            if not was_ready and asked and modern:
                # Some servers of before 2026 end at the question for the newest protocol.
                modern = False
                continue
            state = "died" if was_ready and not again else "failed"
            self._tell(server, {"op": "state", "server": server.number, "state": state, "why": why})
            if again or not was_ready:
                return
            # The chat sees first whether the server's files are still those that were accepted.
            await server.again.wait()
            again = True

    async def _once(self, server: _Server, *, modern: bool) -> tuple[str, bool, bool]:
        """One life of it: why it ended, whether it had been ready, and whether it ended without a word."""
        from toolchat.tools.mcp.stdio import StdioServer

        served, ready = server.served, False
        process: StdioServer | None = None
        server.lost = asyncio.Event()
        if served.command:
            log = partial(_log, server)
            process = StdioServer(served.command, served.environment, served.cwd, log)
        server.process = process
        try:
            server.login = self._login(server)
            async with asyncio.timeout(served.start_timeout) as limit:
                async with self._connected(server, process, modern=modern) as connection:
                    server.connection = connection
                    await self._list(server, connection, "state", await self._offers(connection))
                    limit.reschedule(None)
                    ready = True
                    await self._alive(server, process)
        except TimeoutError:
            if not ready:
                said = f": {process.how.partition(': ')[2]}" if process is not None and ": " in process.how else ""
                return f"it did not answer within {served.start_timeout:g} seconds (start_timeout:){said}", False, False
        except Exception as error:
            silent = process is not None and process.ended.is_set()
            if process is None or not silent:
                return server.wants or explained(error), ready, False
            return process.how, ready, True
        return process.how if process is not None else "its session ended", ready, False

    def _login(self, server: _Server) -> Bearer | None:
        served = server.served
        if not served.url or any(name.lower() == "authorization" for name in served.headers):
            return None
        from toolchat.tools.mcp.bearer import Bearer
        from toolchat.tools.mcp.logins import Logins

        def used(login: Login) -> None:
            # Earlier ones may still be in what it says.
            known = server.tokens.values()
            new = {f"{name}_{len(known)}": value for name, value in login.secrets.items() if value not in known}
            if new:
                server.tokens |= new
                server.redactor = Redactor({**served.secrets, **server.tokens})

        return Bearer(served.name, served.url, Logins(Path(self._request.logins)), used, self._refreshes)

    async def _alive(self, server: _Server, process: Any) -> None:
        """Wait until a server that is ready ends."""
        waits = [asyncio.create_task(server.lost.wait())]
        if process is not None:
            waits.append(asyncio.create_task(process.ended.wait()))
        listening = None
        if server.connection.is_modern and server.connection.has("tools"):
            listening = self._start(self._listen(server), "mcp-listen")
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*waits, *([listening] if listening is not None else [])):
                task.cancel()

    @asynccontextmanager
    async def _connected(self, server: _Server, process: Any, *, modern: bool) -> AsyncIterator[Any]:
        import toolchat
        from toolchat.tools.mcp.session import connected

        opened: Any = process.streams() if process is not None else reached(server.served, server.login)
        async with (
            opened as streams,
            connected(
                streams,
                root=self._request.root,
                offers_roots=server.served.roots,
                version=toolchat.__version__,
                elicit=partial(self._elicit, server),
                logged=partial(self._logged, server),
                changed=partial(self._changed, server),
                modern=modern,
            ) as connection,
        ):
            yield connection

    async def _listen(self, server: _Server) -> None:
        """Hear of changed lists, by the protocols from 2026 on."""
        from mcp.client.subscriptions import listen

        with suppress(Exception):  # a server need not offer it
            async with listen(server.connection.session, tools_list_changed=True) as events:
                async for _ in events:
                    self._changed(server, "tools")

    async def _offers(self, connection: Any) -> Message:
        """Its prompts and resources; none where it has none, or hangs."""

        async def fetched(what: str) -> list[Any]:
            with suppress(Exception):
                async with asyncio.timeout(_OFFER_SECONDS):
                    return list(await self._fetched(connection, what, None))
            return []

        kinds = ("prompts", "resources", "templates")
        return dict(zip(kinds, await asyncio.gather(*map(fetched, kinds)), strict=True))

    async def _list(self, server: _Server, connection: Any, op: str, offers: Message | None = None) -> None:
        """Tell the chat of its tools, as they are now."""
        from toolchat.tools.mcp.tool_schemas import MOST_TOOLS, listed

        async with server.listing:
            server.stale = False
            found = await connection.tools()
            notes: list[str] = []
            if len(found) > MOST_TOOLS:
                notes.append(f"has more than {MOST_TOOLS} tools, of which the first {MOST_TOOLS} are taken")
            told: dict[str, dict[str, Any]] = {}
            for tool in found[:MOST_TOOLS]:
                made, note = listed(tool)
                name = str(tool.get("name", ""))
                if note:
                    notes.append(f"{name}: {note}")
                if made is None:
                    continue
                if made["name"] in told:
                    notes.append(f"{name}: is listed twice, and the first is taken")
                    continue
                told[made["name"]] = made
                await asyncio.sleep(0)
            server.tools = told
            notes = list(dict.fromkeys(notes))
            if len(notes) > _MOST_NOTES:
                notes[_MOST_NOTES:] = [f"{len(notes) - _MOST_NOTES} more of its tools are odd"]
            message: Message = {"op": op, "server": server.number, "tools": list(told.values()), "notes": notes}
            if op == "state":
                message |= {
                    "state": "ready",
                    "about": connection.about(),
                    **(offers or {}),
                    "pid": server.process.pid if server.process is not None else 0,
                }
            self._tell(server, message)
        if server.stale:
            self._changed(server, "tools")

    def _changed(self, server: _Server, what: str) -> None:
        if server.connection is None:
            return
        if what != "tools":
            self._offers_changed(server)
            return
        if server.listing.locked():
            server.stale = True  # a flood of changes is listed once more
            return

        async def again() -> None:
            with suppress(Exception):
                async with asyncio.timeout(server.served.start_timeout):
                    await self._list(server, server.connection, "tools")

        self._start(again(), "mcp-list")

    def _offers_changed(self, server: _Server) -> None:
        if server.offering is not None and not server.offering.done():
            server.offers_stale = True
            return

        async def again() -> None:
            server.offers_stale = True
            while server.offers_stale and server.connection is not None:
                server.offers_stale = False
                self._tell(server, {"op": "offers", "server": server.number, **await self._offers(server.connection)})

        server.offering = self._start(again(), "mcp-offers")

    # What a server says or asks meanwhile

    async def _logged(self, server: _Server, level: str, text: str) -> None:
        _log(server, f"{level}: {text}")
        if level == "debug":
            return
        # A log message belongs to no call. Where one is under way, it is about that, most likely.
        shown = text if level in _LEVELS else f"{level}: {text}"
        for number, call in self._calls.items():
            if call.server == server.number:
                self._say(server, number, shown)

    def _say(self, server: _Server, number: int, text: str) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        call.lines += 1
        if call.lines <= _MOST_LINES:
            line = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
            self._tell(server, {"op": "said", "id": number, "text": f"{line}\n"})

    async def _progress(
        self, server: _Server, number: int, progress: float, total: float | None, message: str | None
    ) -> None:
        if (call := self._calls.get(number)) is None:
            return
        percent = int(100 * progress / total) if total else -1
        if message is None and percent == call.percent:
            return
        call.percent = percent
        share = f"{progress:g} of {total:g}" if total is not None else f"{progress:g}"
        self._say(server, number, f"{share}: {message}" if message else share)

    async def _elicit(self, server: _Server, params: Any) -> Any:
        """Have the user asked."""
        import mcp_types as types

        from toolchat.tools.mcp.session import wire

        if not server.busy:
            self._tell(server, {"op": "unasked", "server": server.number})
            return types.ElicitResult(action="decline")
        self._questions += 1
        number = self._questions
        asked = wire(params)
        self._asked[number] = answered = asyncio.get_running_loop().create_future()
        self._tell(
            server,
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
                call.task = self._start(self._call(self._servers[at], number, message), "mcp-call")
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
                self._start(self._answer(self._servers[at], number, what, given), f"mcp-{what}")

    def _tool(self, server: _Server, message: Message) -> dict[str, Any] | str:
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

    def _check(self, server: _Server, number: int, message: Message) -> None:
        from toolchat.tools.mcp.tool_schemas import checked_arguments

        tool = self._tool(server, message)
        if isinstance(tool, str):
            self._tell(server, {"op": "rejected", "id": number, "message": tool})
            return
        match checked_arguments(tool["parameters"], message["arguments"]):
            case str(problem):
                self._tell(server, {"op": "rejected", "id": number, "message": problem})
            case arguments, repaired:
                self._channel.send({"op": "checked", "id": number, "arguments": arguments, "repaired": repaired})

    async def _call(self, server: _Server, number: int, message: Message) -> None:
        tool = self._tool(server, message)
        try:
            if isinstance(tool, str):
                self._fail(number, tool.removeprefix("Error: "))
                return
            progress = partial(self._progress, server, number)
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
                why = f"the server {server.served.name} ended ({await self._how(server) or why})"
            self._fail(number, server.redactor.text(why))
        finally:
            self._calls.pop(number, None)

    async def _how(self, server: _Server) -> str:
        """How a server's process ended; "" where it has none."""
        process = server.process
        if process is None:
            return ""
        with suppress(TimeoutError):
            await asyncio.wait_for(process.ended.wait(), 0.5)
        return process.how

    def _give(self, server: _Server, number: int, result: dict[str, Any]) -> None:
        """Send the result of a call; of a long one its beginning in parts first."""
        import base64

        from toolchat.tools.result import MAX_KEPT, MAX_RESULT
        from toolchat.wire.excerpt import cut_to_bytes

        call = self._calls[number]
        if call.lines > _MOST_LINES:
            self._tell(server, {"op": "said", "id": number, "text": f"({call.lines - _MOST_LINES} more lines)\n"})
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

    async def _answer(self, server: _Server, number: int, what: str, given: Any) -> None:
        """Prompts and resources."""
        try:
            if server.connection is None:
                raise RuntimeError("it is not there")
            with server.asked():
                async with asyncio.timeout(server.served.start_timeout):
                    answer = await self._fetched(server.connection, what, given)
        except TimeoutError:
            self._tell(server, {"op": "answer", "id": number, "error": "it did not answer in time"})
        except Exception as error:
            self._tell(server, {"op": "answer", "id": number, "error": server.wants or explained(error)})
        else:
            self._tell(server, {"op": "answer", "id": number, "answer": answer})

    async def _fetched(self, connection: Any, what: str, given: Any) -> Any:
        from toolchat.tools.mcp.tool_schemas import cleaned

        match what:
            case "prompts" | "resources" | "templates":
                return cleaned(await connection.listed(what))
            case "prompt":
                return self._writer.prompt(await connection.prompt(given["name"], given["arguments"]))
        read = await connection.read(given["uri"])
        pictures: list[bytes] = []
        texts = [self._writer.resource(one, pictures) for one in read.get("contents", [])]
        return cleaned("\n".join(texts))


def _log(server: _Server, line: str) -> None:
    if server.logged > _MOST_LOGGED:
        return
    server.logged += len(line)
    if server.logged > _MOST_LOGGED:
        line = f"(what else it says is left out: it has said {_MOST_LOGGED // 1024**2} MiB)"
    with suppress(OSError, ValueError):
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"{stamp} mcp {server.served.name}: {server.redactor.text(line)}", file=sys.stderr, flush=True)


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

"""One MCP server as the bridge has it: starts or reaches it, once more where it ends, and lists what it offers.

What it lists, and what becomes of it, is told to the chat without the secrets that it was given.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from toolchat.tools.host.channel import Message
from toolchat.tools.mcp.protocol import BridgeRequest, Served
from toolchat.tools.variables import Redactor

if TYPE_CHECKING:  # the SDK is imported once the channel to the chat is there
    from toolchat.tools.mcp.http import Bearer
    from toolchat.tools.mcp.login_store import Login
    from toolchat.tools.mcp.session import Connection
    from toolchat.tools.mcp.stdio import StdioServer

_MOST_NOTES = 20
"""Remarks on a server's tools."""
_MOST_LOGGED = 4 * 1024**2
"""Characters of one server's in the log of the tools, while the chat runs."""
_OFFER_SECONDS = 3.0
_UNNAMED_LEVELS = ("info", "notice")
"""Log levels that are shown without their name; "debug" is not shown."""


def explained(error: BaseException) -> str:
    """What went wrong with a server, in one line."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, FileNotFoundError) and error.filename:
        return f'there is no program "{error.filename}"; install it, or correct command:'
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][-4:])
        return f"it answered with what the protocol does not know ({where}: {first['msg']})"[:300]
    return text[:500] or kind


def is_lost(error: BaseException) -> bool:
    """Whether a session is over, by what a call in it raised."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    text = str(error)
    return text in ("Session terminated", "Connection closed") or type(error).__name__ in (
        "ConnectError",
        "ClosedResourceError",
        "BrokenResourceError",
    )


class Surroundings(Protocol):
    """What a server has of its bridge."""

    request: BridgeRequest
    refreshes: set[asyncio.Task[Login | None]]
    """Of logins: they are not cancelled at the end, but waited for."""

    def send(self, message: Message) -> None:
        """Tell the chat."""

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Have something done as long as the bridge lives."""

    async def elicit(self, server: Server, params: Any) -> Any:
        """Have the user asked what the server wants to know."""

    def said(self, server: Server, line: str) -> None:
        """Show a line under the calls of the server."""


class Server:
    """A server, and the state of its session; see `live`."""

    def __init__(self, number: int, served: Served, bridge: Surroundings) -> None:
        self.number = number
        self.served = served
        self.redactor = Redactor(served.secrets)
        self.connection: Connection | None = None
        self.tools: dict[str, dict[str, Any]] = {}
        """What the chat was told of each tool, by the server's name for it."""
        self.lost = asyncio.Event()
        """Set where the session is of no more use."""
        self.again = asyncio.Event()
        """Set where it may be started again."""
        self.busy = 0
        """Requests of the chat that it has not answered yet: only meanwhile it may ask the user something."""
        self._bridge = bridge
        self._process: StdioServer | None = None
        """Where it is one."""
        self._listing = asyncio.Lock()
        self._stale = False
        """Whether its tools have changed while they were listed."""
        self._offering: asyncio.Task[None] | None = None
        """Lists its prompts and resources anew."""
        self._offers_stale = False
        self._logged_so_far = 0
        self._tokens: dict[str, str] = {}
        """Of the user's login there, as they were and are: in what it says they are replaced."""
        self._login: Bearer | None = None
        """Of one at an address whose headers the file does not sign itself."""

    @property
    def wants(self) -> str:
        """What it wants of a login; "" for nothing."""
        return self._login.problem if self._login is not None else ""

    @contextmanager
    def asked(self) -> Iterator[None]:
        """While the block runs, it has been asked something."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    def tell(self, message: Message) -> None:
        """Send what came from it, without the secrets that it was given."""
        self._bridge.send(self.redactor.data(message))

    async def how(self) -> str:
        """How its process ended; "" where it has none."""
        process = self._process
        if process is None:
            return ""
        with suppress(TimeoutError):
            await asyncio.wait_for(process.ended.wait(), 0.5)
        return process.how

    async def live(self) -> None:
        """Start it, and once more where it ends."""
        modern, again = True, False
        while True:
            why, was_ready, asked = await self._once(modern=modern)
            self.connection = None
            if not was_ready and asked and modern:
                # Some servers of before 2026 end at the question for the newest protocol.
                modern = False
                continue
            state = "died" if was_ready and not again else "failed"
            self.tell({"op": "state", "server": self.number, "state": state, "why": why})
            if again or not was_ready:
                return
            # The chat sees first whether the server's files are still those that were accepted.
            await self.again.wait()
            again = True

    async def _once(self, *, modern: bool) -> tuple[str, bool, bool]:
        """One life of it: why it ended, whether it had been ready, and whether it ended without a word."""
        from toolchat.tools.mcp.stdio import StdioServer

        served, ready = self.served, False
        process: StdioServer | None = None
        self.lost = asyncio.Event()
        if served.command:
            process = StdioServer(served.command, served.environment, served.cwd, self.log)
        self._process = process
        try:
            self._login = self._bearer()
            async with asyncio.timeout(served.start_timeout) as limit:
                async with self._connected(process, modern=modern) as connection:
                    self.connection = connection
                    await self._list(connection, "state", await self._offers(connection))
                    limit.reschedule(None)
                    ready = True
                    await self._alive(connection, process)
        except TimeoutError:
            if not ready:
                said = f": {process.how.partition(': ')[2]}" if process is not None and ": " in process.how else ""
                return f"it did not answer within {served.start_timeout:g} seconds (start_timeout:){said}", False, False
        except Exception as error:
            silent = process is not None and process.ended.is_set()
            if process is None or not silent:
                return self.wants or explained(error), ready, False
            return process.how, ready, True
        return process.how if process is not None else "its session ended", ready, False

    def _bearer(self) -> Bearer | None:
        served = self.served
        if not served.url or any(name.lower() == "authorization" for name in served.headers):
            return None
        from toolchat.tools.mcp.http import Bearer
        from toolchat.tools.mcp.login_store import Logins

        def used(login: Login) -> None:
            # Earlier ones may still be in what it says.
            known = self._tokens.values()
            new = {f"{name}_{len(known)}": value for name, value in login.secrets.items() if value not in known}
            if new:
                self._tokens |= new
                self.redactor = Redactor({**served.secrets, **self._tokens})

        logins = Logins(Path(self._bridge.request.logins))
        return Bearer(served.name, served.url, logins, used, self._bridge.refreshes)

    async def _alive(self, connection: Connection, process: StdioServer | None) -> None:
        """Wait until a server that is ready ends."""
        waits = [asyncio.create_task(self.lost.wait())]
        if process is not None:
            waits.append(asyncio.create_task(process.ended.wait()))
        listening = None
        if connection.is_modern and connection.has("tools"):
            listening = self._bridge.start(self._listen(connection), "mcp-listen")
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*waits, *([listening] if listening is not None else [])):
                task.cancel()

    @asynccontextmanager
    async def _connected(self, process: StdioServer | None, *, modern: bool) -> AsyncIterator[Connection]:
        import toolchat
        from toolchat.tools.mcp.session import connected

        if process is not None:
            opened: Any = process.streams()
        else:
            from toolchat.tools.mcp.http import reached

            opened = reached(self.served, self._login)
        async with (
            opened as streams,
            connected(
                streams,
                root=self._bridge.request.root,
                offers_roots=self.served.roots,
                version=toolchat.__version__,
                elicit=partial(self._bridge.elicit, self),
                logged=self._logged,
                changed=self._changed,
                modern=modern,
            ) as connection,
        ):
            yield connection

    async def _listen(self, connection: Connection) -> None:
        """Hear of changed lists, by the protocols from 2026 on."""
        from mcp.client.subscriptions import listen

        with suppress(Exception):  # a server need not offer it
            async with listen(connection.session, tools_list_changed=True) as events:
                async for _ in events:
                    self._changed("tools")

    async def _offers(self, connection: Connection) -> Message:
        """Its prompts and resources; none where it has none, or hangs."""
        from toolchat.tools.mcp.tool_schemas import cleaned

        async def listed(what: str) -> list[Any]:
            with suppress(Exception):
                async with asyncio.timeout(_OFFER_SECONDS):
                    return list(cleaned(await connection.listed(what)))
            return []

        kinds = ("prompts", "resources", "templates")
        return dict(zip(kinds, await asyncio.gather(*map(listed, kinds)), strict=True))

    async def _list(self, connection: Connection, op: str, offers: Message | None = None) -> None:
        """Tell the chat of its tools, as they are now."""
        from toolchat.tools.mcp.tool_schemas import MOST_TOOLS, listed

        async with self._listing:
            self._stale = False
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
            self.tools = told
            notes = list(dict.fromkeys(notes))
            if len(notes) > _MOST_NOTES:
                notes[_MOST_NOTES:] = [f"{len(notes) - _MOST_NOTES} more of its tools are odd"]
            message: Message = {"op": op, "server": self.number, "tools": list(told.values()), "notes": notes}
            if op == "state":
                message |= {
                    "state": "ready",
                    "about": connection.about(),
                    **(offers or {}),
                    "pid": self._process.pid if self._process is not None else 0,
                }
            self.tell(message)
        if self._stale:
            self._changed("tools")

    def _changed(self, what: str) -> None:
        if self.connection is None:
            return
        if what != "tools":
            self._offers_changed()
            return
        if self._listing.locked():
            self._stale = True  # a flood of changes is listed once more
            return

        async def again() -> None:
            with suppress(Exception):
                async with asyncio.timeout(self.served.start_timeout):
                    if self.connection is not None:
                        await self._list(self.connection, "tools")

        self._bridge.start(again(), "mcp-list")

    def _offers_changed(self) -> None:
        if self._offering is not None and not self._offering.done():
            self._offers_stale = True
            return

        async def again() -> None:
            self._offers_stale = True
            while self._offers_stale and self.connection is not None:
                self._offers_stale = False
                self.tell({"op": "offers", "server": self.number, **await self._offers(self.connection)})

        self._offering = self._bridge.start(again(), "mcp-offers")

    async def _logged(self, level: str, text: str) -> None:
        self.log(f"{level}: {text}")
        if level != "debug":
            # A log message belongs to no call. Where one is under way, it is about that, most likely.
            self._bridge.said(self, text if level in _UNNAMED_LEVELS else f"{level}: {text}")

    def log(self, line: str) -> None:
        """Write a line of its into the log of the tools, as long as it has not said too much."""
        if self._logged_so_far > _MOST_LOGGED:
            return
        self._logged_so_far += len(line)
        if self._logged_so_far > _MOST_LOGGED:
            line = f"(what else it says is left out: it has said {_MOST_LOGGED // 1024**2} MiB)"
        with suppress(OSError, ValueError):
            stamp = time.strftime("%Y-%m-%d %H:%M:%S")
            print(f"{stamp} mcp {self.served.name}: {self.redactor.text(line)}", file=sys.stderr, flush=True)

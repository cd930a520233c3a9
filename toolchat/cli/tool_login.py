"""`toolchat tools mcp login` and `logout`: shows a person where to log in, and keeps or ends what comes of it."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchat.cli.signals import run_async
from toolchat.process import hide_memory
from toolchat.settings import state_folder
from toolchat.tools.code import ToolsCode, read_code
from toolchat.tools.mcp.entry import McpServer
from toolchat.tools.mcp.login_store import Login, Logins
from toolchat.tools.problems import did_you_mean
from toolchat.tools.variables import MissingVariable, basic_environment, expanded, named_environment
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import ToolchatError, UsageError

if TYPE_CHECKING:
    from toolchat.tools.mcp.login import Wanted


def log_in_at(source: Path | ToolsCode, name: str, *, scope: str | None, browser: bool) -> None:
    """Have the user log in at the server of that name. Raises ToolchatError."""
    server = _named(source, name)
    if any(key.lower() == "authorization" for key, _ in server.headers):
        raise UsageError(f"{name}: its headers: say who you are (Authorization); remove that to log in instead")
    if find_spec("httpx2") is None:
        raise UsageError("the package mcp is not installed; run: pip install 'toolchat[mcp]'")
    from toolchat.tools.mcp.login import log_in

    hide_memory()
    wanted = _wanted(server, scope)

    async def show(issuer: str, address: str) -> None:
        print(f"You log in at {sanitize_line(issuer)}, for the server {name}. The page for it:", file=sys.stderr)
        print(sanitize_line(address), flush=True)
        opened = browser and await _opened(address)
        what = "It is open in your browser." if opened else "Open it in a browser."
        here = " If that is on another machine, paste the address that it ends at here." if sys.stdin.isatty() else ""
        print(f"{what}{here} Ctrl-C ends the waiting.", file=sys.stderr, flush=True)

    async def main(_: Any) -> None:
        try:
            login = await log_in(wanted, show, _line if sys.stdin.isatty() else None)
        except ToolchatError as error:
            raise type(error)(f"{name}: {error}") from None
        await Logins(state_folder()).log_in(login)
        until = "" if login.refresh_token else ", until its token ends"
        print(f"You are logged in at {name}{until}.", file=sys.stderr)

    run_async(main)


def log_out_at(source: Path | ToolsCode, name: str) -> None:
    """Forget the login at the server of that name, and have it ended where it was made. Raises ToolchatError."""
    hide_memory()
    url = _address(_named(source, name))

    async def main(_: Any) -> tuple[Login | None, bool]:
        login = await Logins(state_folder()).log_out(url)
        if login is None or find_spec("httpx2") is None:
            return login, False
        from toolchat.tools.mcp.authorization import revoked
        from toolchat.tools.mcp.endpoints import http_client

        async with http_client() as client:
            with suppress(ToolchatError):
                return login, await revoked(client, login)
        return login, False

    login, ended = run_async(main)
    if login is None:
        raise UsageError(f"{name}: you are not logged in there")
    where = "" if ended else f"; {sanitize_line(login.issuer)} was not told, or did not say that it knows"
    print(f"You are logged out at {name}{where}.", file=sys.stderr)


def _named(source: Path | ToolsCode, name: str) -> McpServer:
    code = source if isinstance(source, ToolsCode) else read_code(source)
    servers = {server.name: server for server in code.servers()}
    if name not in servers:
        hint = did_you_mean(name, servers, "toolchat tools mcp lists those there are")
        raise UsageError(f"{sanitize_line(name)}: the tools file has no server of that name; {hint}")
    if not servers[name].url:
        raise UsageError(f"{name}: it is started here, by command:; only a server with url: has logins")
    return servers[name]


def _address(server: McpServer) -> str:
    """Where it is, and by which its login is kept."""
    return _expanded(server, server.url)


def _wanted(server: McpServer, scope: str | None) -> Wanted:
    from toolchat.tools.mcp.login import Wanted

    oauth = server.oauth
    return Wanted(
        url=_address(server),
        headers={key: _expanded(server, text) for key, text in server.headers},
        client_id=_expanded(server, oauth.client_id),
        client_secret=_expanded(server, oauth.client_secret),
        issuer=_expanded(server, oauth.issuer),
        scope=scope if scope is not None else _expanded(server, oauth.scope),
        port=oauth.port,
    )


def _expanded(server: McpServer, text: str) -> str:
    known = basic_environment(os.environ) | named_environment(server.given, os.environ)
    try:
        return str(expanded(text, known))
    except MissingVariable as missing:
        raise UsageError(f"{server.name}: it needs the variable {missing.name}, which is not set; set it") from None


async def _opened(address: str) -> bool:
    """Whether a browser with a window has the page. One in this terminal would take it over."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    import webbrowser

    return await asyncio.to_thread(webbrowser.open, address)


async def _line() -> str:
    """The next line that is typed or pasted; never comes where nothing more can."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[str] = loop.create_future()
    pieces = b""

    def read() -> None:
        nonlocal pieces
        data = os.read(sys.stdin.fileno(), 64 * 1024)
        pieces += data
        if not came.done() and (b"\n" in pieces or not data):
            came.set_result(pieces.decode("utf-8", "replace"))

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        text = await came
    finally:
        loop.remove_reader(sys.stdin.fileno())
    if not text:
        await asyncio.Event().wait()
    return text

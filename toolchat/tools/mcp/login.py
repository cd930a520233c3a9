"""A person's login at an MCP server: opens the page for it, hears what came of it on this machine, keeps the tokens.

The answer comes to a port of 127.0.0.1 that is open as long as the login takes (RFC 8252), or is pasted by a person
whose browser is on another machine. What is no answer to this login, by its state, changes nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from toolchat.tools.mcp.authorization import (
    OFFLINE,
    Attempt,
    AuthorizationServer,
    authorization_url,
    code_of,
    exchanged,
    given_client,
    protected,
    registered,
)
from toolchat.tools.mcp.endpoints import LoginError, http_client, same, shown
from toolchat.tools.mcp.login_store import Login

PERSON_SECONDS = 300.0
"""For a person to log in."""
_PATH = "/callback"
_MOST_HEAD = 16 * 1024
_HEAD_SECONDS = 5.0
_MOST_OPEN = 16
_PAGE = """<!doctype html><meta charset="utf-8"><title>toolchat</title><p>{}</p>"""
_DONE = "toolchat has the answer. You can close this page; the terminal says how it went on."
_OTHER = "This is no answer to the login that toolchat waits for."


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose login is wanted, with what the tools file says of it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    issuer: str = ""
    """The authorization server that it must be; empty where the MCP server may say, and there is no secret."""
    scope: str = ""
    port: int = 0
    """Of 127.0.0.1; 0 for one that is free."""


async def log_in(
    wanted: Wanted,
    show: Callable[[str, str], Awaitable[None]],
    paste: Callable[[], Awaitable[str]] | None = None,
    seconds: float = PERSON_SECONDS,
) -> Login:
    """The login that comes of it. Raises LoginError.

    `show` is given the authorization server's name and the address at which a person logs in; `paste` waits for an
    address that a browser returned to.
    """
    attempt = Attempt()
    async with http_client() as client:
        of = await protected(client, wanted.url, wanted.headers)
        _check_issuer(of.server, wanted)
        scope = wanted.scope or of.scope
        if scope and not wanted.scope and of.server.refreshes_by_scope and OFFLINE not in scope.split():
            scope = f"{scope} {OFFLINE}"
        async with _heard(of.server, attempt, wanted.port) as (port, answer):
            redirect = f"http://127.0.0.1:{port}{_PATH}"
            if wanted.client_id:
                who = given_client(of.server, wanted.client_id, wanted.client_secret)
            else:
                who = await registered(client, of, redirect, scope)
            await show(of.server.issuer, authorization_url(of, who, redirect, attempt, scope))
            pasting = asyncio.create_task(_pasted(paste, of.server, attempt, answer)) if paste is not None else None
            try:
                code = await asyncio.wait_for(answer, seconds)
            except TimeoutError:
                raise LoginError(f"nobody logged in within {seconds:g} seconds") from None
            finally:
                if pasting is not None:
                    pasting.cancel()
        return await exchanged(client, of, who, code=code, redirect=redirect, attempt=attempt, scope=scope)


def _check_issuer(server: AuthorizationServer, wanted: Wanted) -> None:
    """A server says itself who issues its tokens: a secret of the user's is not for whom it names."""
    if wanted.client_secret and not wanted.issuer:
        raise LoginError(f"client_secret stands without issuer, whose it is; is it for {shown(server.issuer)}?")
    if wanted.issuer and not same(server.issuer, wanted.issuer):
        what = f"it wants a login at {shown(server.issuer)}, and its oauth: names the issuer {shown(wanted.issuer)}"
        raise LoginError(f"{what}; correct that where you trust the first")


async def _pasted(
    paste: Callable[[], Awaitable[str]], server: AuthorizationServer, attempt: Attempt, answer: asyncio.Future[str]
) -> None:
    while not answer.done():
        line = (await paste()).strip()
        with suppress(ValueError):
            _settle(urlsplit(line).query, server, attempt, answer)


def _settle(query: str, server: AuthorizationServer, attempt: Attempt, answer: asyncio.Future[str]) -> bool:
    """Whether this is the answer, a code or a refusal."""
    try:
        code = code_of(query, server, attempt)
    except ValueError:  # too many fields
        return False
    except LoginError as error:
        if not answer.done():
            answer.set_exception(error)
        return True
    if code is not None and not answer.done():
        answer.set_result(code)
    return code is not None


@asynccontextmanager
async def _heard(
    server: AuthorizationServer, attempt: Attempt, port: int
) -> AsyncIterator[tuple[int, asyncio.Future[str]]]:
    """The port that is listened on, and the code that will come there."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    open_now = 0

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            query = await _request(reader, bound) if open_now <= _MOST_OPEN else None
            was_it = query is not None and _settle(query, server, attempt, answer)
            writer.write(_response(was_it))
            with suppress(ConnectionError):
                await writer.drain()
        finally:
            open_now -= 1
            writer.close()

    try:
        listening = await asyncio.start_server(visited, "127.0.0.1", port, limit=_MOST_HEAD)
    except OSError as error:
        raise LoginError(f"port {port} of 127.0.0.1 cannot be listened on: {error.strerror}") from None
    bound = int(listening.sockets[0].getsockname()[1])
    try:
        yield bound, answer
    finally:
        listening.close()
        if answer.done() and not answer.cancelled():
            answer.exception()  # it has been told, or something else is


async def _request(reader: asyncio.StreamReader, port: int) -> str | None:
    """The query of a request for our page; None for anything else."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    line, _, rest = head.decode("latin-1").partition("\r\n")
    # Of another name it would be a page of somebody's that has been led to this machine.
    host = re.search(r"(?im)^host:[ \t]*(\S+)[ \t]*\r?$", rest)
    if host is None or host[1].lower() not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        return None
    match line.split(" "):
        case ["GET", target, _] if target.partition("?")[0] == _PATH:
            return target.partition("?")[2]
    return None


def _response(was_it: bool) -> bytes:
    page = _PAGE.format(_DONE if was_it else _OTHER).encode()
    head = [
        "HTTP/1.1 200 OK" if was_it else "HTTP/1.1 400 Bad Request",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(page)}",
        "Content-Security-Policy: default-src 'none'",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + page

"""The transport to a server at an address: streamable HTTP or HTTP with SSE, with the access token of a login.

The token is that of the user's login there, refreshed in time. It goes to the server's own origin and nowhere else,
whatever a server redirects or refers to.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from shlex import quote
from typing import Any

import httpx2

from toolchat.tools.mcp.authorization import refreshed
from toolchat.tools.mcp.endpoints import challenge, http_client
from toolchat.tools.mcp.login_store import Login, Logins
from toolchat.tools.mcp.protocol import Served
from toolchat.wire.errors import ToolchatError

SPARE_SECONDS = 30.0
"""So long before its end a token is refreshed."""


@asynccontextmanager
async def reached(served: Served, login: httpx2.Auth | None) -> AsyncIterator[Any]:
    """Streams to a server at an address; `login` signs the requests."""
    from mcp.client.sse import sse_client
    from mcp.client.streamable_http import streamable_http_client

    headers = dict(served.headers)
    # Asked in any case: what a server wants of a login it says before anything else.
    old = await _is_old(served, login)
    if served.transport == "sse" or (not served.transport and old):
        async with sse_client(served.url, headers=headers, auth=login) as streams:
            yield streams
        return
    async with (
        httpx2.AsyncClient(headers=headers, auth=login, timeout=httpx2.Timeout(30.0, read=300.0)) as client,
        streamable_http_client(served.url, http_client=client) as streams,
    ):
        yield streams


async def _is_old(served: Served, login: httpx2.Auth | None) -> bool:
    """Whether an address is one of HTTP with SSE, the transport of 2024: it takes no POST, and streams what is got."""
    body = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
    headers = {**served.headers, "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=headers, auth=login, timeout=10.0) as client:
        async with client.stream("POST", served.url, json=body) as answer:
            if answer.status_code not in (404, 405):
                if answer.status_code in (401, 403):
                    raise PermissionError(0, f"it answered {answer.status_code}: it wants other headers:")
                return False
        async with client.stream("GET", served.url) as answer:
            return answer.headers.get("content-type", "").startswith("text/event-stream")


class Bearer(httpx2.Auth):
    """The tokens of one server; `problem` is a line for the user where it did not take them."""

    def __init__(
        self,
        name: str,
        url: str,
        logins: Logins,
        on_login: Callable[[Login], None],
        refreshes: set[asyncio.Task[Login | None]] | None = None,
    ) -> None:
        """`on_login` is told of each login whose tokens are used, before they are. `refreshes` has those under way: one
        goes on where the request that wants it is cancelled."""
        self.problem = ""
        self._name = name
        self._url = url
        self._origin = _origin(httpx2.URL(url))
        self._logins = logins
        self._on_login = on_login
        self._refreshes = refreshes if refreshes is not None else set()
        self._unkept: tuple[Login, Login] | None = None
        """What a refresh of the first came to that could not be written: a refresh token often works once. It counts as
        long as the first is what is kept."""

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        if _origin(request.url) != self._origin:
            yield request
            return
        login = self._login()
        if login is not None and login.expires and login.expires - SPARE_SECONDS < time.time():
            # Before its end it may be good though there is no newer one, but not where the user has logged out.
            login = await self._newer(login) or self._login()
        self._sign(request, login)
        response = yield request
        if response.status_code == 401 and login is not None and (newer := await self._newer(login)) is not None:
            self._sign(request, newer)
            response = yield request
        if response.status_code in (401, 403):
            self.problem = self._wanted(response, login)
        elif response.is_success:
            self.problem = ""

    def _login(self) -> Login | None:
        login = self._current(self._logins.get(self._url))
        if login is not None:
            self._on_login(login)
        return login

    def _current(self, kept: Login | None) -> Login | None:
        if self._unkept is not None and self._unkept[0] == kept:
            return self._unkept[1]
        self._unkept = None
        return kept

    def _sign(self, request: httpx2.Request, login: Login | None) -> None:
        if login is not None:
            request.headers["Authorization"] = f"Bearer {login.access_token}"

    async def _newer(self, login: Login) -> Login | None:
        """The login with other tokens than these; None where there are none."""
        # A task of its own: cancelled midway, the old refresh token would be used up, and the new one lost.
        task = asyncio.create_task(self._refreshed(login), name="mcp-refresh")
        self._refreshes.add(task)
        task.add_done_callback(self._refreshes.discard)
        return await asyncio.shield(task)

    async def _refreshed(self, login: Login) -> Login | None:
        try:
            async with self._logins.refreshing(self._url):
                kept = self._logins.get(self._url)
                now = self._current(kept)
                # Another program may have been first, or may have logged in or out.
                if kept is None or now is None or now.access_token != login.access_token:
                    return self._login()
                if not now.refresh_token:
                    return None
                async with http_client() as client:
                    newer = await refreshed(client, now)
                self._on_login(newer)
                try:
                    if not self._logins.renew(kept, newer):
                        return self._login()
                    self._unkept = None
                except ToolchatError:
                    self._unkept = kept, newer
                return self._login()
        except (ToolchatError, OSError, TimeoutError):
            return None

    def _wanted(self, response: httpx2.Response, login: Login | None) -> str:
        told = challenge(response.headers.get_list("www-authenticate"))
        command = f"run: toolchat tools mcp login {self._name}"
        if told.get("error") == "insufficient_scope":
            scope = right_scope(told.get("scope", ""))
            return f"your login there does not cover this; {command}{f' --scope {quote(scope)}' if scope else ''}"
        if response.status_code == 403:
            return "it refuses what your login there asks for (403)" if login is not None else "it answered 403"
        return f"your login there has ended; {command}" if login is not None else f"it wants you to log in; {command}"


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def right_scope(text: str) -> str:
    """A scope, where it is one that may be shown in a command line; "" for all else."""
    return text if re.fullmatch(r"[\w:./-]{1,80}( [\w:./-]{1,80}){0,20}", text, re.ASCII) else ""

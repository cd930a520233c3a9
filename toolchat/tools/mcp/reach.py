"""Reaches servers at an address, by streamable HTTP or HTTP with SSE; says in a line what went wrong with one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from toolchat.tools.mcp.protocol import Served

if TYPE_CHECKING:  # where all servers are processes there is no need for it
    import httpx2


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


@asynccontextmanager
async def reached(served: Served, login: httpx2.Auth | None) -> AsyncIterator[Any]:
    """Streams to a server at an address; `login` signs the requests."""
    import httpx2
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
    import httpx2

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

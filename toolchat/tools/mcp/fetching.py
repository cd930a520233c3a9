"""One request of a login to a stranger's endpoint: in time, bounded, not redirected, and not to where it may not go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from toolchat.tools.mcp.addresses import LoginError, check_reach, origin, shown

REQUEST_SECONDS = 20.0
_MOST = 256 * 1024
"""Bytes of a document."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: httpx2.Headers
    data: Mapping[str, Any]
    """What it holds, where that is a JSON object."""


def http_client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(follow_redirects=False, timeout=REQUEST_SECONDS)


async def fetch(
    client: httpx2.AsyncClient,
    server: str,
    method: str,
    address: str,
    *,
    headers: Mapping[str, str] | None = None,
    read: bool = True,
    **what: Any,
) -> Answer:
    """An answer, never that of where it redirects to, for the MCP server at `server`. Raises LoginError where there is
    none in time, and where nobody may ask for that server."""
    # Nothing compressed: a few bytes may stand for gigabytes.
    plain = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            await check_reach(address, server)
            async with client.stream(method, address, headers=plain, follow_redirects=False, **what) as answer:
                body = b""
                if read:
                    async for part in answer.aiter_raw():
                        body += part
                        if len(body) > _MOST:
                            raise LoginError(f"{shown(origin(address))} answered with more than {_MOST // 1024} KiB")
    except TimeoutError:
        raise LoginError(f"{shown(origin(address))} did not answer within {REQUEST_SECONDS:g} seconds") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        # Without the address: it may hold a secret.
        raise LoginError(
            f"{shown(origin(address))} cannot be asked: {shown(str(error)) or type(error).__name__}"
        ) from None
    try:
        data = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        data = {}
    return Answer(answer.status_code, answer.headers, data if isinstance(data, dict) else {})

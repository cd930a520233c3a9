"""Strangers' endpoints: which addresses are gone to, whether two mean the same server, and one request to one.

A request is in time, bounded, not redirected, and not to where it may not go.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from toolchat.wire.errors import ToolchatError

REQUEST_SECONDS = 20.0
_MOST_BYTES = 256 * 1024
"""Bytes of a document."""
_LONGEST = 2000
_Number = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}


class LoginError(ToolchatError):
    """A login that does not come to pass; its line says why."""


def checked_address(address: Any, what: str, server: str) -> str:
    """`address`, where the MCP server at `server` may refer to it, as far as that can be read. Raises LoginError."""
    text = address if isinstance(address, str) else ""
    wrong = LoginError(f"{what} is not one that is gone to: {shown(text)}; expected https://")
    if not text or len(text) > _LONGEST or not re.fullmatch(r"[\x21-\x7e]+", text) or "\\" in text:
        raise wrong
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise wrong from None
    if not host or parts.username is not None or parts.fragment or "#" in text:
        raise wrong
    at_home = is_loopback(urlsplit(server).hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and at_home and is_loopback(host)):
        raise wrong
    if not at_home and (is_loopback(host) or (_is_inside(host) and not _is_inside(urlsplit(server).hostname or ""))):
        raise LoginError(f"{what} is within your own network: {shown(text)}; it is not asked")
    return text


async def check_reach(address: str, server: str) -> None:
    """Look up the host of an address that `checked_address` gave. Raises LoginError where it is further inside than
    the MCP server at `server`, which refers to it: in the user's network, or on this machine.

    A name that cannot be looked up passes: behind a proxy there need be nothing here that could.
    """
    host, own = (urlsplit(url).hostname or "" for url in (address, server))
    if host == own or is_loopback(own):
        return
    deepest = max(await _numbers(host), key=_depth, default=None)
    # A server chooses itself what its name leads to: the outermost of that counts.
    if deepest is not None and _depth(deepest) > min(map(_depth, await _numbers(own)), default=0):
        raise LoginError(f"{shown(origin(address))} is within your own network ({deepest}); it is not asked")


def _depth(number: _Number) -> int:
    return 2 if number.is_loopback else 0 if number.is_global else 1


async def _numbers(host: str) -> list[_Number]:
    if (number := _number(host)) is not None:
        return [number]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    except UnicodeError:
        raise LoginError(f"{shown(host)} is no name of a host; it is not asked") from None
    return [number for entry in found if (number := _number(str(entry[4][0]))) is not None]


def is_loopback(host: str) -> bool:
    address = _number(host)
    if address is not None:
        return address.is_loopback
    return host.rstrip(".").lower().rpartition(".")[2] == "localhost"  # RFC 6761: with all names below it


def _is_inside(host: str) -> bool:
    address = _number(host)
    return address is not None and not address.is_global


def _number(host: str) -> _Number | None:
    """The address that a host is, also as 2130706433 or 0x7f.1; None for a name."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host)) if re.fullmatch(r"[0-9a-fA-FxX.]+", host) else None
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address


def origin(url: str) -> str:
    """Scheme, host and port, in one spelling: in lower case, and without the port that the scheme has anyway."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port not in (None, _PORTS.get(parts.scheme)) else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def canonical(url: str) -> str:
    """The address in one spelling, also without a slash at the end of its path."""
    parts = urlsplit(url)
    return f"{origin(url)}{parts.path.rstrip('/')}{f'?{parts.query}' if parts.query else ''}"


def same(one: str, other: str) -> bool:
    """Whether two texts are one address, without a user's name or a fragment. A text that is no address is not."""
    try:
        extra = [part for text in (one, other) for part in (urlsplit(text).username, urlsplit(text).fragment) if part]
        return canonical(one) == canonical(other) and not extra
    except ValueError:
        return False


def covers(resource: str, url: str) -> bool:
    """Whether `resource` names the server at `url`, or a part of its address above it."""
    try:
        named, own = urlsplit(resource), urlsplit(url)
        if origin(resource) != origin(url) or named.username or named.fragment:
            return False
    except ValueError:
        return False
    return f"{own.path.rstrip('/')}/".startswith(f"{named.path.rstrip('/')}/")


def challenge(headers: Iterable[str]) -> dict[str, str]:
    """The parameters of a Bearer challenge (RFC 6750, 3) in headers WWW-Authenticate, by name."""
    for text in headers:
        if text[:6].lower() == "bearer":
            pairs = re.findall(r'([A-Za-z_]{1,40})\s*=\s*(?:"([^"]{0,2000})"|([^\s,"]{1,2000}))', text[6:8000])
            return {name.lower(): quoted or plain for name, quoted, plain in reversed(pairs)}
    return {}


def shown(text: str) -> str:
    """A stranger's text in a line."""
    line = " ".join("".join(one if one.isprintable() else "?" for one in text[:400]).split())
    return line if len(line) <= 160 else f"{line[:160]}…"


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
                        if len(body) > _MOST_BYTES:
                            raise LoginError(
                                f"{shown(origin(address))} answered with more than {_MOST_BYTES // 1024} KiB"
                            )
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

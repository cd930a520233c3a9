"""What strangers write of addresses: which are gone to, whether two mean the same server, and a challenge's parts."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from toolchat.wire.errors import ToolchatError

_LONGEST = 2000
_Number = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}


class LoginError(ToolchatError):
    """A login that does not come to pass; its line says why."""


def checked(address: Any, what: str, server: str) -> str:
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
    """Look up the host of an address that `checked` gave. Raises LoginError where it is further inside than the MCP
    server at `server`, which refers to it: in the user's network, or on this machine.

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

"""What strangers write of addresses: which are gone to, whether two mean the same server, and a challenge's parts."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from toolchat.wire.errors import ToolchatError

_LONGEST = 2000


class LoginError(ToolchatError):
    """A login that does not come to pass; its line says why."""


def checked(address: Any, what: str, server: str) -> str:
    """`address`, where the MCP server at `server` may refer to it. Raises LoginError."""
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


def is_loopback(host: str) -> bool:
    address = _number(host)
    return address.is_loopback if address is not None else host.rstrip(".").lower() == "localhost"


def _is_inside(host: str) -> bool:
    address = _number(host)
    return address is not None and not address.is_global


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
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
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def canonical(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), parts.query, ""))


def covers(resource: str, url: str) -> bool:
    """Whether `resource` names the server at `url`, or a part of its address above it."""
    named, own = urlsplit(resource), urlsplit(url)
    if (named.scheme.lower(), named.netloc.lower()) != (own.scheme.lower(), own.netloc.lower()) or named.fragment:
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

"""What went wrong between here and a server, in one line with the remedy."""

from __future__ import annotations

import errno
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from toolchat.engine.remote.config import Address
from toolchat.engine.remote.network import Proxy, proxy_to
from toolchat.wire.errors import EngineError

_SHOWN = 300
"""Characters of a server's own words."""
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_LIMIT = (
    re.compile(r"context (?:length|size|window)(?: of| is|:)?\s*\(?(\d[\d,]*)", re.IGNORECASE),
    re.compile(r"(\d[\d,]*) (?:tokens? )?maximum(?: context)?", re.IGNORECASE),
    re.compile(r"n_ctx\D{0,4}(\d+)", re.IGNORECASE),
)
_SENT = (
    re.compile(r"(\d[\d,]*) in the messages", re.IGNORECASE),
    re.compile(r"prompt contains (?:at least )?(\d[\d,]*)(?! char)", re.IGNORECASE),
    re.compile(r"(\d[\d,]*) input tokens", re.IGNORECASE),
    re.compile(r"(?:resulted in|request \(|too long:|requested) ?(\d[\d,]*) tokens", re.IGNORECASE),
)
"""Texts of vLLM, OpenAI, Mistral's API, Anthropic's and llama.cpp; of two figures the prompt's own comes first."""
_TOO_LONG = ("context", "prompt is too long", "n_ctx", "maximum")
KEY_HINT = "set TOOLCHAT_API_KEY, or give --api-key"


class UnreachableError(EngineError):
    """There is no answer at all, and nothing of a request was worked on."""


class BrokenStreamError(EngineError):
    """An answer began, and did not end as it should."""


class RefusedError(EngineError):
    """The server answered, and said no."""

    def __init__(self, message: str, status: int, said: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.said = said
        """The server's own words."""
        self.retry_after = retry_after
        """Seconds, where it said so."""

    @property
    def exceeded(self) -> tuple[int, int | None] | None:
        """Of a prompt that is too long: the context, and the tokens of the prompt where they are told; else None."""
        return context_figures(self.said) if self.status in (400, 413, 422, 500) else None


def context_figures(said: str) -> tuple[int, int | None] | None:
    """The tokens of context, and of the prompt, that a refusal speaks of; None where it speaks of something else."""
    if not any(words in said.lower() for words in _TOO_LONG):
        return None
    limit = next((match for pattern in _LIMIT if (match := pattern.search(said))), None)
    if limit is None:
        return None
    sent = next((match for pattern in _SENT if (match := pattern.search(said))), None)
    return _number(limit[1]), _number(sent[1]) if sent is not None else None


def _number(digits: str) -> int:
    return int(digits.replace(",", ""))


def unusable_proxy(error: Exception, proxy: Proxy, address: Address) -> EngineError:
    """Why a proxy cannot be asked at all."""
    otherwise = "or put the server's name into NO_PROXY"
    if isinstance(error, ImportError):
        return UnreachableError(
            f"{address.text}: {proxy.variable} names a SOCKS proxy, which takes one more package; "
            f"pip install 'httpx[socks]', {otherwise}"
        )
    return UnreachableError(
        f"{address.text}: {proxy.variable} names no proxy that can be used; expected http://HOST:PORT or "
        f"socks5://HOST:PORT; correct it, {otherwise}"
    )


def unreachable(error: Exception, address: Address) -> EngineError:
    """Why no answer came."""
    where = address.text
    causes = list(_causes(error))
    if (proxy := proxy_to(address)) is not None:
        for cause in causes:
            if isinstance(cause, socket.gaierror | httpx.ConnectTimeout) or (
                isinstance(cause, OSError)
                and cause.errno in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)
            ):
                return UnreachableError(
                    f"{where}: the proxy that {proxy.variable} names cannot be reached ({_short(cause)}); correct it, "
                    "or put the server's name into NO_PROXY"
                )
    # What is spoken at an address of http may be https.
    tls = " (or it speaks https)" if address.socket is None and address.root.startswith("http:") else ""
    for cause in causes:
        match cause:
            case ssl.SSLCertVerificationError():
                return UnreachableError(f"{where}: its certificate is not trusted ({_certificate(cause)}")
            case ssl.SSLError():
                return UnreachableError(f"{where}: no TLS is spoken there ({_short(cause)}); is it http and not https?")
            case socket.gaierror():
                return UnreachableError(
                    f"{where}: this host's name is not known ({cause.strerror}); check the address and the network"
                )
            case FileNotFoundError() | NotADirectoryError():
                return UnreachableError(f"{where}: there is no such socket; is the server running?")
            case PermissionError():
                return UnreachableError(f"{where}: the socket is another user's; you may not connect to it")
            case OSError(errno=errno.ECONNREFUSED) if address.socket is not None and Path(address.socket).exists():
                what = "nobody listens on this socket" if Path(address.socket).is_socket() else "it is no socket"
                return UnreachableError(f"{where}: {what}; is the server running, and is this its socket?")
            case OSError(errno=errno.ECONNREFUSED):
                return UnreachableError(
                    f"{where}: the connection is refused; is the server running there, and its model loaded? "
                    "(vLLM listens only then)"
                )
            case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
                return UnreachableError(f"{where}: cannot be reached ({cause.strerror}); check the network")
            case OSError(errno=errno.ECONNRESET | errno.EPIPE):
                return UnreachableError(f"{where}: the server closed the connection; see its log{tls}")
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return UnreachableError(f"{where}: no connection within the time allowed; check address, port and firewall")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return UnreachableError(f"{where}: the server accepts connections and does not answer; see its log")
    if isinstance(error, httpx.ProxyError):
        return UnreachableError(f"{where}: the proxy refuses ({_short(error)}); see HTTPS_PROXY and NO_PROXY")
    if isinstance(error, httpx.RemoteProtocolError):
        why = f"what answers speaks no HTTP, or closed the connection ({_short(error)})"
        return UnreachableError(f"{where}: {why}; check the port{tls}")
    return UnreachableError(f"{where}: cannot be reached ({_short(error)})")


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    """Why a certificate is not taken, and what to do about it."""
    why = error.verify_message
    if "mismatch" in why:
        return f"{why.rstrip('.')}); name the server as its certificate does"
    if "expired" in why or "not yet valid" in why:
        return f"{why}); it needs a new one, or the clock of this machine is wrong"
    return f"{why}); name the file of the authority that signed it in SSL_CERT_FILE"


def broken(error: Exception, address: Address) -> BrokenStreamError:
    """Why an answer that had begun stopped."""
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return BrokenStreamError(f"{address.text}: the server stopped sending in the middle of the answer")
    return BrokenStreamError(f"{address.text}: the connection broke in the middle of the answer ({_short(error)})")


def refused(
    status: int, headers: Mapping[str, str], body: bytes, address: Address, key: str, models: Sequence[str] = ()
) -> RefusedError:
    """A response that is no answer, told in a line. `models` are those that the server has, `key` the API key."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    said = hide(server_words(body, kind), key)
    where = address.text
    words = f": {said}" if said else ""
    after = _seconds(headers.get("retry-after"))
    if _is_page(kind, body):
        return RefusedError(
            f"{where}: answers {status} with a web page{f' ({said})' if said else ''} and not as an API does; "
            "it may be a proxy or a login, or the path lacks /v1",
            status,
            said,
            after,
        )
    match status:
        case 401 | 403:
            # A key that is not allowed the model says so in the server's words.
            what = "refuses the API key" if key else "wants an API key"
            line = f"{where}: {what} ({status}){words}; {KEY_HINT}"
        case 404 if models:
            line = f"{where}: has no such model ({status}){words}; it has {', '.join(models[:20])}: --model NAME"
        case 404:
            line = f"{where}: nothing is there ({status}){words}; check --model, and the path of the address"
        case 413:
            line = (
                f"{where}: the request is too large for it, or for a proxy before it ({status}); "
                "send fewer or smaller images and results"
            )
        case 429:
            wait = f" for {after:.0f} s" if after is not None else ""
            line = f"{where}: too many requests{wait} ({status}){words}; wait, or ask for a higher limit"
        case 301 | 302 | 303 | 307 | 308:
            line = f"{where}: is redirected to {_redirection(hide(headers.get('location', ''), key), status, address)}"
        case _ if status < 300:
            line = (
                f"{where}: what answers is no JSON{words}; check that the address is that of an OpenAI-compatible API"
            )
        case 503:
            line = f"{where}: is not ready ({status}){words}; it may be loading its model: ask again in a while"
        case _ if status >= 500:
            line = f"{where}: the server failed ({status}){words}; its log says more"
        case _:
            line = f"{where}: the request is refused ({status}){words}"
    return RefusedError(line, status, said, after)


def _redirection(target: str, status: int, address: Address) -> str:
    """Where the Location `target` of a redirect leads, and what to do: only an address that can be given is advised."""
    try:
        target = urljoin(f"{address.api}/models", target) if target else "another place"
        place = _address(target)
    except ValueError:
        place = None
    # What is elsewhere on the same socket has no address.
    if place is not None and address.socket is not None and place.loopback:
        place = None
    if place is None or place.text.removesuffix("/v1") == address.text.removesuffix("/v1"):
        return f"{_flat(target)} ({status}), as no API is; check what answers there"
    return f"{place.text} ({status}); name that address"


def _address(url: str) -> Address | None:
    """The server that a request for its list of models was redirected to; None for what is no address of one.

    Raises ValueError for what is no URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.port == 0:
        return None
    if any(map(str.isspace, url)) or len(url) > _SHOWN:
        return None
    path = parts.path.rstrip("/").removesuffix("/models")
    address = Address.read(parts._replace(path=path, query="", fragment="").geturl())
    # No request of ours has a query: behind a path that does not end as ours do, it is that of a login.
    ours = urlsplit(address.text).path != parts.path.rstrip("/")
    return address if ours or not (parts.query or parts.fragment) else None


def server_words(body: bytes, kind: str = "") -> str:
    """What the body of a refusal says, in one line: the message within JSON, a page's title, or its first words."""
    text = body.decode("utf-8", "replace")
    try:
        return _flat(_message(json.loads(text)))
    except (ValueError, RecursionError):
        pass
    if _is_page(kind, body):
        title = _TITLE.search(text)
        return _flat(title[1]) if title else ""
    return _flat(text)


def hide(text: str, key: str) -> str:
    """`text` without the API key, which some servers repeat."""
    return text.replace(key, "…") if key else text


def _message(data: Any) -> str:
    match data:
        case str():
            return data
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            return message
        case {"loc": list(place), "msg": str(message)}:
            return f"{'.'.join(map(str, place))}: {message}"
        case {"message": {"detail": detail}} | {"detail": detail}:
            return _message(detail)
        case {"message": str(message)} | {"msg": str(message)}:
            return message
        case [first, *_]:
            return _message(first)
        case {"error": dict(error)}:
            return json.dumps(error, ensure_ascii=False)
        case _:
            return json.dumps(data, ensure_ascii=False) if data else ""


def _is_page(kind: str, body: bytes) -> bool:
    return kind in ("text/html", "application/xhtml+xml") or body.lstrip()[:14].lower().startswith(
        (b"<!doctype html", b"<html")
    )


def _seconds(value: str | None) -> float | None:
    """Of a Retry-After, which may be a date too: that is answered by None, and so by a wait of our own."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e6 else None


def _flat(text: str) -> str:
    line = " ".join(text[: 20 * _SHOWN].split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _short(error: BaseException) -> str:
    return _flat(str(error))[:120] or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that led to it; the deepest are the most telling, and come with the rest."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__context__, one.__cause__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions

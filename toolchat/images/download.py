"""Downloads one URL over http or https within bounds of size, time and redirects."""

from __future__ import annotations

import queue
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit

import toolchat
from toolchat.images.image import size_text
from toolchat.offline import VARIABLE, is_offline, remedy
from toolchat.wire.errors import UsageError

SECONDS = 30.0
"""For all of it, however a server spreads it out; a photograph takes one or two."""

MAX_REDIRECTS = 5

_CHUNK = 64 * 1024


def is_address(name: str) -> bool:
    """True for "http://…" and "https://…"."""
    return name.partition("://")[0].lower() in ("http", "https") and "://" in name


def download(address: str, most: int, *, seconds: float = SECONDS) -> bytes:
    """What is at `address`, of at most `most` bytes, fetched within `seconds`.

    Raises UsageError, one line that begins with the address.
    """
    if is_offline():
        raise UsageError(f"{address}: {remedy(VARIABLE)}, or give a file")
    answer: queue.SimpleQueue[bytes | UsageError] = queue.SimpleQueue()
    until = time.monotonic() + seconds
    late = UsageError(f"{address}: not fetched within {seconds:g} seconds; save it to a file, and give that")

    def fetch() -> None:
        try:
            answer.put(_fetch(address, most, until))
        except UsageError as error:
            answer.put(error)
        except TimeoutError:
            answer.put(late)
        except Exception as error:  # whatever a server's answer can make of an HTTP library
            answer.put(UsageError(f"{address}: cannot be fetched: {_reason(error)}; check the address and the network"))

    # A thread, since a timeout of sockets counts from byte to byte: a slow server could go on for ever.
    threading.Thread(target=fetch, name="download", daemon=True).start()
    try:
        found = answer.get(timeout=seconds)
    except queue.Empty:
        found = late
    if isinstance(found, UsageError):
        raise found
    return found


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if not is_address(newurl):
            raise urllib.error.URLError(f"it leads to {newurl}, which is not http or https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(address: str, most: int, until: float) -> bytes:
    if not urlsplit(address).hostname:
        raise UsageError(f"{address}: an address without a host")
    # Not build_opener, which knows ftp, file and data too.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(address, headers={"User-Agent": f"toolchat/{toolchat.__version__}"})
    try:
        with opener.open(request, timeout=max(until - time.monotonic(), 0.1)) as response:
            return _read(address, response, most, until)
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise error.reason from None
        raise


def _read(address: str, response: Any, most: int, until: float) -> bytes:
    said = response.headers.get("Content-Length", "")
    if said.isdecimal() and int(said) > most:
        raise UsageError(f"{address}: {size_text(int(said))}; at most {size_text(most)} can be sent")
    data = bytearray()
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > most:
            raise UsageError(f"{address}: more than {size_text(most)}, which is the most that can be sent")
        if time.monotonic() > until:
            raise TimeoutError
    return bytes(data)


def _reason(error: Exception) -> str:
    match error:
        case urllib.error.HTTPError(code=code, reason=str(reason)):
            # Python's own words for too many redirects are three lines long.
            return f"the server answered {code} {reason.splitlines()[0] if reason else ''}".rstrip()
        case urllib.error.URLError(reason=OSError(strerror=str(reason))) | urllib.error.URLError(reason=reason):
            return str(reason)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

"""The HTTP client: requests on an event loop in a thread of its own, streams of events, waits and safe retries."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import Any, TypeVar

import httpx
from httpx_sse import EventSource

from toolchat.engine.remote.config import Address
from toolchat.engine.remote.failures import (
    BrokenStreamError,
    RefusedError,
    broken,
    refused,
    unreachable,
    unusable_proxy,
)
from toolchat.engine.remote.network import proxy_to, trusted

CONNECT_SECONDS = 10.0
ASK_SECONDS = 30.0
"""For a small question, such as which models there are."""
SILENCE_SECONDS = 600.0
"""Without a byte of an answer: a long prompt takes minutes to read on a CPU."""
MAX_ANSWER = 64 * 1024**2
"""Bytes of an answer that is no stream, and of one line of a stream; its first may repeat the prompt's ids."""
MAX_REFUSAL = 64 * 1024
"""Bytes that are read of a refusal."""
WAITS = 5
"""How often a server may ask to wait for one request."""
LONGEST_WAIT = 600.0
"""Seconds; whoever is to wait longer is told instead. Also all that a server which loads its model is waited for."""
_LOADING_PAUSE = 5.0
"""Seconds between two looks whether it has loaded, where it does not say."""
_NO_CREDIT = ("insufficient_quota", "exceeded your current quota", "billing")

DONE: dict[str, Any] = {}
"""The event that says that a stream is whole."""

Wait = Callable[[str], None]
"""Told why a request waits, in a line."""
_T = TypeVar("_T")


class Connection:
    """One server. Coroutines run in the loop's thread; `call` and `spawn` may be called from any other."""

    def __init__(self, address: Address, api_key: str = "") -> None:
        """Raises EngineError where the environment names a proxy or certificates that cannot be used."""
        self.address = address
        self.models: tuple[str, ...] = ()
        """Those that the server has, once that was asked: a refusal of a model names them."""
        self._key = api_key
        headers = {"User-Agent": "toolchat", "Accept-Encoding": "identity"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        proxy = proxy_to(address)
        try:
            self._client = httpx.AsyncClient(
                headers=headers,
                transport=httpx.AsyncHTTPTransport(uds=address.socket) if address.socket is not None else None,
                verify=trusted(address),
                # httpx would read all proxies of the environment, and fail on those that are not for this server.
                trust_env=False,
                proxy=proxy.url if proxy is not None else None,
                timeout=httpx.Timeout(ASK_SECONDS, connect=CONNECT_SECONDS),
                # uvicorn closes idle connections after 5 s: a request must not meet that end.
                limits=httpx.Limits(keepalive_expiry=3),
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            if proxy is None:
                raise
            raise unusable_proxy(error, proxy, address) from None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="server", daemon=True).start()

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What `work` returns, waited for."""
        return self.spawn(work).result()

    def spawn(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin `work`; cancelling what is returned cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, work: Callable[[], None]) -> None:
        """Have the loop's thread call `work`, after what it was given before."""
        self._loop.call_soon_threadsafe(work)

    def close(self) -> None:
        """Close all connections and end the thread."""
        self.call(self._client.aclose())
        # Those of a stream that was left before its end.
        self.call(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def get(self, url: str, *, wait: Wait | None = None) -> Any:
        """The JSON at `url`. Raises EngineError.

        A server that is not ready (503) is waited for, while it loads its model; `wait` None has that be an error.
        """
        try:
            async with asyncio.timeout(None if wait is not None else ASK_SECONDS):
                return await self._json("GET", url, None, wait)
        except TimeoutError as error:
            raise unreachable(error, self.address) from None

    async def post(self, url: str, body: dict[str, Any]) -> Any:
        """The JSON that answers `body`. Raises EngineError."""
        return await self._json("POST", url, body, None)

    async def _json(self, method: str, url: str, body: dict[str, Any] | None, wait: Wait | None) -> Any:
        try:
            async with self._answer(method, url, body, wait, ASK_SECONDS) as response, asyncio.timeout(ASK_SECONDS):
                content = await _whole(response, MAX_ANSWER, self.address)
        except TimeoutError as error:
            raise unreachable(error, self.address) from None
        except httpx.HTTPError as error:
            raise broken(error, self.address) from None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._refused(response, content) from None

    async def events(self, url: str, body: dict[str, Any], wait: Wait) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON objects of the stream that answers `body`; `DONE` at the end of one that says that it is whole.

        An answer that comes as one JSON object instead of a stream is the only event. Raises RefusedError,
        UnreachableError or BrokenStreamError.
        """
        async with self._answer("POST", url, body, wait, SILENCE_SECONDS) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            try:
                if kind == "application/json":
                    yield self._event(await _whole(response, MAX_ANSWER, self.address))
                    yield DONE
                    return
                if kind == "text/html":
                    raise self._refused(response, await _whole(response, MAX_REFUSAL, self.address))
                # Some servers name another type, or none; what is no event below is refused anyway.
                response.headers["content-type"] = "text/event-stream"
                response.encoding = "utf-8"
                assert isinstance(response.stream, httpx.AsyncByteStream)
                response.stream = _BoundedLines(response.stream, self.address)
                seen = False
                async with aclosing(EventSource(response).aiter_sse()) as sent:
                    async for event in sent:
                        data = event.data.strip()
                        if not data:
                            continue
                        seen = True
                        if data == "[DONE]":
                            yield DONE
                            return
                        yield self._event(data)
            except httpx.HTTPError as error:
                raise broken(error, self.address) from None
            if not seen:
                raise BrokenStreamError(f"{self.address.text}: answered with no stream of events ({kind or 'no type'})")

    def _event(self, data: str | bytes) -> dict[str, Any]:
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise BrokenStreamError(
                f"{self.address.text}: sent what is no part of an answer ({_excerpt(data)}); is it OpenAI-compatible?"
            )
        if event.get("error"):
            body = json.dumps(event).encode()
            code = event["error"].get("code") if isinstance(event["error"], dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            raise refused(status, {}, body, self.address, self._key, self.models)
        return event

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, body: dict[str, Any] | None, wait: Wait | None, silence: float
    ) -> AsyncIterator[httpx.Response]:
        """The response to a request that the server takes, its body still to be read."""
        response = await self._send(method, url, body, wait, silence)
        try:
            yield response
        finally:
            await response.aclose()

    async def _send(
        self, method: str, url: str, body: dict[str, Any] | None, wait: Wait | None, silence: float
    ) -> httpx.Response:
        content = None if body is None else _content(body)
        fresh = False
        began = time.monotonic()
        for attempt in count():
            request = self._client.build_request(
                method,
                url,
                content=content,
                headers={"Content-Type": "application/json", "Accept": "text/event-stream, application/json"},
                timeout=httpx.Timeout(silence, connect=CONNECT_SECONDS),
            )
            try:
                response = await self._client.send(request, stream=True)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
                # A kept connection that the server closed meanwhile: nothing of the request was worked on.
                if fresh:
                    raise unreachable(error, self.address) from None
                fresh = True
                continue
            except (httpx.HTTPError, OSError) as error:
                raise unreachable(error, self.address) from None
            if response.status_code == 200:
                return response
            try:
                refusal = self._refused(response, await _whole(response, MAX_REFUSAL, self.address, cut=True))
            except httpx.HTTPError as error:
                raise broken(error, self.address) from None
            finally:
                await response.aclose()
            loads = method == "GET" and refusal.status == 503
            seconds = _loading_pause(refusal, began) if loads else _pause(refusal, attempt)
            if seconds is None or wait is None:
                raise refusal
            wait(_waiting(refusal, seconds, self.address))
            await asyncio.sleep(seconds)
        raise AssertionError  # count() has no end

    def _refused(self, response: httpx.Response, body: bytes) -> RefusedError:
        return refused(response.status_code, response.headers, body, self.address, self._key, self.models)


def _content(body: dict[str, Any]) -> bytes:
    # Half of a surrogate pair has no UTF-8: it is sent as JSON's escape of it.
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _excerpt(data: str | bytes) -> str:
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    return " ".join(text[:80].split()) or "nothing"


def _pause(refusal: RefusedError, attempt: int) -> float | None:
    """How many seconds to wait before asking again; None where that is not to be done.

    Only what the server says that it has not begun: 429 and 503.
    """
    if refusal.status not in (429, 503) or attempt >= WAITS or any(words in refusal.said for words in _NO_CREDIT):
        return None
    seconds = refusal.retry_after if refusal.retry_after is not None else math.ldexp(1, attempt)
    return seconds if seconds <= LONGEST_WAIT else None


def _loading_pause(refusal: RefusedError, began: float) -> float | None:
    seconds = refusal.retry_after if refusal.retry_after is not None else _LOADING_PAUSE
    return seconds if time.monotonic() + seconds < began + LONGEST_WAIT else None


def _waiting(refusal: RefusedError, seconds: float, address: Address) -> str:
    why = "is not ready" if refusal.status == 503 else "has too many requests"
    said = f" ({refusal.said})" if refusal.said else ""
    return f"{address.text} {why}{said}: asking again in {seconds:.0f} s"


async def _whole(response: httpx.Response, most: int, address: Address, *, cut: bool = False) -> bytes:
    """The body, of at most `most` bytes: with `cut` as much of it, else what is longer is an error."""
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > most:
            if cut:
                break
            raise BrokenStreamError(f"{address.text}: sent more than {most // 1024**2} MiB")
    return bytes(content[:most])


class _BoundedLines(httpx.AsyncByteStream):
    """A stream whose lines are at most MAX_ANSWER bytes long: the reader of events keeps a whole line in memory."""

    def __init__(self, stream: httpx.AsyncByteStream, address: Address) -> None:
        self._stream = stream
        self._address = address

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            end = piece.rfind(b"\n")
            size = size + len(piece) if end < 0 else len(piece) - end - 1
            if size > MAX_ANSWER:
                raise BrokenStreamError(f"{self._address.text}: sent a line of more than {MAX_ANSWER // 1024**2} MiB")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()

"""The key of vLLM's server: a middleware of its own (`--middleware toolchat_guard.KeyGuard`) that guards every path.

vLLM checks its key for /v1, /v2, /inference and /cohere alone (0.32, `middleware/authenticate.py`), while /invocations
and /generative_scoring have the model answer, too. Imported by vLLM's process, from the folder that PYTHONPATH names;
imports nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

Scope: TypeAlias = Mapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Mapping[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = "/health"
"""What answers without the key: whether the server does, for toolchat and for load balancers."""
_REFUSAL = b'{"error": "Unauthorized"}'
_POLICY_VIOLATION = 1008


class KeyGuard:
    """An ASGI middleware that passes on what has the key of VLLM_API_KEY, and refuses all else."""

    def __init__(self, app: App) -> None:
        """Raises RuntimeError without a key, with which the server does not start."""
        key = os.environ.get("VLLM_API_KEY", "")
        if not key:
            raise RuntimeError("VLLM_API_KEY is not set")
        self._app = app
        self._digest = _digest(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_open(scope) or self._has_key(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(_REFUSAL)).encode()),
                (b"www-authenticate", b"Bearer"),
            ]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})
        else:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _is_open(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return False
        if scope["method"] == "OPTIONS":
            # A browser's question before a request, which has no key and is answered before any route; without these
            # headers it would reach one: that of /metrics answers whatever the method is.
            return all(_header(scope, name) is not None for name in (b"origin", b"access-control-request-method"))
        return scope["path"] in (OPEN, scope.get("root_path", "") + OPEN)

    def _has_key(self, scope: Scope) -> bool:
        scheme, _, given = (_header(scope, b"authorization") or b"").partition(b" ")
        # Digests have one length: how long the comparison takes tells nothing of the key.
        return scheme.lower() == b"bearer" and hmac.compare_digest(_digest(given), self._digest)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _header(scope: Scope, name: bytes) -> bytes | None:
    """The first of that name, as vLLM itself takes it."""
    return next((value for one, value in scope["headers"] if one.lower() == name), None)

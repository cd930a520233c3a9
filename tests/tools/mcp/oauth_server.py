"""An MCP server that wants a login and the authorization server for it, in a thread; each may be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class OAuthWorld:
    """Both servers at one port. What is in a mapping below takes the place of what is right."""

    metadata: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    registration: dict[str, Any] = field(default_factory=dict)
    token: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, str] = field(default_factory=dict)
    """Of the redirect after the login."""
    instead: dict[str, Callable[[], Reply]] = field(default_factory=dict)
    """By path."""
    seconds: int = 3600
    """So long a token is good."""
    with_resource: bool = True
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    """Requests: method, path, headers, body."""
    tokens: set[str] = field(default_factory=set)
    refreshing: set[str] = field(default_factory=set)
    revoked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    port: int = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/mcp"

    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.seen]

    def reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        parts = urlsplit(target)
        self.seen.append((method, parts.path, dict(headers), body))
        if parts.path in self.instead:
            return self.instead[parts.path]()
        match parts.path:
            case "/mcp":
                return self._mcp(headers, body)
            case "/.well-known/oauth-protected-resource/mcp" if self.with_resource:
                about = {"resource": self.url, "authorization_servers": [self.origin], "scopes_supported": ["read"]}
                return as_json(200, {**about, **self.resource})
            case "/.well-known/oauth-authorization-server":
                return as_json(200, {**self._about(), **self.metadata})
            case "/register":
                asked = json.loads(body)
                return as_json(201, {**asked, "client_id": "client-1", **self.registration})
            case "/authorize":
                return self._authorize({name: values[0] for name, values in parse_qs(parts.query).items()})
            case "/token":
                return self._token({name: values[0] for name, values in parse_qs(body.decode()).items()})
            case "/revoke":
                self.revoked.append(parse_qs(body.decode())["token"][0])
                return 200, {}, b""
        return 404, {}, b""

    def _about(self) -> dict[str, Any]:
        places = {f"{name}_endpoint": f"{self.origin}/{path}" for name, path in ENDPOINTS.items()}
        return {
            "issuer": self.origin,
            **places,
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def _authorize(self, asked: Mapping[str, str]) -> Reply:
        code = secrets.token_urlsafe(8)
        self.codes[code] = dict(asked)
        back = {"code": code, "state": asked["state"], "iss": self.origin, **self.answer}
        query = urlencode({name: value for name, value in back.items() if value})
        return 302, {"Location": f"{asked['redirect_uri']}?{query}"}, b""

    def _token(self, form: Mapping[str, str]) -> Reply:
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
            right = asked is not None and (
                asked["code_challenge"] == base64.urlsafe_b64encode(challenge).decode().rstrip("=")
                and asked["redirect_uri"] == form["redirect_uri"]
                and asked["resource"] == form["resource"] == self.url
                and asked["client_id"] == form["client_id"]
            )
        else:
            right = form["refresh_token"] in self.refreshing and form["resource"] == self.url
            self.refreshing.discard(form["refresh_token"])
        if not right:
            return as_json(400, {"error": "invalid_grant", "error_description": "no\x1b[31mthing"})
        token, more = f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}"
        self.tokens.add(token)
        self.refreshing.add(more)
        made = {"access_token": token, "token_type": "Bearer", "expires_in": self.seconds, "refresh_token": more}
        return as_json(200, {**made, **self.token})

    def _mcp(self, headers: Mapping[str, str], body: bytes) -> Reply:
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            where = f'{self.origin}/.well-known/oauth-protected-resource/mcp"' if self.with_resource else ""
            told = f'Bearer error="invalid_token", resource_metadata="{where}' if where else "Bearer"
            return 401, {"WWW-Authenticate": told}, b""
        message = json.loads(body or b"{}")
        if "id" not in message or "method" not in message:
            return 202, {}, b""
        match message["method"]:
            case "initialize":
                about = {"name": "guarded", "version": "1"}
                result: Any = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about}
            case "tools/list":
                names = ("token", "away")
                result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
            case "tools/call":
                if message["params"]["name"] == "away":
                    return 307, {"Location": f"http://localhost:{self.port}/elsewhere"}, b""
                result = {"content": [{"type": "text", "text": f"it is {headers['Authorization']}"}]}
            case _:
                error = {"code": -32601, "message": "Method not found"}
                return as_json(200, {"jsonrpc": "2.0", "id": message["id"], "error": error})
        return as_json(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


ENDPOINTS = {"authorization": "authorize", "token": "token", "registration": "register", "revocation": "revoke"}


def as_json(status: int, data: Any) -> Reply:
    return status, {"Content-Type": "application/json"}, json.dumps(data).encode()


@contextmanager
def oauth_world(**what: Any) -> Iterator[OAuthWorld]:
    world = OAuthWorld(**what)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, data = world.reply(self.command, self.path, dict(self.headers.items()), body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    world.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()

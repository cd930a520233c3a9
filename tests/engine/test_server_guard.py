from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from toolchat.engine.server_command import GUARD, SITE

KEY = "sk-of-the-test"


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    """As vLLM's process finds it: by its own name, in the folder on its path."""
    spec = importlib.util.spec_from_file_location("guard", SITE / f"{GUARD.partition('.')[0]}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ask(guard: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sends a request, and returns what came back: "passed" where it came through, else the messages."""
    monkeypatch.setenv("VLLM_API_KEY", KEY)

    def ask(path: str, headers: Mapping[str, str] | None = None, kind: str = "http", **scope: Any) -> Any:
        sent: list[Any] = []

        async def app(*_: Any) -> None:
            sent.append("passed")

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        whole = {"type": kind, "path": path, "headers": raw, **({"method": "GET"} if kind == "http" else {}), **scope}
        asyncio.run(getattr(guard, GUARD.partition(".")[2])(app)(whole, receive, send))
        return sent[0] if sent == ["passed"] else sent

    return ask


PATHS = ("/v1/models", "/invocations", "/generative_scoring", "/metrics", "/docs", "/", "/health/", "//health", "/x")


@pytest.mark.parametrize("path", PATHS)
def test_every_path_but_health_needs_the_key(ask: Any, path: str) -> None:
    start, body = ask(path)
    assert (start["status"], body["body"]) == (401, b'{"error": "Unauthorized"}')
    assert (b"content-length", str(len(body["body"])).encode()) in start["headers"]
    assert ask(path, {"authorization": f"Bearer {KEY}"}) == "passed"
    assert ask("/health") == "passed"
    assert ask("/api/health", root_path="/api") == "passed"


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer sk", "Bearer é"]
)
def test_another_key_is_refused(ask: Any, given: str) -> None:
    assert ask("/v1/models", {"authorization": given})[0]["status"] == 401


def test_the_scheme_is_read_as_http_has_it(ask: Any) -> None:
    assert ask("/v1/models", {"Authorization": f"bearer {KEY}"}) == "passed"


def test_a_browsers_question_before_a_request_passes_and_no_other_request_without_a_body(ask: Any) -> None:
    asked = {"origin": "https://example.org", "access-control-request-method": "POST"}
    assert ask("/v1/chat/completions", asked, method="OPTIONS") == "passed"
    for name in asked:
        assert ask("/metrics", {name: asked[name]}, method="OPTIONS")[0]["status"] == 401
    assert ask("/metrics", asked)[0]["status"] == 401


def test_sockets_of_the_web_need_the_key_and_the_servers_own_life_does_not(ask: Any) -> None:
    assert ask("/v1/realtime", kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert ask("/health", kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert ask("/v1/realtime", {"authorization": f"Bearer {KEY}"}, kind="websocket") == "passed"
    assert ask("", kind="lifespan") == "passed"


def test_without_a_key_the_server_does_not_start(guard: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(RuntimeError, match="VLLM_API_KEY is not set"):
        guard.KeyGuard(None)

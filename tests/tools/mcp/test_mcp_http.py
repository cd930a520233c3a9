"""Servers at an address: streamable HTTP and HTTP with SSE, by the SDK's own server class."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mcp_bench import McpBench

pytestmark = pytest.mark.process
SERVER = Path(__file__).parent / "sdk_server.py"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of the SDK's server."""
    number = free_port()
    process = subprocess.Popen([sys.executable, str(SERVER), "http", str(number)])
    yield number
    process.kill()
    process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_servers_at_addresses_are_reached(
    served: Callable[..., McpBench], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCS_TOKEN", "tok-123456")
    wait_for(port)
    here = f"http://127.0.0.1:{port}"
    bench = served(
        new={"url": f"{here}/mcp", "headers": {"Authorization": "Bearer ${DOCS_TOKEN}"}},
        old={"url": f"{here}/sse"},
        wrong={"url": f"{here}/nothing"},
        nobody={"url": f"http://127.0.0.1:{free_port()}/mcp"},
    )
    states = {state.server.name: state for state in bench.mcp.states}
    assert {name: state.state for name, state in states.items()} == {
        **{"new": "ready", "old": "ready"},
        **{"wrong": "failed", "nobody": "failed"},
    }, [state.why for state in bench.mcp.states]
    assert (states["new"].about["protocol"], states["old"].about["protocol"]) == ("2026-07-28", "2026-07-28")
    assert "connect" in states["nobody"].why.lower()
    assert bench.call("new_add", a=1, b=2).result.content == "3"
    assert bench.call("old_add", a=1, b=2).result.content == "3"
    assert bench.call("new_authorization").result.content == "Bearer ${DOCS_TOKEN}"
    assert bench.call("new_count", to=3).lines == "1 of 3: at 1\n2 of 3: at 2\n3 of 3: at 3\n"
    (image,) = bench.call("new_picture").result.images
    assert image.width == 1
    assert bench.loop.run(cancelled(bench, "new"))
    assert bench.loop.run(cancelled(bench, "old"))


async def cancelled(bench: McpBench, server: str) -> bool:
    """Whether a call that is interrupted is cancelled at its server, too."""
    cancel = asyncio.Event()
    calling = asyncio.create_task(bench.call_async(f"{server}_wait", cancel))
    await came_to(bench, server, "waiting")
    cancel.set()
    await calling
    await came_to(bench, server, "cancelled")
    return True


async def came_to(bench: McpBench, server: str, what: str) -> None:
    async with asyncio.timeout(20):
        while (await bench.call_async(f"{server}_waited")).result.content != what:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as trying:
            if trying.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)

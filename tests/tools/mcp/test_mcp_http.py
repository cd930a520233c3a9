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
def ports() -> Iterator[dict[str, int]]:
    """The ports of the SDK's server by transport; it says when it listens."""
    found: dict[str, int] = {}
    started = []
    for transport in ("streamable-http", "sse"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            found[transport] = free.getsockname()[1]
        started.append(subprocess.Popen([sys.executable, str(SERVER), transport, str(found[transport])]))
    yield found
    for process in started:
        process.kill()
        process.wait()


def test_servers_at_addresses_are_reached(
    served: Callable[..., McpBench], ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCS_TOKEN", "tok-123456")
    wait_for(*ports.values())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    bench = served(
        new={
            "url": f"http://127.0.0.1:{ports['streamable-http']}/mcp",
            "headers": {"Authorization": "Bearer ${DOCS_TOKEN}"},
        },
        old={"url": f"http://127.0.0.1:{ports['sse']}/sse"},
        wrong={"url": f"http://127.0.0.1:{ports['streamable-http']}/nothing"},
        nobody={"url": f"http://127.0.0.1:{nobody}/mcp"},
        stdio={"command": [sys.executable, str(SERVER), "stdio"]},
    )
    states = {state.server.name: state for state in bench.mcp.states}
    assert {name: state.state for name, state in states.items()} == {
        **{"new": "ready", "old": "ready", "stdio": "ready"},
        **{"wrong": "failed", "nobody": "failed"},
    }, [state.why for state in bench.mcp.states]
    assert states["nobody"].why
    assert bench.call("new_add", a=1, b=2).result.content == "3"
    assert bench.call("old_add", a=1, b=2).result.content == "3"
    assert bench.call("stdio_add", a=1, b=2).result.content == "3"
    assert bench.call("new_authorization").result.content == "Bearer ${DOCS_TOKEN}"
    assert bench.call("new_count", to=3).lines == "1 of 3: at 1\n2 of 3: at 2\n3 of 3: at 3\n"
    (image,) = bench.call("stdio_picture").result.images
    assert image.width == 1
    assert bench.loop.run(cancelled(bench))


async def cancelled(bench: McpBench) -> bool:
    """Whether a call that is interrupted is cancelled at its server, too."""
    cancel = asyncio.Event()
    calling = asyncio.create_task(bench.call_async("stdio_wait", cancel))
    await asyncio.sleep(0.3)
    cancel.set()
    await calling
    for _ in range(50):
        if (await bench.call_async("stdio_waited")).result.content == "cancelled":
            return True
        await asyncio.sleep(0.05)
    return False


def wait_for(*ports: int) -> None:
    for port in ports:
        for _ in range(600):
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)

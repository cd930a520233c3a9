from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_bench import McpBench, start, write_servers


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def served(loop: asyncio.Runner, tmp_path: Path) -> Iterator[Callable[..., McpBench]]:
    """Starts a runner of its own for a test, with these servers."""
    started: list[McpBench] = []

    def start_it(**servers: Any) -> McpBench:
        started.append(start(loop, write_servers(tmp_path, servers)))
        return started[-1]

    yield start_it
    for bench in started:
        loop.run(bench.runner.close())

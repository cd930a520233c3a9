from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from host_bench import HOSTILE, Bench, hostile_rows, write_tools

from toolchat.tools.run import ToolRunner


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def bench(loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(HOSTILE, folder)
    runner = loop.run(ToolRunner.start(write_tools(folder, hostile_rows()), folder / "tools.log"))
    yield Bench(loop, runner)
    loop.run(runner.close())


@pytest.fixture(scope="module")
def old_bench(loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The same tools as on a kernel without Landlock, where they can signal their host."""
    folder = tmp_path_factory.mktemp("old_kernel")
    shutil.copy(HOSTILE, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolchat.tools.host.confine.landlock_abi", lambda: 0)
        runner = loop.run(ToolRunner.start(write_tools(folder, hostile_rows()), folder / "tools.log"))
        yield Bench(loop, runner)
        loop.run(runner.close())


@pytest.fixture
def start(loop: asyncio.Runner) -> Iterator[Callable[..., Bench]]:
    """Starts a runner of its own for a test."""
    started: list[ToolRunner] = []

    def start_it(path: Path, **options: Any) -> Bench:
        started.append(loop.run(ToolRunner.start(path, **options)))
        return Bench(loop, started[-1])

    yield start_it
    for runner in started:
        loop.run(runner.close())

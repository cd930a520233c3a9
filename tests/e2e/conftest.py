"""The real engine with the demo model, started once for all tests that share it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest
from e2e_engine import CONTEXT, Running, copy_model
from e2e_processes import PATIENCE, PROGRAM
from spread import ASK_ONLY
from terminal_screen import Terminal

from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.models.demo import build as demo
from toolchat.models.hardware import engine_device

# Read before the autouse fixture gives each test a home of its own.
USER_CACHE = Path(platformdirs.user_cache_dir("toolchat"))
REPOSITORY = Path(__file__).parents[2]

_shared: list[Running] = []


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toolchat cache folder that holds the demo model: the user's own where it is built there, else a new one."""
    if demo.is_built(USER_CACHE):
        return USER_CACHE
    # The processes of `make test` share one: who comes second waits for the first's build.
    folder = tmp_path_factory.getbasetemp()
    cache = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "toolchat"
    demo.build(cache)
    return cache


@pytest.fixture
def cached_demo(demo_cache: Path, home: Path) -> Path:
    """Gives the test's own home the built demo model; returns that home."""
    folder = home / ".cache" / "toolchat" / "models"
    folder.mkdir(parents=True)
    source = demo.demo_folder(demo_cache)
    copy_model(source, folder / source.name)
    return home


@pytest.fixture(scope="session")
def make_engine(
    demo_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., contextlib.AbstractContextManager[Running]]:
    """Makes an engine with the demo model, which lives as long as the `with` block. It is not started yet."""

    @contextlib.contextmanager
    def make(context: int | None = None) -> Iterator[Running]:
        config = plan("demo", demo.demo_folder(demo_cache), engine_device(), context=context)
        with asyncio.Runner() as loop:
            running = Running(LocalEngine(config, tmp_path_factory.mktemp("logs")), loop)
            try:
                yield running
            finally:
                loop.run(running.engine.close())

    return make


@pytest.fixture(scope="session")
def demo_engine(make_engine: Callable[..., contextlib.AbstractContextManager[Running]]) -> Iterator[Running]:
    """One engine for the tests that only ask it something."""
    with make_engine(context=CONTEXT) as running:
        _shared.append(running)
        yield running


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the shared engine where the next file does not use it; `running` would start it again."""
    if _shared and (nextitem is None or nextitem.nodeid.partition("::")[0] not in ASK_ONLY):
        shared = _shared[0]
        if shared.engine.info is not None:
            shared.loop.run(shared.engine.close())


@pytest.fixture
def running(demo_engine: Running) -> Running:
    """The engine, started where it is not, so that no test depends on what another did to it."""
    if demo_engine.engine.info is None:
        demo_engine.start()
    return demo_engine


@pytest.fixture
def terminal(cached_demo: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals with `toolchat ARGUMENTS` in the repository."""
    opened: list[Terminal] = []

    def open_(*arguments: str) -> Terminal:
        notes = tmp_path / f"terminal-{len(opened)}"
        notes.mkdir()
        opened.append(Terminal([*PROGRAM, *arguments], notes, REPOSITORY, os.environ, patience=PATIENCE))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()

"""What every test gets: a home of its own; and the guard of `make test-quick`, whose tests start no process."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from forked_program import ProgramServer
from hypothesis import settings
from spread import ByFile
from xdist.remote import Producer

REPOSITORY = Path(__file__).parent.parent
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "pty.spawn"})
"""Python's audit events of starting a process."""

# Users have neither: with the first, what is not written in time would not show; with the second, each of the
# hundreds of programs that tests start would compile whatever was changed since bytecode was last written.
os.environ.pop("PYTHONUNBUFFERED", None)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Below nohup, or behind "&" in a script, what ends programs is ignored, also by those that tests start. What has a
# handler is as always for them, and a hangup still does not end the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# The time on the clock says nothing while other tests run beside; pytest-timeout ends what hangs.
settings.register_profile("toolchat", deadline=None)
settings.load_profile("toolchat")

_pure_test = ""
"""The test that is running and must not start a process; empty for none."""


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes empty folders, apart from pytest's own: to number one of those, pytest lists all that are there."""
    folder = tmp_path_factory.mktemp("h", numbered=False)
    numbers = itertools.count()

    def make() -> Path:
        made = folder / str(next(numbers))
        made.mkdir(0o700)
        return made

    return make


@pytest.fixture(autouse=True)
def home(new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = new_home()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("TOOLCHAT_")]:
        monkeypatch.delenv(name)
    # No test leaves an engine behind; those of kept engines say otherwise, and have a folder of their own for sockets.
    monkeypatch.setenv("TOOLCHAT_KEEP_ALIVE", "0")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture(scope="session")
def program_server() -> Generator[ProgramServer, None, None]:
    """Forks toolchat for tests that are not about how it starts."""
    server = ProgramServer()
    yield server
    server.close()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder that has every file of a small model, of which only params.json has content: its weights are none."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "params.json").write_text(
        '{"dim": 576, "n_layers": 30, "head_dim": 64, "n_heads": 9, "n_kv_heads": 3, "max_position_embeddings": 4096}'
    )
    (folder / "consolidated.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "tekken.json").write_text("{}")
    return folder


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that no process is left alone with one at the end."""
    ranks: dict[Path, int] = {}
    for item in items:
        marks = [item.get_closest_marker(name) is not None for name in ("engine", "terminal", "process")]
        rank = marks.index(True) if any(marks) else len(marks)
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end: no garbage collection looks at it, here or in what tests fork."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pure", action="store_true", help="fail a test that starts a process and is not marked so")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--pure"):
        sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, _: object) -> None:
    if _pure_test and event in STARTS:
        raise RuntimeError(f"{_pure_test} starts a process: mark it with pytest.mark.process or pytest.mark.terminal")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    global _pure_test
    _pure_test = item.nodeid if not any(map(item.get_closest_marker, ("process", "terminal", "engine"))) else ""
    try:
        return (yield)
    finally:
        _pure_test = ""

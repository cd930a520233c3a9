from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from host_bench import Bench, eventually, runs, unique, write_tools

from toolchat.tools.run import ToolRunner, load_toolbox
from toolchat.wire.errors import UsageError

pytestmark = pytest.mark.process

TOOL = '\ndef f() -> str:\n    """F."""\n    return "answered"\n'


def refused(path: Path, seconds: float = 30.0, log: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        asyncio.run(ToolRunner.start(path, log, import_seconds=seconds))
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os; os._exit(3)", 'module "bad" ended Python while it was imported (exit code 3); expected'),
        ("import ctypes; ctypes.string_at(0)", 'module "bad" ended Python while it was imported (killed by SIGSEGV);'),
        ("import os; os.closerange(3, 65536)", 'module "bad" closed files that are not its own while it was imported;'),
        ("import os; os.kill(os.getpid(), 9)", 'module "bad" ended Python while it was imported (killed by SIGKILL'),
        ("input()", 'module "bad" cannot be imported: EOFError'),
        ("raise SystemExit(4)", 'module "bad" cannot be imported: SystemExit: 4'),
        ("raise ValueError('no')", 'module "bad" cannot be imported: ValueError: no'),
    ],
)
def test_a_module_that_does_not_import_is_one_line(tmp_path: Path, source: str, expected: str) -> None:
    path = write_tools(tmp_path, {"bad:f": {}}, bad=source + TOOL)
    message = refused(path)
    assert expected in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_a_module_that_hangs_is_one_line(tmp_path: Path) -> None:
    path = write_tools(tmp_path, {"bad:f": {}}, bad="while True: pass" + TOOL)
    message, seconds = refused(path, 1.0), 1.0
    while "a module was" in message and seconds < 60:  # too busy a machine to come as far as the module
        seconds *= 4
        message = refused(path, seconds)
    assert message.startswith(f'{path}: module "bad" was still being imported after ')
    assert message.endswith("; expected it to import quickly; move slow work into a function")


def test_the_log_tells_where_a_module_crashed(tmp_path: Path) -> None:
    path = write_tools(tmp_path, {"bad:f": {}}, bad="import ctypes\nctypes.string_at(0)" + TOOL)
    log = tmp_path / "logs" / "tools.log"
    assert refused(path, log=log).endswith(f"; see {log}")
    assert 'bad.py", line 2' in log.read_text()


def test_all_problems_of_the_file_and_of_the_imports_come_together(tmp_path: Path) -> None:
    rows = {"nowhere:f": {}, "fine:g": {}, "fine:f": {"timeout": "never"}}
    message = refused(write_tools(tmp_path, rows, fine=TOOL))
    assert len(message.splitlines()) == 3


def test_a_module_that_hangs_leaves_nothing(tmp_path: Path) -> None:
    seconds = unique()
    source = f"import subprocess\nsubprocess.run(['sleep', '{seconds}'], start_new_session=True)"
    refused(write_tools(tmp_path, {"bad:f": {}}, bad=source + TOOL), 1.0)
    assert eventually(lambda: not runs(seconds))


def test_without_proc_it_is_said_that_proc_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchat.tools.host.client._PROC", tmp_path / "proc" / "self")
    message = refused(write_tools(tmp_path, {"fine:f": {}}, fine=TOOL))
    assert message.startswith("/proc is not mounted, ")
    assert message.endswith("; mount it, or leave the tools out with --no-tools")


def test_tools_load_in_a_working_directory_that_has_been_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tools(tmp_path, {"fine:f": {}}, fine=TOOL)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_toolbox(path).names == ("f",)


def test_a_process_that_ends_before_any_import_blames_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchat.tools.host.client._SERVER", ("-c", "raise SystemExit(7)"))
    log = tmp_path / "logs" / "tools.log"
    path = write_tools(tmp_path, {"fine:f": {}}, fine=TOOL)
    assert refused(path, log=log) == f"{path}: the tools' process could not be prepared (exit code 7); {log} says why"


def test_the_chats_process_never_imports_a_tool(tmp_path: Path) -> None:
    toolbox = load_toolbox(write_tools(tmp_path, {"quiet_one:f": {}}, quiet_one=TOOL))
    assert toolbox.names == ("f",)
    assert "quiet_one" not in sys.modules


BAD_MANNERS = (
    "print('hello')",
    "import os, sys; sys.stdout.write('x' * 300_000); os.write(1, b'y' * 300_000)",
    "import os; os.chdir('/')",
    "import sys; sys.stdin.close()",
    "import os; os.closerange(0, 256)",
    "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))",
    "import asyncio; asyncio.run(asyncio.sleep(0))",
    "import threading; t = threading.Thread(target=print); t.start(); t.join()",
    "import os\nif os.fork() == 0: os._exit(0)",
)


def test_modules_with_bad_manners_can_still_be_used(
    start: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = '\nimport os\ndef tool{0}() -> str:\n    """F."""\n    print("said")\n    return os.getcwd()\n'
    modules = {f"rude_{number}": source + where.format(number) for number, source in enumerate(BAD_MANNERS)}
    path = write_tools(tmp_path, {f"rude_{number}:tool{number}": {} for number in range(len(modules))}, **modules)
    bench = start(path)
    for name in bench.runner.toolbox.names:
        outcome = bench.call(name)
        assert (outcome.result.content, outcome.output) == (str(tmp_path), "said\n")
    notices = bench.runner.toolbox.notices
    assert len(notices) == 2
    assert all("printed" in notice for notice in notices)


THREADS = '''
import os, threading, time

calls = 0

def work() -> None:
    while True:
        time.sleep(1)

threading.Thread(target=work, daemon=True).start()

def f() -> dict[str, int]:
    """F."""
    global calls
    calls += 1
    return {"calls": calls, "threads": threading.active_count(), "pid": os.getpid()}

def g() -> str:
    """G."""
    os._exit(3)

def h() -> str:
    """H."""
    print("said")
    while True:
        pass
'''


def test_a_module_that_starts_threads_gets_a_new_interpreter_for_each_call(
    start: Callable[..., Bench], tmp_path: Path
) -> None:
    rows = {"threads_early:f": {}, "threads_early:g": {}, "threads_early:h": {"timeout": 1}}
    bench = start(write_tools(tmp_path, rows, threads_early=THREADS))
    assert len(bench.runner.toolbox.notices) == 1
    assert 'module "threads_early" starts a thread while it is imported' in bench.runner.toolbox.notices[0]
    first, second = (json.loads(bench.call("f").result.content) for _ in range(2))
    assert first["calls"] == second["calls"] == 1
    assert first["threads"] == 2
    assert first["pid"] != second["pid"]
    assert bench.call("g").result.content == "Error: the tool ended unexpectedly (exit code 3)"
    late = bench.call("h")
    assert late.result.content == "Error: h did not answer within 1 second (timeout: in the tools file)"
    assert late.output == "said\n"


def test_a_new_interpreter_that_can_no_longer_load_the_file_says_so(
    start: Callable[..., Bench], tmp_path: Path
) -> None:
    raising = "from pathlib import Path\nif Path(__file__).with_name('gone').exists(): raise ValueError('changed')\n"
    bench = start(write_tools(tmp_path, {"threads_early:f": {}}, threads_early=raising + THREADS))
    (tmp_path / "gone").touch()
    content = bench.call("f").result.content
    assert re.match(r"Error: the tool could not be loaded: .*ValueError: changed", content)


def test_installed_code_that_changed_while_the_chat_is_open_is_known_as_another_before_it_runs(
    start: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, folder = tmp_path / "site-packages", tmp_path / "work"
    site.mkdir()
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))
    (site / "threads_early.py").write_text(THREADS)
    bench = start(write_tools(folder, {"threads_early:f": {}}))
    (known,) = bench.runner.toolbox.tools
    assert bench.prepare("f").tool == known
    (site / "threads_early.py").write_text(THREADS.replace("calls += 1", "calls += 22"))
    changed = bench.prepare("f").tool
    assert changed.source_digest not in ("", known.source_digest)
    assert changed == replace(known, source_digest=changed.source_digest)


NUMPY = '''
import sys, types

generator = types.ModuleType("numpy.random")
generator.seeded = 0

def seed() -> None:
    generator.seeded += 1

generator.seed = seed
sys.modules["numpy.random"] = generator

def f() -> int:
    """F."""
    return generator.seeded
'''


def test_the_random_numbers_of_numpy_are_not_the_same_in_every_call(
    start: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = start(write_tools(tmp_path, {"rolls:f": {}}, rolls=NUMPY))
    assert bench.call("f").result.content == "1"


def test_a_module_may_start_programs_that_outlive_calls(start: Callable[..., Bench], tmp_path: Path) -> None:
    seconds = unique()
    source = f"import subprocess\nserver = subprocess.Popen(['sleep', '{seconds}'])"
    bench = start(write_tools(tmp_path, {"serves:f": {}}, serves=source + TOOL))
    assert bench.call("f").result.content == "answered"
    assert bench.call("f").result.content == "answered"
    assert eventually(lambda: runs(seconds))
    bench.loop.run(bench.runner.close())
    assert eventually(lambda: not runs(seconds))


def test_a_runner_can_be_started_where_threads_run_in_the_chat(start: Callable[..., Bench], tmp_path: Path) -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        bench = start(write_tools(tmp_path, {"plain:f": {}}, plain=TOOL))
        assert bench.call("f").result.content == "answered"
    finally:
        release.set()
        thread.join()

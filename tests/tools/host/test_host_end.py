from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from host_bench import Bench, eventually, exists, runs, unique, write_tools

pytestmark = pytest.mark.process

LEAVES = '''
import os, subprocess, time

def leave(seconds: str) -> str:
    """Leave a daemon, and hang."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", seconds])
        os._exit(0)
    os.wait()
    print("left", flush=True)
    time.sleep(60)
    return "rested"

def keep(seconds: str) -> str:
    """Start a program from a process that lives on."""
    subprocess.Popen(["sleep", seconds], start_new_session=True)
    return "kept"
'''
CHAT = """
import asyncio, sys
from pathlib import Path
from toolchat.tools.run import ToolRunner
from toolchat.wire.messages import ToolCall

async def main():
    runner = await ToolRunner.start(Path(sys.argv[1]))
    print(runner._supervisor.hosts[0].pid, flush=True)
    for name in ("keep", "leave"):
        prepared = await runner.prepare(runner.toolbox.get(name), ToolCall("abcdefghi", name, {"seconds": sys.argv[2]}))
        await prepared.run(None, lambda text: print(text, end="", flush=True))

asyncio.run(main())
"""


def tools(folder: Path) -> Path:
    return write_tools(folder, {"leaves:leave": {}, "leaves:keep": {"stateful": "true"}}, leaves=LEAVES)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_of_a_chat_that_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    seconds = unique()
    command = [sys.executable, "-c", CHAT, str(tools(tmp_path)), seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as chat:
        assert chat.stdout is not None
        host = int(chat.stdout.readline())
        assert chat.stdout.readline() == "left\n"
        assert eventually(lambda: runs(f"sleep {seconds} "))
        assert exists(host)
        chat.send_signal(number)
    assert eventually(lambda: not runs(f"sleep {seconds}") and not exists(host))


def test_nothing_is_left_of_a_host_that_is_killed_together_with_its_chat(tmp_path: Path) -> None:
    seconds = unique()
    command = [sys.executable, "-c", CHAT, str(tools(tmp_path)), seconds]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as chat:
        assert chat.stdout is not None
        host = int(chat.stdout.readline())
        assert chat.stdout.readline() == "left\n"
        os.kill(host, signal.SIGKILL)
        # The chat is alive to see it, and ends what the host cannot.
        assert eventually(lambda: not runs(f"sleep {seconds} "))
        chat.kill()


def test_closing_leaves_nothing(start: Callable[..., Bench], tmp_path: Path) -> None:
    seconds = unique()
    bench = start(tools(tmp_path))
    host = bench.supervisor.hosts[0].pid
    assert bench.call("keep", seconds=seconds).result.content == "kept"
    assert eventually(lambda: runs(f"sleep {seconds} "))
    bench.loop.run(bench.runner.close())
    assert not exists(host)
    assert not runs(f"sleep {seconds} ")


def test_closing_ends_calls_under_way(start: Callable[..., Bench], tmp_path: Path) -> None:
    bench = start(tools(tmp_path))
    seconds = unique()

    async def main() -> str:
        call = asyncio.create_task(bench.call_async("leave", seconds=seconds))
        await asyncio.to_thread(eventually, lambda: runs(f"sleep {seconds} "))
        await bench.runner.close()
        return (await call).result.content

    assert bench.loop.run(main()) == "Error: the tool ended unexpectedly (its host process ended)"
    assert not runs(f"sleep {seconds} ")


def test_no_descriptor_of_the_chat_is_left_open(start: Callable[..., Bench], tmp_path: Path) -> None:
    source = 'import os\ndef f(code: int) -> str:\n    """F."""\n    os._exit(code) if code else None\n    return ""\n'
    bench = start(write_tools(tmp_path, {"ends_well:f": {}}, ends_well=source))

    def descriptors() -> set[tuple[str, str]]:
        """With what they are of: what an earlier test left to the garbage collector may be closed, and be reused."""
        opened = list(Path("/proc/self/fd").iterdir())
        return {(one.name, str(one.readlink())) for one in opened if os.path.lexists(one)}

    for code in (0, 3):
        bench.call("f", code=code)
    gc.collect()
    before = descriptors()
    for _ in range(5):
        bench.call("f", code=0)
        bench.call("f", code=3)
        bench.call("f", code="x")
        bench.loop.run(bench.prepare("f", code=0).discard())
    assert descriptors() <= before

"""The life of servers: started side by side, told when they end, started again once, and gone with the chat."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mcp_bench import HOSTILE, McpBench, hostile, start, write_servers

from toolchat.tools.host.confine import SIGNAL_SCOPE_ABI, landlock_abi
from toolchat.tools.host.process_tree import descendants
from toolchat.tools.run import ToolRunner
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

pytestmark = pytest.mark.process
Served = Callable[..., McpBench]


def marked(mark: str) -> list[int]:
    """The processes that have `mark` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def gone(pids: set[int], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
            return True
        time.sleep(0.02)
    return False


DYING = ("exit", "crash", "close_out", "never_ends")


@pytest.fixture(scope="module")
def lives(loop: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpBench]:
    """Servers that each test has one of."""
    folder = tmp_path_factory.mktemp("lives")
    own = {"env": {"TOKEN": "${MY_TOKEN}", "OTHER": None}, "cwd": str(folder)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "not for servers")
        patch.setenv("MY_TOKEN", "s3cret-value")
        patch.setenv("OTHER", "seen")
        servers = {word: hostile("plain") for word in (*DYING, "ends", "p")}
        servers |= {"changing": hostile("changing"), "flooding": hostile("changing"), "own": hostile("plain", **own)}
        bench = start(loop, write_servers(folder, servers))
    yield bench
    loop.run(bench.runner.close())


@pytest.fixture
def bench(lives: McpBench) -> McpBench:
    lives.notices.clear()
    return lives


@pytest.mark.parametrize("word", [*DYING[:-1], pytest.param(DYING[-1], marks=pytest.mark.slow)])
def test_a_server_that_ends_in_a_call_is_started_again_once(bench: McpBench, word: str) -> None:
    first = bench.call(f"{word}_{word}").result
    assert first.status is ResultStatus.ERROR
    assert first.content.startswith(f"Error: the server {word} ended (")
    bench.wait(lambda: bench.state(word).state == "ready" and len(bench.notices) == 2)
    assert "it is started again" in bench.notices[0]
    assert bench.notices[1] == f"the server {word} was started again"
    assert bench.call(f"{word}_arguments").result.status is ResultStatus.OK
    bench.call(f"{word}_{word}")
    bench.wait(lambda: bench.state(word).state == "failed")
    assert f"the server {word} is not there" in bench.notices[2]
    assert bench.names(word) == []
    assert bench.state("p").state == "ready"


def test_a_call_of_a_server_that_is_gone_is_answered(bench: McpBench) -> None:
    tool = bench.runner.toolbox.get("ends_exit")
    assert tool is not None
    bench.call("ends_exit")
    bench.wait(lambda: "the server ends was started again" in bench.notices)
    bench.call("ends_exit")
    bench.wait(lambda: bench.state("ends").state == "failed")
    result = bench.loop.run(bench.runner.prepare(tool, ToolCall("abcdefghi", "ends_exit", {})))
    assert isinstance(result, ToolResult)
    assert "the server ends is not there" in result.content


def test_a_bridge_that_is_killed_is_told_and_takes_its_servers_along(served: Served) -> None:
    bench = served(s=hostile("plain"))
    bridge = bench.mcp._bridges[0]
    below = descendants(bridge.pid)
    (child,) = [pid for pid in below if b"bridge" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(child, 9)
    bench.wait(lambda: bench.state("s").state == "failed")
    assert "the process of the MCP servers ended (killed by SIGKILL" in bench.notices[-1]
    assert gone(below)


def test_nobody_waits_for_servers_and_nothing_outlives_the_chat(loop: asyncio.Runner, tmp_path: Path) -> None:
    mark = f"left-by-{os.getpid()}-{time.monotonic_ns()}"
    servers = {"a": hostile("plain"), "b": hostile("ignores_term"), "c": hostile("forks", start_timeout=0.5)}
    path = write_servers(tmp_path, {**servers, "slow": hostile("hangs_at_once", start_timeout=30)})
    started = time.monotonic()
    bench = McpBench(loop, loop.run(ToolRunner.start(path)))
    assert time.monotonic() - started < 2
    assert bench.runner.pending == ("a", "b", "c", "slow")
    bench.wait(lambda: bench.runner.pending == ("slow",))
    assert bench.call("a_leave_children", mark=mark).result.content == "left"
    below = descendants(bench.mcp._bridges[0].pid) | {bench.mcp._bridges[0].pid} | set(marked(mark))
    assert len(below) >= 8
    started = time.monotonic()
    loop.run(bench.runner.close())
    assert time.monotonic() - started < 5
    assert gone(below)
    assert marked(mark) == []


def test_a_changed_tool_asks_again_and_is_not_run_as_it_was_shown(bench: McpBench) -> None:
    before = {tool.name: tool for tool in bench.state("changing").tools}
    assert bench.runner.resources["changing"] == {"x://1": "one", "x://by/": "by number"}
    assert set(before) == {
        "changing_change",
        "changing_flood_changes",
        "changing_listings",
        "changing_thing",
        "changing_old",
    }
    bench.call("changing_change")
    bench.wait(lambda: "changing_new" in bench.names("changing"))
    bench.wait(lambda: "x://new" in bench.runner.resources["changing"])
    after = {tool.name: tool for tool in bench.state("changing").tools}
    assert after["changing_change"].source_digest == before["changing_change"].source_digest
    assert after["changing_thing"].source_digest != before["changing_thing"].source_digest
    assert "new changing_new; gone changing_old; changed changing_thing" in bench.notices[-1]
    call = ToolCall("abcdefghi", "changing_thing", {})
    result = bench.loop.run(bench.runner.prepare(before["changing_thing"], call))
    assert isinstance(result, ToolResult)
    assert "has changed since it was shown" in result.content
    assert not isinstance(bench.loop.run(bench.runner.prepare(after["changing_thing"], call)), ToolResult)


def test_a_flood_of_changes_is_one_change(bench: McpBench) -> None:
    assert bench.call("flooding_listings").result.content == "1"
    assert bench.call("flooding_flood_changes").result.content == "flooded"

    async def settled() -> int:
        """How often it has listed its tools once it is not asked for them any more."""
        listings = -1
        while listings != (now := int((await bench.call_async("flooding_listings")).result.content)):
            listings = now
        return listings

    # At the start, at the first of 500 changes, and once more for all that came while that was listed.
    assert 2 <= bench.loop.run(settled()) <= 4
    assert bench.call("flooding_thing").result.content == "ok"
    assert bench.notices == []


def test_a_server_sees_the_basic_variables_and_its_own(bench: McpBench) -> None:
    names = json.loads(bench.call("own_environment").result.content)
    assert {"TOKEN", "OTHER", "PATH", "HOME"} <= set(names)
    assert "HF_TOKEN" not in names
    assert bench.call("own_secret").result.content == "the token is ${MY_TOKEN}"
    assert Path(json.loads(bench.call("own_arguments").result.content)[1]).name.startswith("lives")
    assert "s3cret" not in Path(f"/proc/{bench.mcp._bridges[0].pid}/cmdline").read_text()


def test_a_server_cannot_end_the_chat(bench: McpBench) -> None:
    if landlock_abi() < SIGNAL_SCOPE_ABI:
        pytest.skip("this kernel cannot keep processes apart")
    assert bench.call("p_parent", pid=os.getppid()).result.content == "PermissionError"


def test_prompts_and_resources_are_asked_for(bench: McpBench) -> None:
    assert bench.runner.prompts["p:review"]["description"] == "Look at it"
    assert bench.loop.run(bench.runner.prompt("p:review", {"what": "this"})) == ("Please review this", [])
    assert "p" in bench.runner.serves_resources
    assert bench.loop.run(bench.runner.resource("p", "x://1")) == "[resource x://1]\nthe contents"


def test_a_function_keeps_its_name_and_a_servers_tool_gets_another(bench: McpBench) -> None:
    assert "p_change" in bench.names("p")
    bench.mcp.reserve(["p_change"])
    assert "p_change" not in bench.names("p")
    assert bench.call("p_change_2").result.content == "changed"


def test_a_script_that_is_not_as_it_was_read_is_not_started(loop: asyncio.Runner, tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_bytes(HOSTILE.read_bytes())
    (tmp_path / "hostile_calls.py").write_bytes(HOSTILE.with_name("hostile_calls.py").read_bytes())
    path = write_servers(tmp_path, {"s": {"command": [sys.executable, "-I", "-S", "server.py", "plain"]}})
    bench = start(loop, path)
    assert bench.state("s").state == "ready"
    script.write_text("raise SystemExit")
    bench.call("s_exit")
    bench.wait(lambda: bench.state("s").state == "failed")
    assert "is not started again: server.py has changed since the tools were read" in bench.state("s").why
    code = bench.mcp._code
    loop.run(bench.runner.close())
    again = loop.run(ToolRunner.start(code))
    assert "server.py has changed since the tools were read" in again.toolbox.broken[0]
    loop.run(again.close())

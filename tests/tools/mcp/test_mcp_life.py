"""The life of servers: started side by side, told when they end, started again once, and gone with the chat."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp_bench import McpBench, hostile, start, write_servers

from toolchat.tools.host.process_tree import descendants
from toolchat.wire.messages import ResultStatus

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


@pytest.mark.parametrize("word", ["exit", "crash", "close_out", "never_ends"])
def test_a_server_that_ends_in_a_call_is_started_again_once(served: Served, word: str) -> None:
    bench = served(s=hostile("plain"))
    first = bench.call(f"s_{word}").result
    assert first.status is ResultStatus.ERROR
    assert first.content.startswith("Error: the server s ended (")
    bench.wait(lambda: bench.state("s").state == "ready" and len(bench.notices) == 2)
    assert "it is started again" in bench.notices[0]
    assert bench.notices[1] == "the server s was started again"
    assert bench.call("s_arguments").result.status is ResultStatus.OK
    bench.call(f"s_{word}")
    bench.wait(lambda: bench.state("s").state == "failed")
    assert "the server s is not there" in bench.notices[2]
    assert bench.runner.toolbox.tools == ()


def test_a_call_of_a_server_that_is_gone_is_answered(served: Served) -> None:
    bench = served(s=hostile("plain"))
    tool = bench.runner.toolbox.get("s_exit")
    assert tool is not None
    for _ in range(2):
        bench.call("s_exit")
        bench.wait(lambda: bench.state("s").state in ("ready", "failed"))
    from toolchat.wire.messages import ToolCall, ToolResult

    result = bench.loop.run(bench.runner.prepare(tool, ToolCall("abcdefghi", "s_exit", {})))
    assert isinstance(result, ToolResult)
    assert "the server s is not there" in result.content


def test_a_bridge_that_is_killed_is_told_and_takes_its_servers_along(served: Served) -> None:
    bench = served(s=hostile("plain"))
    bridge = bench.mcp._bridges[0]
    below = descendants(bridge.pid)
    (child,) = [pid for pid in below if b"bridge" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(child, 9)
    bench.wait(lambda: bench.state("s").state == "failed")
    assert "the process of the MCP servers ended (killed by SIGKILL" in bench.notices[-1]
    assert gone(below)


def test_nothing_outlives_the_chat(loop: asyncio.Runner, tmp_path: Path) -> None:
    mark = f"left-by-{os.getpid()}-{time.monotonic_ns()}"
    servers = {"a": hostile("plain"), "b": hostile("ignores_term"), "c": hostile("forks", start_timeout=0.5)}
    bench = start(loop, write_servers(tmp_path, servers))
    assert bench.call("a_leave_children", mark=mark).result.content == "left"
    below = descendants(bench.mcp._bridges[0].pid) | {bench.mcp._bridges[0].pid} | set(marked(mark))
    assert len(below) >= 7
    started = time.monotonic()
    loop.run(bench.runner.close())
    assert time.monotonic() - started < 3
    assert gone(below)
    assert marked(mark) == []


def test_servers_start_side_by_side_and_nobody_waits(loop: asyncio.Runner, tmp_path: Path) -> None:
    from toolchat.tools.run import ToolRunner

    path = write_servers(tmp_path, {"slow": hostile("hangs_at_once", start_timeout=30)})
    started = time.monotonic()
    runner = loop.run(ToolRunner.start(path))
    assert time.monotonic() - started < 2
    assert runner.toolbox.tools == ()
    loop.run(runner.close())
    assert time.monotonic() - started < 5


def test_a_changed_tool_asks_again_and_is_not_run_as_it_was_shown(served: Served) -> None:
    bench = served(s=hostile("changing"))
    before = {tool.name: tool for tool in bench.runner.toolbox.tools}
    assert set(before) == {"s_change", "s_flood_changes", "s_thing", "s_old"}
    bench.call("s_change")
    bench.wait(lambda: "s_new" in bench.names("s"))
    after = {tool.name: tool for tool in bench.runner.toolbox.tools}
    assert after["s_change"].source_digest == before["s_change"].source_digest
    assert after["s_thing"].source_digest != before["s_thing"].source_digest
    assert "new s_new; gone s_old; changed s_thing" in bench.notices[-1]
    from toolchat.wire.messages import ToolCall, ToolResult

    call = ToolCall("abcdefghi", "s_thing", {})
    result = bench.loop.run(bench.runner.prepare(before["s_thing"], call))
    assert isinstance(result, ToolResult)
    assert "has changed since it was shown" in result.content
    assert not isinstance(bench.loop.run(bench.runner.prepare(after["s_thing"], call)), ToolResult)


def test_a_flood_of_changes_is_one_change(served: Served) -> None:
    bench = served(s=hostile("changing"))
    assert bench.call("s_flood_changes").result.content == "flooded"
    assert bench.call("s_thing").result.content == "ok"
    assert bench.notices == []


def test_a_server_sees_the_basic_variables_and_its_own(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "not for servers")
    monkeypatch.setenv("MY_TOKEN", "s3cret-value")
    monkeypatch.setenv("OTHER", "seen")
    bench = served(s=hostile("plain", env={"TOKEN": "${MY_TOKEN}", "OTHER": None}, cwd=str(tmp_path)))
    names = json.loads(bench.call("s_environment").result.content)
    assert {"TOKEN", "OTHER", "PATH", "HOME"} <= set(names)
    assert "HF_TOKEN" not in names
    assert bench.call("s_secret").result.content == "the token is ${MY_TOKEN}"
    assert json.loads(bench.call("s_arguments").result.content)[1] == str(tmp_path)
    assert "s3cret" not in Path(f"/proc/{bench.mcp._bridges[0].pid}/cmdline").read_text()


def test_a_server_cannot_end_the_chat(served: Served) -> None:
    from toolchat.tools.host.confine import SIGNAL_SCOPE_ABI, landlock_abi

    if landlock_abi() < SIGNAL_SCOPE_ABI:
        pytest.skip("this kernel cannot keep processes apart")
    bench = served(s=hostile("plain"))
    assert bench.call("s_parent", pid=os.getppid()).result.content == "PermissionError"


def test_prompts_and_resources_are_asked_for(served: Served) -> None:
    bench = served(s=hostile("plain"))
    (prompt,) = bench.loop.run(bench.mcp.ask("s", "prompts"))
    assert prompt["name"] == "review"
    given = {"name": "review", "arguments": {"what": "this"}}
    answer = bench.loop.run(bench.mcp.ask("s", "prompt", given))
    assert answer["messages"][0]["content"]["text"] == "Please review this"
    assert bench.loop.run(bench.mcp.ask("s", "read", {"uri": "x://1"})) == "[resource x://1]\nthe contents"

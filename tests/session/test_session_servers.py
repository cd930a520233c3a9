"""Tools of servers come, change and go while a session runs: the model is told from the next turn on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from session_bench import Bench

from toolchat.chat.calls import ServedRunner
from toolchat.session.session import Session
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.wire.events import HistoryEdited, ToolsChanged

READ = Tool("s_read", "Read.", {"type": "object", "properties": {}}, "mcp:s:read", "s_read()", "t:1:1", server="s")
WRITE = Tool("s_write", "Write.", {"type": "object", "properties": {}}, "mcp:s:write", "s_write()", "t:1:1", server="s")


class Served:
    """A runner whose servers are there once it was waited for."""

    def __init__(self, *later: Tool) -> None:
        self.toolbox = Toolbox(Path("tools.yaml"), ())
        self.later = later
        self.tell: Callable[[str], None] = lambda _: None
        self.waited = 0

    prompts: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    serves_resources = ("s",)
    resources: Mapping[str, Mapping[str, str]] = MappingProxyType({})

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> tuple[str, list[str]]:
        raise AssertionError

    async def resource(self, server: str, uri: str) -> str:
        return f"contents of {uri}"

    @property
    def pending(self) -> tuple[str, ...]:
        return ("s",) if self.later else ()

    async def settled(self) -> None:
        await asyncio.sleep(0)
        self.waited += 1
        if self.later:
            self.toolbox = Toolbox(
                Path("tools.yaml"), self.later, broken=("tools.yaml:3:3: the server x is not there",)
            )
            self.later = ()

    def attach(self, on_notice: Callable[[str], None], elicit: Any) -> None:
        self.tell = on_notice

    async def prepare(self, *_: Any) -> Any:
        raise AssertionError

    async def close(self) -> None: ...


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def offered(bench: Bench) -> list[tuple[str, ...]]:
    return [tuple(tool.name for tool in request.tools) for request in bench.engine.requests]


def test_a_runner_with_servers_is_told_from_one_without() -> None:
    assert isinstance(Served(), ServedRunner)


def test_the_first_turn_waits_for_servers_and_each_turn_has_the_tools_of_then(bench: Bench) -> None:
    runner = Served(READ)

    async def scene(session: Session) -> None:
        bench.engine.enqueue("One.", "Two.", "Three.")
        assert session.tools.toolbox.names == ()
        await session.ask("first")
        runner.toolbox = Toolbox(Path("tools.yaml"), (READ, WRITE))
        await session.ask("second")
        runner.tell("the server s ended")
        runner.toolbox = Toolbox(Path("tools.yaml"), ())
        await session.ask("third")

    bench.play(scene, runner)
    assert offered(bench) == [("s_read",), ("s_read", "s_write"), ()]
    assert runner.waited == 1
    edits = [event.body.edit for event in bench.recorded() if isinstance(event.body, HistoryEdited)]
    changes = [[tool.name for tool in edit.tools] for edit in edits if isinstance(edit, ToolsChanged)]
    assert changes == [["s_read"], ["s_read", "s_write"], []]
    assert bench.notices() == ["tools.yaml:3:3: the server x is not there", "the server s ended"]


def test_a_resource_that_a_question_names_is_sent_with_it(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        bench.engine.enqueue("Read.")
        await session.ask("What is in @s:x://1?", typed="What is in @s:x://1?")

    bench.play(scene, Served(READ))
    assert bench.sent()[-1] == "What is in @s:x://1?\n\n@s:x://1:\n```\ncontents of x://1\n```"


def test_a_resource_that_only_quoted_words_name_is_not_asked_for(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        bench.engine.enqueue("Read.")
        await session.ask("Sum it up.\n\nnotes.txt:\n```\n@s:x://secret\n```", typed="Sum it up.")

    bench.play(scene, Served(READ))
    assert "contents of" not in bench.sent()[-1]


def test_a_tool_that_was_left_out_and_is_switched_on_stays_on(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        bench.engine.enqueue("One.", "Two.")
        runner = Served()
        runner.toolbox = Toolbox(Path("tools.yaml"), (READ, WRITE))
        session.equip(runner, only=("s_read",))
        await session.ask("first")
        assert session.tools.switched_off == {"s_write"}
        session.tools.switch("s_write", True)
        await session.ask("second")
        assert session.tools.switched_off == frozenset()

    bench.play(scene, Served(READ))


def test_a_tool_that_is_switched_off_stays_off_when_its_server_comes_back(bench: Bench) -> None:
    runner = Served(READ, WRITE)

    async def scene(session: Session) -> None:
        bench.engine.enqueue("One.", "Two.", "Three.")
        await session.ask("first")
        session.tools.switch("s_write", False)
        whole, runner.toolbox = runner.toolbox, Toolbox(Path("tools.yaml"), ())
        await session.ask("second")
        runner.toolbox = whole
        await session.ask("third")

    bench.play(scene, runner)
    assert offered(bench) == [("s_read", "s_write"), (), ("s_read",)]


def test_waiting_for_servers_is_said_and_can_be_interrupted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchat.session.tools.PATIENCE_SECONDS", 0.01)

    class Late(Served):
        async def settled(self) -> None:
            await asyncio.Event().wait()

    async def scene(session: Session) -> None:
        bench.engine.enqueue("Without them.")
        asking = asyncio.create_task(session.ask("first"))
        while not bench.notices():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        session.interrupt()
        await asking

    bench.play(scene, Late(READ))
    assert bench.notices() == ["waiting for MCP servers: s; Ctrl-C goes on without them"]
    assert offered(bench) == [()]

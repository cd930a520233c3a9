from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchat.engine.scripted import ScriptedEngine
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.tools.run import ToolRunner
from toolchat.ui.commands.registry import Commands
from toolchat.ui.tables import when

Play = Callable[..., list[str]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """What the commands say in a chat that asks the lines which are none."""

    def run(*lines: str, store: bool = True, complete: str = "") -> list[str]:
        engine = ScriptedEngine()
        session = Session(Settings(), "m", engine, tmp_path / "sessions" if store else None, lambda event: None)
        said: list[str] = []

        async def chat() -> None:
            session.equip(ToolRunner.none())
            await session.launch()
            await session.ready()
            commands = Commands(session, width=lambda: 80, models=lambda: [])
            for line in lines:
                if line.startswith("/"):
                    said.extend(row.plain for row in (await commands.run(line)).lines)
                else:
                    engine.enqueue(f"About {line}.")
                    await session.ask(line)
            if complete:
                said.extend(found.text for found in commands.complete(complete))
            await session.close()

        asyncio.run(asyncio.wait_for(chat(), 30))
        return said

    return run


def test_a_session_is_named_found_and_gone_on_with(play: Play) -> None:
    play("trains\x1b[31m", "/save trip")
    said = play("/sessions", "/sessions trains", "/resume trip", "/sessions", complete="/resume ")
    assert said[0].startswith("  trip  ")
    assert ", 1 turn  trains" in said[0]
    assert "\x1b" not in said[0]
    assert said[2].startswith("trip  turn 1, answer: About trains")
    assert said[4] == "This is trip from here on."
    assert said[5].startswith("● trip  ")
    assert play(complete="/resume t") == ["trip"]


def test_a_fork_is_told_of_by_its_name(play: Play) -> None:
    assert play("trains", "/fork plan", "/save trip") == [
        "This is a copy from here on, plan; the session stays as it was.",
        "This session is trip now; toolchat repl --resume trip goes on with it.",
    ]


def test_a_session_is_exported_by_the_files_name_also_one_that_is_not_stored(play: Play, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("x.md", "x.json", "x.HTML")]
    said = play("trains", *(f"/export {path}" for path in paths), store=False)
    assert said == [f"{path} is written." for path in paths]
    assert json.loads(paths[1].read_text())["turns"][0]["answer"] == "About trains."
    assert "About trains." in paths[2].read_text()
    assert play("a", f"/export {paths[0]}")[0].endswith("x.md: is there already; remove it, or write elsewhere")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/save", "expected a name"),
        ("/resume", "expected /resume NAME"),
        ("/resume nothing", "nothing: there is no session of that name or id"),
        ("/export x.pdf", "expected a file's name that ends in .md, .json or .html"),
        ("/export /nowhere/x.md", "/nowhere/x.md: cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(play: Play, line: str, why: str) -> None:
    (said,) = play("a", line)
    assert why in said


def test_nothing_is_exported_or_listed_where_nothing_was_asked(play: Play) -> None:
    assert play("/export x.md", "/sessions", "/sessions x") == [
        "There is nothing to export yet.",
        "None is stored yet.",
        "Nothing is found.",
    ]


def test_times_are_as_short_as_they_can_be_told() -> None:
    now = 1_800_000_000.0
    assert ":" in when(now - 60, now)
    assert when(now - 30 * 86400, now).split()[0].isdigit()
    assert when(now - 800 * 86400, now).count("-") == 2

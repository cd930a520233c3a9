from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from session_bench import Bench, Model

from toolchat.engine.base import EngineInfo
from toolchat.engine.scripted import Answer
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.wire.errors import UsageError
from toolchat.wire.events import ModelChanged

KNOWS_EFFORTS = EngineInfo("m", 2048, 15, constrains_calls=True, reasoning_efforts=("none", "high"))


def test_what_is_set_counts_from_the_next_turn_on_and_is_recorded(tmp_path: Path) -> None:
    bench = Bench(tmp_path, temperature=0.5)
    bench.engine.answers = [Answer("Hello."), Answer("Hello."), Answer("Hello.")]

    async def scene(session: Session) -> None:
        await session.ask("one")
        session.set_for_turns("temperature", 0.2)
        session.set_for_turns("max_tokens", 7)
        assert session.turn_settings["temperature"] == 0.2
        await session.ask("two")
        session.set_for_turns("temperature", None)
        await session.ask("three")

    bench.play(scene)
    options = [request.options for request in bench.engine.requests]
    assert [(one.temperature, one.max_tokens) for one in options] == [(0.5, 8192), (0.2, 7), (0.5, 7)]
    edits = [edit for edit in bench.edits() if isinstance(edit, ModelChanged)]
    assert [(edit.model, edit.settings["temperature"], edit.settings["max_tokens"]) for edit in edits] == [
        ("scripted", 0.2, 8192),
        ("scripted", 0.2, 7),
        ("scripted", 0.5, 7),
    ]


def test_setting_what_is_set_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, temperature=0.5)

    async def scene(session: Session) -> None:
        session.set_for_turns("temperature", 0.5)
        session.set_for_turns("seed", None)

    bench.play(scene)
    assert bench.edits() == []


def test_another_model_is_asked_the_same_way_but_for_the_effort(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.models["other"] = Model("other", settings=Settings(max_tokens=77, temperature=1.0))
    found: list[dict[str, Any]] = []

    async def scene(session: Session) -> None:
        session.set_for_turns("temperature", 0.2)
        bench.engine.info = KNOWS_EFFORTS
        session.set_for_turns("reasoning_effort", "high")
        await session.change_model("other")
        await session.ready()
        found.append(session.turn_settings)

    bench.play(scene)
    (now,) = found
    assert (now["temperature"], now["max_tokens"], now["reasoning_effort"]) == (0.2, 77, None)
    assert any("reasoning effort" in notice for notice in bench.notices())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tool_choice", "nope", "--tool-choice nope: there are no tools to call"),
        ("reasoning_effort", "high", "--reasoning-effort high: the model scripted has no such setting"),
    ],
)
def test_what_cannot_be_is_refused_and_all_stays(tmp_path: Path, name: str, value: str, message: str) -> None:
    bench = Bench(tmp_path)

    async def scene(session: Session) -> None:
        before = session.turn_settings
        with pytest.raises(UsageError, match=message):
            session.set_for_turns(name, value)
        assert session.turn_settings == before

    bench.play(scene)
    assert bench.edits() == []


def test_an_effort_that_the_model_knows_is_taken_and_another_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def scene(session: Session) -> None:
        bench.engine.info = KNOWS_EFFORTS
        session.set_for_turns("reasoning_effort", "high")
        with pytest.raises(UsageError, match="knows none, high"):
            session.set_for_turns("reasoning_effort", "low")
        assert session.turn_settings["reasoning_effort"] == "high"

    bench.play(scene)

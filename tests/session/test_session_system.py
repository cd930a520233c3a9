from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from session_bench import Bench, Model

from toolchat.chat.approval import ApprovalPolicy
from toolchat.engine.scripted import ScriptedEngine
from toolchat.models.card import OwnPrompt
from toolchat.session import engines, startup
from toolchat.session.session import Session
from toolchat.session.startup import Plan, open_session, sketch
from toolchat.wire import events
from toolchat.wire.events import Event, ModelChanged, SystemChanged

OWN = OwnPrompt("Be Magistral.", "it comes with a system prompt")


def bench(folder: Path, **settings: Any) -> Bench:
    made = Bench(folder, **settings)
    made.models["other"] = Model("other", prompt=OWN)
    made.models["plain"] = Model("plain")
    return made


def systems(made: Bench, *changes: Callable[[Session], None] | str) -> list[str | None]:
    """The system prompt after each change: a model's name, or what is done to the session."""
    seen: list[str | None] = []

    async def scene(session: Session) -> None:
        for change in changes:
            if isinstance(change, str):
                await session.change_model(change)
                await session.ready()
            else:
                change(session)
            seen.append(session.conversation.system)

    made.play(scene)
    return seen


def test_a_models_own_prompt_is_used_where_the_user_gave_none_and_goes_with_the_model(tmp_path: Path) -> None:
    made = bench(tmp_path)
    assert systems(made, "other", "plain", "other") == [OWN.text, None, OWN.text]
    assert made.notices() == [OWN.notice]  # once
    told = [one.model if isinstance(one, ModelChanged) else one for one in made.edits()]
    prompt = SystemChanged("Be Magistral.")
    assert told == ["other", prompt, "plain", SystemChanged(None), "other", prompt]


@pytest.mark.parametrize(("chosen", "kept"), [("Be brief.", "Be brief."), ("", None)])
def test_what_the_user_chose_stays_whatever_the_model_brings(tmp_path: Path, chosen: str, kept: str | None) -> None:
    made = bench(tmp_path, system=chosen)
    assert systems(made, "other", "plain") == [kept, kept]
    assert made.notices() == []


@pytest.mark.parametrize("chosen", ["Be brief.", None])
def test_a_prompt_chosen_within_the_chat_stays_with_another_model(tmp_path: Path, chosen: str | None) -> None:
    made = bench(tmp_path)
    assert systems(made, lambda session: session.system_prompt.set(chosen), "other") == [chosen, chosen]


def opened(found: Plan, scene: Callable[[Session], Any]) -> list[Event]:
    shown: list[Event] = []

    async def run() -> None:
        async with open_session(found, shown.append, ApprovalPolicy(NoGrants())) as session:
            await session.ready()
            await scene(session)

    asyncio.run(asyncio.wait_for(run(), 60))
    return shown


class NoGrants:
    def granted(self) -> list[Any]:
        return []

    def add(self, grant: Any) -> None:
        raise AssertionError


@pytest.mark.parametrize("late", [False, True], ids=["files here", "files fetched first"])
def test_the_models_prompt_is_there_before_the_first_turn(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    (model_folder / "SYSTEM_PROMPT.txt").write_text("I am {name}.")
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    engine = ScriptedEngine()
    engine.enqueue("Hello.")
    monkeypatch.setattr(Plan, "engine", lambda _: engine)
    monkeypatch.setattr(startup, "obtain", lambda choice, *_: model_folder)
    monkeypatch.setattr(engines, "engine_device", lambda: "cpu")
    found = sketch({"model": str(model_folder)}, None)
    if late:
        found = dataclasses.replace(found, folder=None, choice=dataclasses.replace(found.choice, folder=None))

    async def scene(session: Session) -> None:
        await session.ask("Hi")

    shown = opened(found, scene)
    assert [message.content for message in engine.requests[0].messages] == ["I am model.", "Hi"]
    notices = [event.body.text for event in shown if isinstance(event.body, events.Notice)]
    assert notices == [
        f"{model_folder} comes with a system prompt (11 characters), which is used; --no-system leaves it out"
    ]

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from inprocess_tools import InProcessRunner

from toolchat.engine.scripted import ScriptedEngine
from toolchat.session.session import Session
from toolchat.session.tools import check_tool_choice, left_out
from toolchat.settings import Settings
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.toolbox import Toolbox
from toolchat.wire.errors import UsageError

NONE = Toolbox(Path("tools.yaml"), ())


@pytest.fixture(scope="module")
def samples() -> Toolbox:
    return load_tools(sample_tools_path()).toolbox


@pytest.mark.parametrize("choice", ["auto", "none", "required", "calculate"])
def test_words_that_have_a_meaning_and_tools_may_be_chosen(samples: Toolbox, choice: str) -> None:
    check_tool_choice(choice, samples)


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_where_there_are_no_tools_nothing_needs_one(choice: str) -> None:
    check_tool_choice(choice, NONE)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("calculat", '--tool-choice calculat: there is no such tool; did you mean "calculate"?'),
        ("requried", '--tool-choice requried: there is no such tool; did you mean "required"?'),
        ("zzz", "--tool-choice zzz: there is no such tool; the tools are get_current_weather, "),
    ],
)
def test_an_unknown_tool_names_the_nearest(samples: Toolbox, choice: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_tool_choice(choice, samples)
    assert str(caught.value).startswith(message)


def test_tools_that_are_not_named_are_left_out(samples: Toolbox) -> None:
    assert left_out(samples, ()) == frozenset()
    assert left_out(samples, ["calculate"]) == frozenset(samples.names) - {"calculate"}
    for toolbox, message in (
        (samples, '--tool calculat: there is no such tool; did you mean "calculate"?'),
        (NONE, "--tool calculat: there is no such tool; there are no tools"),
    ):
        with pytest.raises(UsageError) as caught:
            left_out(toolbox, ["calculat"])
        assert str(caught.value) == message
    with pytest.raises(UsageError, match="--tool-choice current_time: that tool is not offered; name it with --tool"):
        check_tool_choice("current_time", samples, left_out(samples, ["calculate"]))


@pytest.mark.parametrize("choice", ["required", "calculate"])
def test_without_tools_none_can_be_called(choice: str) -> None:
    with pytest.raises(UsageError, match=f"--tool-choice {choice}: there are no tools to call"):
        check_tool_choice(choice, NONE)


def test_the_choice_reaches_the_engine(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    engine.enqueue("Yes.")
    settings = Settings(tool_choice="calculate", parallel_calls=False)
    session = Session(settings, "scripted", engine, tmp_path, lambda _: None)
    session.equip(InProcessRunner(load_tools(sample_tools_path())))

    async def ask() -> None:
        await session.launch()
        await session.ready()
        await session.ask("2 + 2?")
        await session.close()

    asyncio.run(ask())
    (request,) = engine.requests
    assert request.options.tool_choice == "calculate"
    assert not request.options.parallel_tool_calls


def test_a_session_is_not_equipped_with_tools_that_lack_the_chosen_one(tmp_path: Path) -> None:
    session = Session(Settings(tool_choice="nope"), "scripted", ScriptedEngine(), tmp_path, lambda _: None)
    with pytest.raises(UsageError, match="--tool-choice nope"):
        session.equip(InProcessRunner(load_tools(sample_tools_path())))

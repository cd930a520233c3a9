"""The command lines of `ask` and `repl` that are read without typer mean what typer makes of them."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.exceptions import TyperException

from toolchat.cli import main, repl, start
from toolchat.settings import SETTINGS

WORK: Mapping[str, tuple[ModuleType, str]] = {"ask": (main, "answer"), "repl": (main, "chat")}
"""By command: the function that typer's reading ends in."""
COMMANDS: Mapping[str, Callable[..., int]] = {"ask": main.ask, "repl": main.repl}


@functools.cache
def built(command: str) -> Callable[..., Any]:
    """The program with this command, as typer builds it; here once for all command lines."""
    return typer.main.get_command(main._app_for([command]))


def by_typer(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any] | None:
    """What the command is given by typer; None where it refuses."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(*WORK[arguments[0]], lambda given: found.append(dict(given)) or 0)
    written = start.with_value(arguments)
    try:
        built(arguments[0])(args=written, prog_name="toolchat", standalone_mode=False)
    except TyperException:
        return None
    found[0].pop("settings")
    return found[0]


@pytest.fixture(autouse=True)
def stays_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchat.offline.go_offline", lambda: None)


OF_SETTINGS = {
    command: [one for one in SETTINGS.values() if command == "repl" or not one.of_screen] for command in COMMANDS
}
_SWITCHES = ["--no-tools", "--yes", "-y", "--continue", "-c", "--recorded-results", "--offline", "--no-system"]
SWITCHES = {
    command: [
        *_SWITCHES,
        *own,
        *(f"--{no}{one.flag[2:]}" for one in OF_SETTINGS[command] if one.is_switch for no in ("", "no-")),
    ]
    for command, own in {
        "ask": ("--json", "--stream-json", "--quiet", "-q", "--no-stdin"),
        "repl": ("--plain", "--no-history", "--resume"),
    }.items()
}
_VALUED = ["--allow", "--deny", "--record", "--replay"]
VALUED = {
    command: [
        *_VALUED,
        *own,
        *(flag for one in OF_SETTINGS[command] if not one.is_switch for flag in (one.flag, one.short) if flag),
    ]
    for command, own in {
        "ask": ("--file", "-f", "--tool", "--image", "-i", "--session", "--schema", "--batch", "--output", "-o"),
        "repl": ("--resume", "-r", "--name"),
    }.items()
}
PLAIN = [
    *(
        [command, *rest]
        for command in COMMANDS
        for rest in (
            [],
            ["--"],
            *([flag] for flag in SWITCHES[command]),
            *([flag, "some value"] for flag in VALUED[command]),
            *([f"{flag}=a=b"] for flag in VALUED[command] if flag.startswith("--")),
            ["--model", "x", "--model", "y"],
            ["--fast-start", "--no-fast-start"],
            ["--system", "", "--model="],
            ["--allow", "a", "--allow", "b", "--engine-arg", "a=1", "--engine-arg=b=2"],
        )
    ),
    ["ask", "a question"],
    ["ask", ""],
    ["ask", "repl"],
    ["ask", "--file", "a", "-f", "b"],
    ["ask", "--", "-5 + 3?"],
    ["ask", "-m", "demo", "--", "--model"],
    ["ask", "what?", "--json", "-t", "tools.yaml"],
    ["repl", "-m", "demo", "--plain", "--no-tools", "--name", "mine"],
    ["repl", "--resume", "mine"],
    ["repl", "--resume=mine"],
    ["repl", "--resume", "--plain"],
    ["repl", "--plain", "--resume"],
    ["repl", "--resume", "--"],
    ["repl", "--resume", "--resume", "mine"],
    ["repl", "-r", "last", "-y", "--editing-mode", "vi"],
]


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_a_plain_command_line_is_read_as_typer_reads_it(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert start.read(arguments) == (arguments[0], by_typer(arguments, monkeypatch))


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "--help"],
        ["ask", "one", "two"],
        ["ask", "-5 + 3"],
        ["ask", "-mdemo"],
        ["ask", "-yq"],
        ["ask", "--model"],
        ["ask", "--model", "-x"],
        ["ask", "--mod", "demo"],
        ["ask", "--n", "3"],
        ["ask", "--json=true"],
        ["ask", "-"],
        ["ask", "--resume"],
        ["ask", "--plain"],
        ["--debug", "ask", "x"],
        ["repl", "--help"],
        ["repl", "-h"],
        ["repl", "a word"],
        ["repl", ""],
        ["repl", "--", "a word"],
        ["repl", "-"],
        ["repl", "--json"],
        ["repl", "--file", "x"],
        ["repl", "-r"],
        ["repl", "-mdemo"],
        ["repl", "-cy"],
        ["repl", "--model", "--resume"],
        ["repl", "--plain=true"],
        ["repl", "--resum"],
        ["--debug", "repl"],
        ["--version"],
        ["tools", "list"],
        ["replay", "x"],
        [],
    ],
    ids=" ".join,
)
def test_whatever_is_not_plain_is_left_to_typer(arguments: list[str]) -> None:
    assert start.read(arguments) is None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_parameter_of_a_command_is_read_and_has_its_default(command: str) -> None:
    parameters = inspect.signature(COMMANDS[command]).parameters
    assert start.read([command]) == (command, {name: one.default for name, one in parameters.items()})


@pytest.mark.parametrize(("command", "work"), [("ask", "toolchat.cli.ask.answer"), ("repl", "toolchat.cli.repl.chat")])
def test_a_plain_command_line_runs_its_command(command: str, work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(made: Callable[[], Any]) -> None:
        raise SystemExit(made())

    monkeypatch.setattr(work, lambda given: f"{command} {given['model']}")
    monkeypatch.setattr("toolchat.cli.running.run", run)
    try:
        with pytest.raises(SystemExit) as ended:
            start.run([command, "--model", "x"])
    finally:
        gc.enable()  # which the command would have done
    assert ended.value.code == f"{command} x"


@pytest.mark.parametrize("arguments", [["ask", "x"], ["repl"]])
def test_completion_of_a_plain_command_line_is_typers(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class TyperError(Exception):
        pass

    def typers(_: list[str]) -> None:
        raise TyperError

    monkeypatch.setenv("_TOOLCHAT_COMPLETE", "complete_bash")
    monkeypatch.setattr(main, "run", typers)
    with pytest.raises(TyperError):
        start.run(arguments)


def test_garbage_is_collected_again_once_the_chat_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    class OpenedError(Exception):
        pass

    def sketch(*_: object, **__: object) -> None:
        raise OpenedError

    monkeypatch.setattr("toolchat.session.startup.sketch", sketch)
    opening = repl._Opening({}, None, {}, None, None, record=None, cassette=None, recorded_results=False, debug=False)

    async def open_chat() -> None:
        async with opening.open(lambda _: None, None, None):
            pass

    gc.disable()
    try:
        with pytest.raises(OpenedError):
            asyncio.run(open_chat())
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()


WORDS = ["--", "-", "", "x", "-x", "--json=1", "--plain=1", "--model=x", "--mod", "-yq", "-cy", "a b", "--help"]


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_read_is_never_anything_else_than_typer_reads(command: str, data: st.DataObject) -> None:
    words = st.sampled_from([*SWITCHES[command], *VALUED[command], *WORDS])
    arguments = [command, *data.draw(st.lists(words, max_size=5))]
    if (found := start.read(arguments)) is not None:
        with pytest.MonkeyPatch.context() as patch:
            assert found == (command, by_typer(arguments, patch))

"""The command line of `ask` that is read without typer means what typer makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.exceptions import TyperException

from toolchat.cli import ask_command, main, quick
from toolchat.settings import SETTINGS


def by_typer(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any] | None:
    """What `ask` is given by typer; None where it refuses."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(ask_command, "answer", lambda given: found.append(dict(given)) or 0)
    try:
        main._app_for(arguments)(args=arguments, prog_name="toolchat", standalone_mode=False)
    except TyperException:
        return None
    found[0].pop("settings")
    return found[0]


@pytest.fixture(autouse=True)
def stays_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchat.offline.go_offline", lambda: None)


OF_ASK = [one for one in SETTINGS.values() if not one.of_screen]
SWITCHES = [f"--{no}{one.flag[2:]}" for one in OF_ASK if one.is_switch for no in ("", "no-")]
VALUED = [flag for one in OF_ASK if not one.is_switch for flag in (one.flag, one.short) if flag]
VALUED += ["--file", "-f", "--tool", "--allow", "--deny", "--image", "-i", "--session", "--schema", "--batch", "-o"]
SWITCHES += ["--no-tools", "--yes", "-y", "--continue", "-c", "--offline", "--json", "--stream-json", "--quiet", "-q"]
SWITCHES += ["--no-stdin", "--no-system"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a question"],
        [""],
        *([flag] for flag in SWITCHES),
        *([flag, "some value"] for flag in VALUED),
        *([f"{flag}=a=b"] for flag in VALUED if flag.startswith("--")),
        ["--file", "a", "-f", "b", "--model", "x", "--model", "y"],
        ["--", "-5 + 3?"],
        ["-m", "demo", "--", "--model"],
        ["what?", "--json", "-t", "tools.yaml"],
        ["--fast-start", "--no-fast-start"],
        ["--system", "", "--model="],
    ],
)
def test_a_plain_command_line_is_read_as_typer_reads_it(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = quick.read(["ask", *arguments])
    assert found is not None
    assert found == by_typer(["ask", *arguments], monkeypatch)


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
        ["--debug", "ask", "x"],
        ["repl"],
        [],
    ],
)
def test_whatever_is_not_plain_is_left_to_typer(arguments: list[str]) -> None:
    assert quick.read(arguments) is None


WORDS = st.sampled_from([*SWITCHES, *VALUED, "--", "-", "", "x", "-x", "--json=1", "--model=x", "--mod", "-yq", "a b"])


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(words=st.lists(WORDS, max_size=5))
def test_what_is_read_is_never_anything_else_than_typer_reads(words: list[str]) -> None:
    if (found := quick.read(["ask", *words])) is not None:
        with pytest.MonkeyPatch.context() as patch:
            assert found == by_typer(["ask", *words], patch)

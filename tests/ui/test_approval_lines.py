from __future__ import annotations

import asyncio
from typing import Any

import pytest
from approval_calls import pending
from hypothesis import given
from hypothesis import strategies as st

from toolchat.chat.approval import Reply, Scope
from toolchat.ui.approval import ARMING_SECONDS
from toolchat.ui.approval_lines import ask_by_lines, parse


async def only_strings(arguments: dict[str, Any]) -> str | None:
    wrong = [name for name, value in arguments.items() if not isinstance(value, str)]
    return f"{wrong[0]} must be a string" if wrong else None


def answer(*lines: str | None, **arguments: Any) -> tuple[Reply, str]:
    """The reply to these lines, and all that was said; asking for more lines than there are is an error."""
    return answer_after([(line, 1.0) for line in lines], **arguments)


def answer_after(lines: list[tuple[str | None, float]], **arguments: Any) -> tuple[Reply, str]:
    """The same for lines that each come so many seconds after they were asked for."""
    said: list[str] = []
    left = list(lines)
    now = 0.0

    async def prompt(text: str) -> str | None:
        nonlocal now
        said.append(text)
        line, seconds = left.pop(0)
        now += seconds
        return line

    reply = asyncio.run(ask_by_lines(pending(only_strings, **arguments), prompt, clock=lambda: now))
    assert left == []
    return reply, "".join(said)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("y", Reply(True)),
        ("Y", Reply(True)),
        (" yes ", Reply(True)),
        ("s", Reply(True, Scope.SESSION)),
        ("session", Reply(True, Scope.SESSION)),
        ("S", Reply(True, Scope.SESSION, exact=True)),
        ("a", Reply(True, Scope.ALWAYS)),
        ("always", Reply(True, Scope.ALWAYS)),
        ("A", Reply(True, Scope.ALWAYS, exact=True)),
        ("n", Reply(False)),
        ("No", Reply(False)),
        ("", Reply(False)),
        (None, Reply(False)),
        ("r not there", Reply(False, reason="not there")),
        ("no not there", Reply(False, reason="not there")),
        ("r", Reply(False)),
    ],
)
def test_each_answer_is_a_whole_word(line: str | None, reply: Reply) -> None:
    assert answer(line, path="a")[0] == reply


@pytest.mark.parametrize("line", ["yy", "ye", "yes please", "y n", "ok", "sure", "aa", "yno", "y.", "s a", "q", "1"])
def test_anything_else_is_asked_again_and_runs_nothing(line: str) -> None:
    reply, said = answer(line, "n", path="a")
    assert reply == Reply(False)
    assert "Not understood, and nothing is run yet." in said


@given(st.text(st.characters(codec=None), max_size=20))
def test_only_the_listed_words_allow(line: str) -> None:
    typed = parse(line)
    if line.strip().lower() not in ("y", "yes", "s", "session", "a", "always"):
        assert typed is None or typed.choice.value in ("no", "edit", "help")


@pytest.mark.parametrize("line", ["y", "a", "", "n", "r because"])
def test_a_line_that_comes_before_the_question_can_be_read_is_no_answer(line: str) -> None:
    reply, said = answer_after([*[(line, 0.39)] * 5, ("s", ARMING_SECONDS + 0.01)], path="a")
    assert reply == Reply(True, Scope.SESSION)
    assert said.count("too soon") == 5


def test_the_question_shows_the_call_in_full() -> None:
    _, said = answer("n", path="x" * 500, text="a\n\x1b[2J")
    assert said.count("x") >= 500
    assert "│ ␛[2J" in said
    assert said.endswith("Run write_file? [y/s/a/e/n/r, ? explains] ")


def test_help_is_a_question_mark() -> None:
    reply, said = answer("?", "y")
    assert reply.allowed
    assert "only with these arguments" in said


def test_an_edit_is_checked_and_asked_about_again() -> None:
    reply, said = answer("e", "e {", 'e {"path": 7}', 'e {"path": "b"}', "A", path="a")
    assert reply == Reply(True, Scope.ALWAYS, exact=True, arguments={"path": "b"})
    assert '{   "path": "a" }' in said
    assert "line 1, column 2" in said
    assert "path must be a string\n" in said
    assert said.count("The model asks to run write_file") == 1
    assert said.count("Your arguments for write_file") == 1
    assert '  path: "b"' in said


def test_after_an_edit_no_is_still_no() -> None:
    assert answer('e {"path": "b"}', "n", path="a")[0] == Reply(False)

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from approval_calls import pending
from hypothesis import example, given
from hypothesis import strategies as st

from toolchat.chat.approval import Reply, Scope
from toolchat.ui.approval_lines import ask_by_lines, parse
from toolchat.ui.dialogs import ARMING_SECONDS


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


@example("P")
@example("p")
@given(st.text(st.characters(codec=None), max_size=20))
def test_only_the_listed_words_allow(line: str) -> None:
    typed = parse(line)
    if line.strip().lower() not in ("y", "yes", "s", "session", "a", "always", "p"):
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


def test_a_call_that_does_not_fit_the_screen_comes_in_pages_and_is_not_allowed_before_the_last() -> None:
    lines = ["y", "A", "", "s", "", "", "y"]
    said: list[str] = []
    now = 0.0

    async def prompt(text: str) -> str | None:
        nonlocal now
        said.append(text)
        now += 1.0
        return lines.pop(0)

    content = "\n".join(f"row {number}" for number in range(30))
    reply = asyncio.run(ask_by_lines(pending(only_strings, text=content), prompt, lambda: (80, 12), lambda: now))
    assert (reply, lines) == (Reply(True), [])
    assert [text.count("\n") for text in said] == [10, 0, 0, 10, 0, 10, 4]
    assert sum("cannot be run" in text for text in said) == 3
    assert "".join(said).count("│ row") == 30
    assert said[-1].endswith("[y/s/a/e/n/r, ? explains] ")


@pytest.mark.parametrize("line", ["n", "r no", None])
def test_a_call_may_be_declined_on_its_first_page(line: str | None) -> None:
    now = 0.0

    async def prompt(text: str) -> str | None:
        nonlocal now
        now += 1.0
        return line

    reply = asyncio.run(ask_by_lines(pending(only_strings, text="\n" * 40), prompt, lambda: (80, 12), lambda: now))
    assert not reply.allowed


def test_a_screen_that_became_narrower_shows_the_call_again_and_the_answer_counts_only_then() -> None:
    columns = [80]
    said: list[str] = []
    now = 0.0

    async def prompt(text: str) -> str | None:
        nonlocal now
        said.append(text)
        now += 1.0
        columns[0] = 40
        return "y"

    reply = asyncio.run(
        ask_by_lines(pending(only_strings, text="x" * 200), prompt, lambda: (columns[0], 24), lambda: now)
    )
    assert reply == Reply(True)
    assert len(said) == 2
    assert "narrower" in said[1]
    assert max(map(len, said[1].split("\n")[1:-1])) <= 40


@pytest.mark.parametrize(("line", "scope"), [("p", Scope.SESSION), ("P", Scope.ALWAYS)])
def test_calls_that_are_alike_are_offered_and_granted(line: str, scope: Scope) -> None:
    reply, said = answer(line, path="/usr/share/a")
    assert reply.scope is scope
    assert reply.like is not None
    assert "p, P: s, a for calls like it: path: /usr/share/*" in said


def test_calls_that_are_alike_are_not_granted_where_they_are_not_offered() -> None:
    reply, said = answer("p", "n", content="x")
    assert not reply.allowed
    assert "There are no calls like it to allow" in said

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolchat.ui.commands.base import as_line, is_command, is_shell, question, split


@pytest.mark.parametrize("line", ["/help", "/h", "/tool add off", "/etc/hosts is what?", "/Quit", "/system a\nb"])
def test_a_slash_and_a_letter_begin_a_command(line: str) -> None:
    assert is_command(line)


@pytest.mark.parametrize(
    "line", ["", "/", "//", "//help", " /help", "/ help", "/1", "/*", "a /help", "\n/help", "help"]
)
def test_everything_else_is_a_question(line: str) -> None:
    assert not is_command(line)


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("//help me", "/help me"),
        (" /help me", "/help me"),
        ("   /etc/hosts", "  /etc/hosts"),
        ("// a comment of C", "// a comment of C"),
        ("///", "///"),
        (" indented", " indented"),
        ("5 / 2", "5 / 2"),
    ],
)
def test_a_space_or_a_second_slash_says_that_it_is_no_command(line: str, asked: str) -> None:
    assert question(line) == asked


@pytest.mark.parametrize("line", ["!ls", "!./run", "!~/bin/x -a", "!$EDITOR", "!(cd a; ls)", "!'a b'"])
def test_an_exclamation_mark_and_a_command_are_for_the_shell(line: str) -> None:
    assert is_shell(line)
    assert question(f" {line}") == line


@pytest.mark.parametrize("line", ["!", "!= is what?", "!!", "! ls", " !ls", "!important\nrows", "what!", "!\n"])
def test_other_exclamation_marks_are_questions(line: str) -> None:
    assert not is_shell(line)


@given(text=st.one_of(st.text(), st.text(alphabet="/! ab\n"), st.from_regex(r"[/ ]{0,3}[a-z]{0,3}", fullmatch=True)))
@example("/help")
@example("//help")
@example("!ls")
@example(" !ls")
@example(" /help")
def test_every_text_can_be_asked(text: str) -> None:
    line = as_line(text)
    assert not is_command(line)
    assert not is_shell(line)
    assert question(line) == text


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("/help", ("help", "")),
        ("/tool  add   off ", ("tool", "add   off")),
        ("/system Be brief.\n  And kind.", ("system", "Be brief.\n  And kind.")),
        ("/system\nBe brief.", ("system", "Be brief.")),
    ],
)
def test_a_name_and_what_follows_it(line: str, parts: tuple[str, str]) -> None:
    assert split(line) == parts

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest
from at_the_terminal import end_program, pause_to_read, reply
from cli_program import Program, Ran

pytestmark = pytest.mark.process

REPORTS = (
    *(
        "\x1b[I",
        "\x1b[O",
        "\x1b[?62;1c",
        "\x1b[>41;390;0c",
        "\x1b[0n",
        "\x1b[24;80R",
        "\x1b[?2026;2$y",
        "\x1b[8;24;80t",
    ),
    *(
        "\x1b]11;rgb:1e1e/1e1e/1e1e\x1b\\",
        "\x1b]10;rgb:ffff/ffff/ffff\x07",
        "\x1bP>|tmux 3.4\x1b\\",
        "\x1b_Gi=31;OK\x1b\\",
    ),
)
"""What terminals report by themselves."""
SCRIPT = Path(__file__).with_name("scripted_program.py")
CODE = '''
from pathlib import Path

def note(text: str) -> str:
    """Note a text."""
    Path("noted").open("a").write(text + ";")
    return f"noted {text}"

def erase(what: str) -> str:
    """Erase something."""
    return f"erased {what}"
'''
FILE = """version: 1
tools:
  - callable: ./mine.py:note
  - callable: ./mine.py:erase
    approval: deny
"""
NOTE: list[Any] = [["note", {"text": "a"}]]
DONE = "All done."


@dataclass(frozen=True, slots=True)
class Chat:
    """`toolchat ask` with a scripted engine, and two tools: one asks, one is denied."""

    program: Program
    model: Path

    def command(self, answers: list[Any], flags: tuple[str, ...]) -> list[str]:
        given = ["ask", "go", "--model", str(self.model), "--tools", "tools.yaml", *flags]
        return [sys.executable, str(SCRIPT), json.dumps(answers), *given]

    def ask(self, answers: list[Any], *flags: str) -> Ran:
        return self.program.fork(*self.command(answers, flags)[1:])

    @contextmanager
    def terminal(self, answers: list[Any], *flags: str) -> Iterator[pexpect.spawn[str]]:
        program, *arguments = self.command(answers, flags)
        child = pexpect.spawn(
            program,
            arguments,
            cwd=str(self.program.folder),
            env=self.program.environment,
            encoding="utf-8",
            timeout=30,
            dimensions=(24, 80),
        )
        try:
            yield child
        finally:
            end_program(child)

    @property
    def noted(self) -> str:
        file = self.program.folder / "noted"
        return file.read_text() if file.exists() else ""


def end(child: pexpect.spawn[str]) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else -(child.signalstatus or 0)


@pytest.fixture
def toolchat(forked_toolchat: Program) -> Program:
    return forked_toolchat


@pytest.fixture
def chat(toolchat: Program, model_folder: Path) -> Chat:
    (toolchat.folder / "mine.py").write_text(CODE)
    (toolchat.folder / "tools.yaml").write_text(FILE)
    return Chat(toolchat, model_folder)


def test_without_a_terminal_a_call_that_asks_is_declined_and_the_exit_code_says_so(chat: Chat) -> None:
    ran = chat.ask([NOTE, DONE])
    assert (ran.code, ran.out) == (4, f"{DONE}\n")
    assert "nobody can be asked" in ran.err
    assert chat.noted == ""


@pytest.mark.parametrize("flags", [("--yes",), ("-y",), ("--allow", "note")])
def test_a_flag_answers_for_the_user(chat: Chat, flags: tuple[str, ...]) -> None:
    ran = chat.ask([NOTE, DONE], *flags)
    assert (ran.code, ran.out) == (0, f"{DONE}\n")
    assert chat.noted == "a;"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--yes",), 4),
        (("--allow", "erase"), 0),
        (("--allow", "erase", "--deny", "erase"), 4),
        (("--allow", "note", "--allow", "erase", "--deny", "note"), 0),
    ],
)
def test_what_a_file_denies_only_its_name_in_allow_lifts(chat: Chat, flags: tuple[str, ...], code: int) -> None:
    ran = chat.ask([[["erase", {"what": "x"}]], DONE], *flags)
    assert ran.code == code
    assert ("erased x" in ran.err) == (code == 0)
    assert ("does not allow this tool" in ran.err) == (code == 4)


@pytest.mark.parametrize("flag", ["--allow", "--deny"])
def test_a_name_that_no_tool_has_is_a_usage_error(chat: Chat, flag: str) -> None:
    line = chat.ask([DONE], flag, "erasse").refused(2)
    assert line == f'{flag} erasse: there is no such tool; did you mean "erase"?'


def test_on_a_terminal_the_call_is_shown_and_runs_after_yes(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect("The model asks to run note")
        child.expect('text: "a"')
        child.expect("Run note")
        assert chat.noted == ""
        reply(child, "y")
        child.expect(DONE)
        assert end(child) == 0
    assert chat.noted == "a;"


def test_on_a_terminal_enter_declines(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect("Run note")
        reply(child, "")
        child.expect("the user declined this call")
        assert end(child) == 4
    assert chat.noted == ""


def test_what_was_typed_before_the_question_does_not_answer_it(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.send("y\ny\ny")
        child.expect("Run note")
        child.expect(pexpect.TIMEOUT, timeout=1)
        assert chat.noted == ""
        reply(child, "n")
        assert end(child) == 4
    assert chat.noted == ""


def test_what_was_typed_while_it_was_stopped_does_not_answer_it(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect("Run note")
        pause_to_read()
        os.kill(child.pid, signal.SIGSTOP)
        child.sendline("y")
        os.kill(child.pid, signal.SIGCONT)
        child.expect("That came too soon")
        assert chat.noted == ""
        reply(child, "y")
        child.expect(DONE)
        assert end(child) == 0
    assert chat.noted == "a;"


def test_arguments_are_edited_and_a_grant_covers_the_rest_of_the_session(chat: Chat) -> None:
    several = [["note", {"text": text}] for text in ("a", "b")]
    with chat.terminal([several, NOTE, DONE]) as child:
        child.expect("Run note")
        reply(child, 'e {"text": 7, "x": 1}')
        child.expect('unknown argument "x"')
        reply(child, 'e {"text": "edited"}')
        child.expect('text: "edited"')
        child.expect("Run note")
        reply(child, "s")
        child.expect(DONE)
        assert end(child) == 0
    assert sorted(chat.noted.split(";")) == ["", "a", "b", "edited"]


def test_what_is_allowed_for_good_holds_until_the_code_changes_or_it_is_revoked(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect("Run note")
        reply(child, "a")
        assert end(child) == 0
    assert chat.ask([NOTE, DONE]).code == 0
    listed = chat.program("tools", "grants").out
    assert "note" in listed
    assert "./mine.py:note" in listed
    (chat.program.folder / "mine.py").write_text(CODE.replace("noted {text}", "noted: {text}"))
    assert chat.ask([NOTE, DONE]).code == 4
    (chat.program.folder / "mine.py").write_text(CODE)
    assert chat.ask([NOTE, DONE]).code == 0
    assert chat.program("tools", "revoke", "note").out == "1 grant revoked.\n"
    assert chat.ask([NOTE, DONE]).code == 4


def test_an_exact_grant_asks_about_other_arguments(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect("Run note")
        reply(child, "A")
        assert end(child) == 0
    assert chat.ask([NOTE, DONE]).code == 0
    assert chat.ask([[["note", {"text": "b"}]], DONE]).code == 4
    assert chat.noted == "a;a;"


def test_ctrl_c_at_the_question_runs_nothing_and_leaves_the_terminal_as_it_was(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect("Run note")
        child.sendintr()
        assert end(child) == 130
        assert "Traceback" not in child.before
    assert chat.noted == ""


def test_the_end_of_input_at_the_question_declines(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect("Run note")
        child.sendeof()
        assert end(child) == 4
    assert chat.noted == ""


def test_nothing_granted_is_said_and_a_slip_in_revoke_is_told(toolchat: Program) -> None:
    assert toolchat("tools", "grants").out == "No calls are allowed for good.\n"
    assert toolchat("tools", "revoke").out == "0 grants revoked.\n"
    assert "toolchat tools grants" in toolchat("tools", "revoke", "note").refused(2)


def test_reports_of_the_terminal_are_no_part_of_a_typed_answer(chat: Chat) -> None:
    with chat.terminal([NOTE, DONE]) as child:
        child.expect_exact("? explains] ")
        reply(child, f"{''.join(REPORTS)}y{''.join(REPORTS)}")
        child.expect_exact(DONE)
        assert end(child) == 0
    assert chat.noted == "a;"

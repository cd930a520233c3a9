from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from at_the_terminal import pause_to_read
from scripted_terminal import OpenRepl
from terminal_screen import CTRL_D, CTRL_Z, ENTER, Terminal

pytestmark = pytest.mark.terminal

IDLE = 'Path("pid").write_text(str(os.getpid()))\nengine = answering("One.")'
STREAMS = (
    'Path("pid").write_text(str(os.getpid()))\n'
    'engine = GatedEngine()\nengine.enqueue(Answer(text=["Once. ", "@forever"]), "Two.")'
)


def pid(folder: Path) -> int:
    return int((folder / "pid").read_text())


def streaming(repl: OpenRepl) -> Terminal:
    chat = repl(STREAMS)
    chat.type("go")
    chat.wait_for_text("Once.")
    return chat


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_at_the_prompt_restores_the_terminal(
    repl: OpenRepl, folder: Path, number: signal.Signals, code: int
) -> None:
    chat = repl(IDLE)
    chat.wait_for_prompt()
    os.kill(pid(folder), number)
    assert chat.exit_code() == code
    assert chat.is_restored
    assert not chat.brackets_pastes


def test_the_terminal_brackets_pastes_for_the_chat_and_not_for_what_runs_after_it(repl: OpenRepl) -> None:
    chat = repl(IDLE)
    chat.wait_for_prompt()
    assert chat.brackets_pastes
    chat.press(CTRL_D)
    assert chat.exit_code() == 0
    assert not chat.brackets_pastes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_during_an_answer_restores_the_terminal_and_keeps_what_was_shown(
    repl: OpenRepl, folder: Path, number: signal.Signals, code: int
) -> None:
    chat = streaming(repl)
    os.kill(pid(folder), number)
    assert chat.exit_code() == code
    assert chat.is_restored
    assert chat.index("› go") < chat.index("Once.")


def test_leaving_during_an_answer_keeps_what_was_shown(repl: OpenRepl) -> None:
    chat = streaming(repl)
    chat.press("/quit", ENTER)
    assert chat.exit_code() == 0
    assert chat.index("› go") < chat.index("Once.")


def test_a_sigint_from_elsewhere_is_a_ctrl_c(repl: OpenRepl, folder: Path) -> None:
    chat = streaming(repl)
    os.kill(pid(folder), signal.SIGINT)
    chat.wait_for_row("■ interrupted")
    chat.type("and now?")
    chat.wait_for_row("Two.")


@pytest.mark.parametrize("by_key", [True, False], ids=["ctrl-z", "kill -TSTP"])
def test_a_stopped_chat_gives_the_terminal_back_and_goes_on_where_it_was(
    repl: OpenRepl, folder: Path, by_key: bool
) -> None:
    chat = repl(IDLE)
    chat.wait_for_prompt()
    chat.press("half a line")
    chat.wait_for_typed("half a line")
    if by_key:
        chat.press(CTRL_Z)
    else:
        os.kill(pid(folder), signal.SIGTSTP)
    chat.wait_for_row("the shell meanwhile")
    assert chat.was_restored_meanwhile
    chat.press(ENTER)
    chat.wait_for("the input again", lambda: chat.typed == "half a line" and "ready" in chat.toolbar)
    assert [row for row in chat.display if row].count("› half a line") == 1
    chat.press(ENTER)
    chat.wait_for_row("One.")
    chat.wait_for_prompt()
    chat.press(CTRL_D)
    assert chat.exit_code() == 0
    assert chat.is_restored


def test_a_chat_that_was_stopped_by_force_has_its_terminal_again(repl: OpenRepl, folder: Path) -> None:
    chat = repl(IDLE)
    chat.wait_for_prompt()
    os.kill(pid(folder), signal.SIGSTOP)
    chat.wait_for_text("the shell meanwhile")
    chat.press(ENTER)
    chat.wait_for_prompt()
    chat.type("hello")
    chat.wait_for_row("One.")


def test_an_unexpected_failure_is_one_line_and_the_terminal_is_restored(repl: OpenRepl) -> None:
    chat = repl('engine = answering(Answer(error=RuntimeError("out of cheese")))')
    chat.type("hello")
    assert chat.exit_code() == 1
    assert chat.is_restored
    assert chat.shows("toolchat: unexpected RuntimeError: out of cheese (please report it; --debug shows more)")


def test_a_tools_file_that_is_wrong_ends_the_chat_with_its_lines(repl: OpenRepl, folder: Path) -> None:
    (folder / "bad.yaml").write_text("version: 1\ntools:\n  - callable: nowhere:nothing\n")
    chat = repl(IDLE, "--tools", "bad.yaml")
    assert chat.exit_code() == 2
    assert chat.is_restored
    assert chat.shows("bad.yaml:3")


def test_a_tools_file_that_was_found_is_asked_about_before_the_prompt(repl: OpenRepl, folder: Path) -> None:
    (folder / "tools.yaml").write_text("version: 1\ntools:\n  - callable: ./mine.py:add\n    approval: allow\n")
    (folder / "mine.py").write_text('def add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n')
    chat = repl(IDLE)
    for question in ("Accept it, until it or its modules change? [y/N]", "May they?"):
        chat.wait_for_text(question)
        pause_to_read()
        chat.press("y", ENTER)
    chat.wait_for("the prompt", lambda: "1 tool" in chat.toolbar)
    chat.type("hello")
    chat.wait_for_row("One.")


def test_a_terminal_that_is_closed_ends_the_chat(repl: OpenRepl, folder: Path) -> None:
    chat = streaming(repl)
    process = pid(folder)
    chat.child.close(force=False)
    chat_ended = Path(f"/proc/{process}")
    for _ in range(200):
        if not chat_ended.exists():
            return
        # There is no screen left to wait on.
        signal.sigtimedwait([], 0.05)
    raise AssertionError("it goes on without a terminal")

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from at_the_terminal import pause_to_read
from forked_program import ProgramServer
from scripted_terminal import BEGINNING, LAUNCHER, REPOSITORY, OpenRepl
from terminal_screen import CTRL_C, CTRL_D, CTRL_Z, ENTER, Terminal

pytestmark = pytest.mark.terminal

WEATHER = 'call("get_current_weather", city="Dallas", state="TX", unit="fahrenheit")'
TOOLS = "version: 1\ntools:\n  - callable: toolchat.samples.calculator:calculate\n    approval: ask\n"


@dataclass(frozen=True, slots=True)
class Ran:
    returncode: int
    stdout: str
    stderr: str


Piped = Callable[..., Ran]


@pytest.fixture
def piped(program_server: ProgramServer) -> Piped:
    """Runs a REPL without a terminal."""

    def run(folder: Path, script: str, text: str, *flags: str) -> Ran:
        file = folder / "script.py"
        file.write_text(BEGINNING + script)
        path = os.pathsep.join(map(str, (REPOSITORY, LAUNCHER.parent)))
        environment = {**os.environ, "PYTHONPATH": path, "TERM": "xterm-256color"}
        command = [str(LAUNCHER), str(file), *flags]
        code, out, err = program_server.run(command, text.encode(errors="surrogateescape"), folder, environment, 60)
        return Ran(code, out.decode(), err.decode())

    return run


def test_a_pipe_is_read_line_by_line_to_its_end(piped: Piped, folder: Path) -> None:
    done = piped(folder, 'engine = answering("**One**.\\nMore.", "Two.")', "first\n\nsecond")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "> first\n**One**.\nMore.\n> second\nTwo.\n"


def test_calls_and_notices_and_thinking_are_lines_of_their_own(piped: Piped, folder: Path) -> None:
    script = f'engine = answering(Answer(text="I look.", thinking="Hm.\\nWell.", calls=[{WEATHER}]), "85.")'
    done = piped(folder, script, "weather?\n", "--plain")
    lines = done.stdout.splitlines()
    assert lines[:4] == ["> weather?", "  (thinking) Hm.", "  (thinking) Well.", "I look."]
    assert lines[4] == '→ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")'
    assert lines[5].startswith('✓ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")  ')
    assert lines[6].startswith("  The weather in Dallas, TX is 85 degrees fahrenheit.")
    assert lines[7:] == ["85."]


def test_no_escape_sequence_is_written_whatever_comes(piped: Piped, folder: Path) -> None:
    script = 'engine = answering(Answer(text="\\x1b[2J", thinking="\\x1b[5A"), "Two.")'
    done = piped(folder, script, "a\x1bb\n/tools\n/copy\nlast\n", "--plain")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "␛[2J" in done.stdout
    assert "get_current_weather" in done.stdout
    assert "nothing is copied" in done.stdout


def test_without_a_terminal_a_call_that_would_ask_is_declined(piped: Piped, folder: Path) -> None:
    (folder / "t.yaml").write_text(TOOLS)
    script = 'engine = answering(Answer(calls=[call("calculate", expression="1+1")]), "No.")'
    done = piped(folder, script, "sum?\n", "--tools", "t.yaml")
    assert '⊘ calculate(expression="1+1")  declined' in done.stdout
    assert done.stdout.endswith("No.\n")
    assert done.returncode == 4


def test_commands_work_and_quit_leaves(piped: Piped, folder: Path) -> None:
    done = piped(folder, 'engine = answering("One.", "Again.")', "first\n/retry\n/nonsense\n/quit\nnever\n")
    assert done.returncode == 0
    assert done.stdout.count("One.") == 1
    assert "Again." in done.stdout
    assert "There is no command /nonsense" in done.stdout
    assert "never" not in done.stdout


def test_after_an_engine_that_died_behind_a_result_retry_does_not_run_the_tool_again(
    piped: Piped, folder: Path
) -> None:
    engine = """engine = answering(
        Answer(calls=[call("calculate", expression="6*7")]), Answer("So", crash=True), "It is 42."
    )"""
    done = piped(folder, engine, "6*7?\n/retry\n/quit\n")
    assert done.returncode == 0
    assert done.stdout.count("→ calculate") == 1
    assert "The calls of this turn are not made again." in done.stdout
    assert "It is 42." in done.stdout


def test_a_model_that_does_not_load_is_one_line_and_code_3_where_nobody_is_there(piped: Piped, folder: Path) -> None:
    done = piped(folder, 'engine = GatedEngine(failures=["no memory left"])', "first\n")
    assert done.returncode == 3
    assert done.stdout == "> first\n"
    assert done.stderr == "toolchat: no memory left\n"


def test_text_that_is_not_utf_8_is_taken_as_well_as_may_be(folder: Path) -> None:
    file = folder / "script.py"
    file.write_text(BEGINNING + 'engine = answering("One.")')
    path = os.pathsep.join(map(str, (REPOSITORY, LAUNCHER.parent)))
    done = subprocess.run(
        [sys.executable, str(LAUNCHER), str(file)],
        input=b"caf\xe9\n",
        capture_output=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "> caf�\nOne.\n" in done.stdout.decode()


@pytest.mark.parametrize("how", ["flag", "dumb"])
def test_on_a_terminal_it_is_line_by_line_too(repl: OpenRepl, how: str) -> None:
    script = 'engine = answering("Hello **you**.")'
    chat = repl(script, "--plain") if how == "flag" else repl(script, TERM="dumb")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].startswith(">"))
    chat.press("hi", ENTER)
    chat.wait_for_row("Hello **you**.")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].strip() == ">")
    chat.press(CTRL_D)
    assert chat.exit_code() == 0
    assert chat.is_restored
    assert b"\x1b" not in chat.raw


def test_ctrl_c_stops_the_answer_then_hints_then_leaves(repl: OpenRepl) -> None:
    chat = repl('engine = GatedEngine()\nengine.enqueue(Answer(text=["Once.\\n", "@forever"]))', "--plain")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].startswith(">"))
    chat.press("go", ENTER)
    chat.wait_for_row("Once.")
    chat.press(CTRL_C)
    chat.wait_for_text("interrupted")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].strip() == ">")
    chat.press(CTRL_C)
    chat.wait_for_text("Ctrl-C again or Ctrl-D leaves")
    chat.press(CTRL_C)
    assert chat.exit_code() == 130
    assert chat.is_restored


def test_ctrl_c_while_the_model_loads_drops_the_question(repl: OpenRepl, folder: Path) -> None:
    chat = repl('engine = GatedEngine(loads_late=True)\nengine.enqueue("Yes.")', "--plain")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].startswith(">"))
    chat.press("dropped", ENTER, CTRL_C)
    chat.wait_for_text("cancelled")
    (folder / "load").touch()
    chat.wait_for_text("ready")
    chat.press("asked", ENTER)
    chat.wait_for_row("Yes.")


def test_ctrl_c_stops_a_change_of_the_model(repl: OpenRepl, folder: Path) -> None:
    script = (
        'import time\nfrom pathlib import Path\nengine = answering("Still here.")\n'
        "def fetch(name):\n    if name == 'big':\n        Path('fetching').touch()\n        time.sleep(600)\n"
    )
    chat = repl(script, "--plain")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].startswith(">"))
    chat.press("/model big", ENTER)
    chat.wait_for("the fetching", (folder / "fetching").exists)
    chat.press(CTRL_C)
    chat.wait_for_text("cancelled: /model big")
    chat.press("hello", ENTER)
    chat.wait_for_row("Still here.")
    chat.press(CTRL_D)
    assert chat.exit_code() == 0


def test_a_call_is_asked_about_by_lines(repl: OpenRepl, folder: Path) -> None:
    chat = asked_by_lines(repl, folder)
    # What comes sooner is taken for something that was on its way before the question.
    pause_to_read()
    chat.press("y", ENTER)
    chat.wait_for_row("Two.")
    assert any(row.startswith('✓ calculate(expression="1+1")') for row in chat.rows)


def asked_by_lines(repl: OpenRepl, folder: Path) -> Terminal:
    (folder / "t.yaml").write_text(TOOLS)
    script = 'engine = answering(Answer(calls=[call("calculate", expression="1+1")]), "Two.", "Three.")'
    chat = repl(script, "--plain", "--tools", "t.yaml")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].startswith(">"))
    chat.press("sum?", ENTER)
    chat.wait_for_text("[y/s/a/e/n/r, ? explains]")
    return chat


def test_ctrl_d_at_a_question_declines_and_the_chat_goes_on(repl: OpenRepl, folder: Path) -> None:
    chat = asked_by_lines(repl, folder)
    chat.press(CTRL_D)
    chat.wait_for_row("Two.")
    assert chat.shows("declined")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].strip() == ">")
    chat.press("more", ENTER)
    chat.wait_for_row("Three.")
    chat.press(CTRL_D)
    assert chat.exit_code() == 0


def test_after_a_stop_the_prompt_is_there_again(repl: OpenRepl) -> None:
    chat = repl('engine = answering("One.")', "--plain")
    chat.wait_for("the prompt", lambda: chat.display[chat.cursor[1]].startswith(">"))
    chat.press(CTRL_Z)
    chat.wait_for_text("the shell meanwhile")
    chat.press(ENTER)
    chat.wait_for("the prompt again", lambda: chat.display[chat.cursor[1]].strip() == ">")
    chat.press("hello", ENTER)
    chat.wait_for_row("One.")


def test_what_is_typed_blindly_after_a_stop_answers_no_question(repl: OpenRepl, folder: Path) -> None:
    chat = asked_by_lines(repl, folder)
    pause_to_read()
    chat.press(CTRL_Z)
    chat.wait_for_text("the shell meanwhile")
    # In one burst: what the shell reads, and what is there when the chat goes on.
    chat.press(f"{ENTER}y{ENTER}")
    chat.wait_for_text("That came too soon")
    assert not chat.shows("Two.")
    pause_to_read()
    chat.press("y", ENTER)
    chat.wait_for_row("Two.")


def test_a_pipe_that_nobody_reads_any_more_ends_it_quietly(folder: Path) -> None:
    file = folder / "script.py"
    # More than a pipe and its reader's buffer hold: else all of it may be written before the reader goes.
    file.write_text(BEGINNING + 'engine = answering("One.\\n" * 40000, "Two.")')
    path = os.pathsep.join(map(str, (REPOSITORY, LAUNCHER.parent)))
    child = subprocess.Popen(
        [sys.executable, str(LAUNCHER), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdin.write(b"first\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"> first\n"
    child.stdout.close()
    assert child.wait(60) == 141
    assert b"Traceback" not in child.stderr.read()


def test_a_sigint_ends_a_pipe_with_130(folder: Path) -> None:
    file = folder / "script.py"
    file.write_text(BEGINNING + 'engine = GatedEngine()\nengine.enqueue(Answer(text=["Once.\\n", "@forever"]))')
    path = os.pathsep.join(map(str, (REPOSITORY, LAUNCHER.parent)))
    child = subprocess.Popen(
        [sys.executable, str(LAUNCHER), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(b"first\n")
    child.stdin.flush()
    assert [child.stdout.readline() for _ in range(2)] == [b"> first\n", b"Once.\n"]
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert err == b""

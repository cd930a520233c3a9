from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from scripted_terminal import OpenRepl
from terminal_screen import CTRL_C, ENTER, ESCAPE, Terminal

from toolchat.ui.dialog_host import STOPPED_SECONDS
from toolchat.ui.dialogs import ARMING_SECONDS

pytestmark = pytest.mark.terminal

TOOLS = """version: 1
tools:
  - callable: ./mine.py:add
    approval: ask
  - callable: ./mine.py:wait
    approval: allow
    timeout: 20
  - callable: ./mine.py:fail
    approval: allow
  - callable: ./mine.py:long
    approval: allow
  - callable: ./mine.py:late
    approval: allow
    timeout: 0.3
"""
MINE = '''
import pathlib, time

def add(a: int, b: int) -> int:
    """Add."""
    return a + b

def wait(file: str) -> str:
    """Wait for a file."""
    print("first", flush=True)
    print(f"waiting for {file}", flush=True)
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
    return f"{file} came"

def fail() -> str:
    """Fail."""
    raise ValueError("no such \\x1b[31mluck")

def long() -> str:
    """A long result."""
    return "\\n".join(f"row {number}" for number in range(30))

def late() -> str:
    """Too late."""
    time.sleep(60)
    return ""
'''
ADD = """Path("pid").write_text(str(os.getpid()))
engine = answering(Answer(calls=[call("add", a=1, b=2)]), "It is done.", "Next.")
"""

KEYS = "y once"


@pytest.fixture
def with_tools(repl: OpenRepl, folder: Path) -> OpenRepl:
    (folder / "mine.yaml").write_text(TOOLS)
    (folder / "mine.py").write_text(MINE)

    def open_(script: str, *flags: str, **more: object) -> Terminal:
        return repl(script, "--tools", "mine.yaml", *flags, **more)

    return open_


def asked(chat: Terminal) -> Terminal:
    """In the dialog, and armed."""
    chat.type("add them")
    chat.wait_for_text("Run add?")
    armed(chat)
    return chat


def armed(chat: Terminal) -> None:
    # The keys change their look once they count.
    chat.wait_for("that the keys count", lambda: chat.colour(KEYS) == "cyan")


def answer(chat: Terminal, key: str) -> None:
    """Press until the dialog takes it: on a slow machine it swallows keys, which may have been typed blindly."""
    armed(chat)
    while chat.colour(KEYS):
        seen = len(chat.raw)
        chat.press(key)
        taken_or_swallowed(chat, seen)


def taken_or_swallowed(chat: Terminal, seen: int) -> None:
    # Swallowed: the keys have lost their look, and then have it again.
    chat.wait_for("what becomes of the key", lambda: not chat.colour(KEYS) or b"once" in chat.raw[seen:])
    chat.wait_for("the end of it", lambda: chat.colour(KEYS) in ("", "cyan"))


def test_two_calls_run_side_by_side_and_each_is_a_card(with_tools: OpenRepl, folder: Path) -> None:
    chat = with_tools('engine = answering(Answer(calls=[call("wait", file="x"), call("wait", file="y")]), "Both.")')
    chat.type("go")
    chat.wait_for("both running", lambda: chat.shows("│ waiting for x") and chat.shows("│ waiting for y"))
    assert "running tools" in chat.toolbar
    live = [row for row in chat.display if row.startswith("→ wait")]
    assert [row.split(" ")[1] for row in live] == ['wait(file="x")', 'wait(file="y")']
    assert all(row.endswith(" s") for row in live)
    (folder / "y").touch()
    chat.wait_for_row("  y came")
    assert any(row.startswith('→ wait(file="x")') for row in chat.display)
    (folder / "x").touch()
    chat.wait_for_row("Both.")
    assert not any(row.startswith("→") for row in chat.display)
    done = chat.rows[chat.index("  y came") - 3 :]
    assert done[0].startswith('✓ wait(file="y")  ')
    assert done[0].endswith(" s, parsed")
    assert done[1:4] == ["  │ first", "  │ waiting for y", "  y came"]
    assert sum(row.startswith('✓ wait(file="x")') for row in chat.rows) == 1


def test_a_failure_and_a_timeout_and_a_long_result_read_differently(with_tools: OpenRepl) -> None:
    chat = with_tools(
        'unread = FailedCall("x" * 9, "add", "{", "cut")\n'
        'engine = answering(Answer(calls=[call("fail"), call("late"), call("long"), unread]), "So.")'
    )
    chat.type("go")
    chat.wait_for_row("So.")
    rows = chat.rows
    assert any(row.startswith("✗ fail()  failed") for row in rows)
    assert chat.shows("no such ␛[31mluck")
    assert any(row.startswith("✗ late()  timed out") for row in rows)
    assert any(row.startswith("✓ long()") for row in rows)
    assert "  … 25 more lines; /last shows all" in rows
    assert "✗ add(…) could not be read: cut  failed" in rows
    chat.type("/last")
    chat.wait_for_text("row 29")


def test_ctrl_c_ends_all_running_tools_with_a_result_each(with_tools: OpenRepl) -> None:
    chat = with_tools('engine = answering(Answer(calls=[call("wait", file="x"), call("wait", file="y")]), "Later.")')
    chat.type("go")
    chat.wait_for("both running", lambda: chat.shows("│ waiting for x") and chat.shows("│ waiting for y"))
    chat.press(CTRL_C)
    chat.wait_for_row("■ interrupted")
    for name in "xy":
        assert any(row.startswith(f'■ wait(file="{name}")  interrupted') for row in chat.rows)
    chat.type("and now?")
    chat.wait_for_row("Later.")


def test_switching_a_tool_off_leaves_the_calls_that_run_as_they_are(with_tools: OpenRepl, folder: Path) -> None:
    chat = with_tools('engine = answering(Answer(calls=[call("wait", file="gate")]), "It came.")')
    chat.type("wait")
    chat.wait_for_text("waiting for gate")
    chat.press("/tool add off", ENTER)
    chat.wait_for_row("add is not offered to the model, from the next turn on.")
    chat.wait_for("the call still running", lambda: "running tools" in chat.toolbar)
    (folder / "gate").touch()
    chat.wait_for_row("It came.")
    assert any(row.startswith('✓ wait(file="gate")') for row in chat.rows), chat.rows
    assert not any(row.startswith("■") for row in chat.rows)


def test_a_call_is_named_while_the_model_still_writes_it(with_tools: OpenRepl, folder: Path) -> None:
    chat = with_tools(
        "from toolchat.wire.deltas import CallArguments, CallBegun\n"
        'engine = GatedEngine()\nbegun = (CallBegun(0, "long"), CallArguments(0, "x" * 12_345))\n'
        'engine.enqueue(Answer(deltas=begun, text=["@written"], calls=[call("long")]), "Done.")'
    )
    chat.type("go")
    chat.wait_for_row("→ long(… 12 kB so far)")
    (folder / "written").touch()
    chat.wait_for_row("Done.")
    assert not chat.shows("so far")
    assert any(row.startswith("✓ long()") for row in chat.rows)


def test_y_runs_the_call(with_tools: OpenRepl) -> None:
    chat = asked(with_tools(ADD))
    assert "waits for you" in chat.toolbar
    answer(chat, "y")
    chat.wait_for_row("It is done.")
    assert any(row.startswith("✓ add(a=1, b=2)") for row in chat.rows)
    assert not chat.shows("Run add?")


def test_what_was_typed_before_the_dialog_came_answers_nothing_and_is_not_lost(
    with_tools: OpenRepl, folder: Path
) -> None:
    chat = with_tools(
        'engine = GatedEngine()\nengine.enqueue(Answer(text=["Hm. ", "@go"]))\n'
        'engine.enqueue(Answer(calls=[call("add", a=1, b=2)]), "Done.")'
    )
    chat.type("first")
    chat.wait_for_text("Hm.")
    chat.press("second", ENTER, "yes yes y")
    chat.wait_for_typed("yes yes y")
    (folder / "go").touch()
    chat.wait_for_text("Run add?")
    # Without a pause since: as from a fast typist who has not looked up.
    chat.press("y", "y", "a", ENTER)
    armed(chat)
    assert chat.shows("Run add?")
    assert chat.shows("What was typed came too soon to be an answer", since="Run add?")
    answer(chat, "n")
    chat.wait_for_row("Done.")
    assert any(row.startswith("⊘ add(a=1, b=2)  declined") for row in chat.rows)
    chat.wait_for_typed("yes yes y")


def test_enter_declines_and_the_model_is_told(with_tools: OpenRepl) -> None:
    chat = asked(with_tools(ADD))
    answer(chat, ENTER)
    chat.wait_for_row("It is done.")
    assert any(row.startswith("⊘ add(a=1, b=2)  declined") for row in chat.rows)


def test_a_reason_for_no_reaches_the_result(with_tools: OpenRepl) -> None:
    chat = asked(with_tools(ADD))
    answer(chat, "r")
    chat.wait_for_text("Why not?")
    chat.press("use 3 and 4", ENTER)
    chat.wait_for_row("It is done.")
    assert chat.shows("use 3 and 4", since="declined")


def test_ctrl_c_in_the_dialog_denies_and_ends_the_turn(with_tools: OpenRepl) -> None:
    chat = asked(with_tools(ADD))
    chat.press(CTRL_C)
    chat.wait_for_row("■ interrupted")
    assert any(row.startswith("⊘ add(a=1, b=2)  declined") for row in chat.rows)
    chat.type("next")
    chat.wait_for_row("It is done.")


def test_edited_arguments_are_checked_and_run_after_another_yes(with_tools: OpenRepl) -> None:
    chat = asked(with_tools(ADD))
    answer(chat, "e")
    chat.wait_for_text('"b": 2')
    chat.press("\x15\x7f" * 8)
    chat.paste('{"a": "many", "b": 5}')
    chat.press(ENTER)
    chat.wait_for("what is wrong with it", lambda: "many" in chat.since("as JSON:") and chat.shows("integer"))
    chat.press("\x15")
    chat.paste('{"a": 40, "b": 2}')
    chat.press(ENTER)
    chat.wait_for_text("Run add, with your arguments?")
    answer(chat, "y")
    chat.wait_for_row("It is done.")
    assert any(row.startswith("✓ add(a=40, b=2)") and row.endswith("edited") for row in chat.rows)
    assert "  42" in chat.rows


def test_escape_leaves_the_editor_and_nothing_has_run(with_tools: OpenRepl) -> None:
    chat = asked(with_tools(ADD))
    answer(chat, "e")
    chat.wait_for_text("as JSON:")
    chat.press(ESCAPE)
    chat.wait_for_text("Run add?")
    answer(chat, "n")
    chat.wait_for_row("It is done.")
    assert not any(row.startswith("✓") for row in chat.rows)


def test_a_grant_for_the_session_asks_once(with_tools: OpenRepl) -> None:
    chat = asked(
        with_tools(
            'engine = answering(*[Answer(calls=[call("add", a=1, b=n)]) if n % 2 else "Done." for n in range(1, 5)])'
        )
    )
    answer(chat, "s")
    chat.wait_for_row("Done.")
    chat.type("again")
    chat.wait_for("the second", lambda: chat.rows.count("Done.") == 2)
    assert sum(row.startswith("✓ add") for row in chat.rows) == 2


def test_deny_and_yes_are_obeyed_without_a_question(with_tools: OpenRepl) -> None:
    chat = with_tools(ADD, "--yes")
    chat.type("go")
    chat.wait_for_row("It is done.")
    assert any(row.startswith("✓ add") for row in chat.rows)
    chat = with_tools(ADD, "--deny", "add")
    chat.type("go")
    chat.wait_for_row("It is done.")
    assert any(row.startswith("⊘ add") for row in chat.rows)


def test_a_terminating_signal_in_the_dialog_runs_nothing(with_tools: OpenRepl, folder: Path) -> None:
    chat = asked(with_tools(f'Path("pid").write_text(str(os.getpid()))\n{ADD}'))
    os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
    assert chat.exit_code() == 143
    assert chat.is_restored
    assert not any(row.startswith("✓") for row in chat.rows)


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP], ids=["stopped by key", "stopped by force"])
def test_what_is_typed_blindly_after_a_stop_answers_nothing(with_tools: OpenRepl, folder: Path, number: int) -> None:
    chat = asked(with_tools(ADD))
    os.kill(int((folder / "pid").read_text()), number)
    chat.wait_for_text("the shell meanwhile")
    # A stop that a person makes is longer than half a second; see STOPPED_SECONDS.
    passes(chat, STOPPED_SECONDS + 0.2)
    # In one burst: what the shell reads, and what is there when the chat goes on.
    chat.press(f"{ENTER}y")
    passes(chat, 3 * ARMING_SECONDS)
    assert not chat.shows("It is done.")
    while not chat.shows("It is done."):
        chat.press("y")
        passes(chat, 3 * ARMING_SECONDS)


def passes(chat: Terminal, seconds: float) -> None:
    until = time.monotonic() + seconds
    chat.wait_for("time to pass", lambda: time.monotonic() > until)


def test_a_call_that_waits_is_not_shown_between_another_call_and_its_question(with_tools: OpenRepl) -> None:
    chat = with_tools('engine = answering(Answer(calls=[call("add", a=1, b=2), call("add", a=3, b=4)]), "Both.")')
    chat.type("add them")
    chat.wait_for_text("Run add?")
    assert not any(row.startswith("→") for row in chat.display)

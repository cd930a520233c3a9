"""Handing over at the prompt: files, long pastes, commands of the user's own, an editor."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_terminal import OpenRepl
from terminal_screen import ENTER, TAB
from test_repl_keys import ECHO

pytestmark = pytest.mark.terminal

UP = "\x1b[A"
EDITOR = """#!/bin/sh
test -t 0 || exit 9
read -r line
printf '%s and %s\\n' "$(cat "$1")" "$line" > "$1"
"""
BACKSPACE = "\x7f"
LENGTHS = """
class Lengths(ScriptedEngine):
    async def generate(self, request_id, messages, tools, options):
        text = messages[-1].content
        yield Text(f"{text.count(chr(10)) + 1} rows, {text[:12]!r} to {text[-12:]!r}")
        yield FinishedStop
from toolchat.wire.deltas import Finished
FinishedStop = Finished(FinishReason.STOP, Usage())
engine = Lengths()
"""


def test_a_file_named_behind_an_at_sign_is_completed_and_goes_along(repl: OpenRepl, folder: Path) -> None:
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "notes.log").write_text("not this")
    (folder / "notes.txt").write_text("remember\nthe milk\n")
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.press("what is in @not")
    chat.wait_for("the name", lambda: any(row.strip() == "@notes.txt" for row in chat.display))
    assert not chat.shows("notes.log")
    chat.press(TAB)
    chat.wait_for_typed("what is in @notes.txt")
    chat.press("now?")
    chat.press(ENTER)
    chat.wait_for_row("  [notes.txt: 2 lines]")
    chat.wait_for_text(r"'what is in @notes.txt now?\n\nnotes.txt:\n```\nremember\nthe milk\n```'")


def test_a_long_paste_stands_as_one_character_and_is_sent_whole(repl: OpenRepl) -> None:
    chat = repl(LENGTHS)
    chat.wait_for_prompt()
    text = "\n".join(f"row {number}" for number in range(1, 215))
    chat.press("look: ")
    chat.paste(text)
    chat.paste("x\n" * 20)
    chat.wait_for_typed("look: [pasted 214 lines][pasted 20 lines]")
    chat.press(BACKSPACE)
    chat.wait_for_typed("look: [pasted 214 lines]")
    chat.press(" so?", ENTER)
    chat.wait_for_row("214 rows, 'look: row 1\\n' to '\\nrow 214 so?'")
    assert "  row 5" in chat.rows
    assert not chat.shows("row 100")
    chat.press(UP)
    chat.wait_for_typed("look: [pasted 214 lines] so?")


def test_a_command_of_the_users_runs_and_its_output_goes_along(repl: OpenRepl) -> None:
    chat = repl(ECHO, SHELL="/bin/sh")
    chat.wait_for_prompt()
    chat.press("!echo one; echo $((1+1)); test -t 0 && test -t 1 && exit 3", ENTER)
    chat.wait_for_text("+ [2 lines, output of `echo one;")
    assert chat.rows.count("one") == chat.rows.count("2") == 1
    chat.type("what now?")
    chat.wait_for_text(r"(exit code 3):\n```\none\n2\n```'")


def test_ctrl_c_ends_a_command_of_the_users_and_nothing_else(repl: OpenRepl) -> None:
    chat = repl(ECHO, SHELL="/bin/sh")
    chat.wait_for_prompt()
    # One process that says so and then sleeps: dash loses a Ctrl-C in the moment in which it forks.
    chat.press("!sh -c 'printf begun; exec sleep 100'; echo not this", ENTER)
    chat.wait_for("that it runs", lambda: chat.display[chat.cursor[1]] == "begun")
    chat.ctrl_c()
    chat.wait_for_text("+ [1 line, output of `sh -c")
    chat.press(BACKSPACE)
    chat.wait_for("that it is dropped", lambda: "+ [1 line" not in "".join(chat.display))
    chat.type("hello")
    chat.wait_for_row("'hello'")
    assert not [row for row in chat.rows if row == "not this"]


def test_a_question_is_written_in_the_users_editor(repl: OpenRepl, folder: Path) -> None:
    editor = folder / "editor"
    editor.write_text(
        '#!/bin/sh\ntest -t 0 || exit 9\nread -r line <&0\nprintf \'%s and %s\\n\' "$(cat "$1")" "$line" > "$1"\n'
    )
    editor.chmod(0o755)
    chat = repl(ECHO, EDITOR=str(editor), VISUAL="")
    chat.wait_for_prompt()
    chat.press("begun")
    chat.wait_for_typed("begun")
    chat.press("\x07")
    chat.wait_for("that the editor has the terminal", lambda: not chat.toolbar.startswith("scripted"))
    chat.press("edited", ENTER)
    chat.wait_for_typed("begun and edited")
    chat.press(ENTER)
    chat.wait_for_row("'begun and edited'")

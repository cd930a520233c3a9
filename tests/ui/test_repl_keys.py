from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from scripted_terminal import OpenRepl
from terminal_screen import ALT_ENTER, CTRL_C, CTRL_D, CTRL_J, CTRL_R, ENTER, ESCAPE, TAB, Terminal

pytestmark = pytest.mark.terminal

ONE = 'engine = answering("One.", "Two.", "Three.", "Four.")'
ECHO = """
class Echo(ScriptedEngine):
    async def generate(self, request_id, messages, tools, options):
        yield Text(repr(messages[-1].content))
        yield FinishedStop
from toolchat.wire.deltas import Finished
FinishedStop = Finished(FinishReason.STOP, Usage())
engine = Echo()
"""


def history_file(home: Path) -> Path:
    return home / ".local" / "state" / "toolchat" / "history"


def test_ctrl_d_at_an_empty_prompt_leaves_with_success_and_the_terminal_as_it_was(repl: OpenRepl) -> None:
    chat = repl(ONE)
    chat.leave()
    assert chat.exit_code() == 0
    assert chat.is_restored
    assert not chat.shows("scripted · ready"), "the bottom rows are gone"


def test_ctrl_d_in_a_filled_prompt_does_not_leave(repl: OpenRepl) -> None:
    chat = repl(ONE)
    chat.wait_for_prompt()
    chat.press("stay", CTRL_D, " here")
    chat.wait_for_typed("stay here")


def test_ctrl_c_clears_a_filled_prompt_then_hints_then_leaves_with_130(repl: OpenRepl) -> None:
    chat = repl(ONE)
    chat.wait_for_prompt()
    chat.press("half a line", CTRL_C)
    chat.wait_for_typed("")
    assert "leaves" not in chat.toolbar
    chat.press(CTRL_C)
    chat.wait_for("the hint", lambda: "Ctrl-C again or Ctrl-D leaves" in chat.toolbar)
    chat.press(CTRL_C)
    assert chat.exit_code() == 130
    assert chat.is_restored


def test_the_hint_goes_and_with_it_the_second_ctrl_c(repl: OpenRepl) -> None:
    chat = repl(ONE)
    chat.wait_for_prompt()
    for _ in range(2):
        chat.press(CTRL_C)
        chat.wait_for("the hint", lambda: "leaves" in chat.toolbar)
        chat.wait_for("that it goes", lambda: "leaves" not in chat.toolbar)
    chat.type("still here?")
    chat.wait_for_row("One.")


@pytest.mark.parametrize("new_line", [ALT_ENTER, CTRL_J, "\\" + ENTER], ids=["alt-enter", "ctrl-j", "backslash"])
def test_a_question_of_two_lines(repl: OpenRepl, new_line: str) -> None:
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.press("one", new_line, "two")
    chat.wait_for("two rows", lambda: "› one" in chat.display and "  two" in chat.display)
    chat.press(ENTER)
    chat.wait_for_row("'one\\ntwo'")


def test_a_paste_of_many_lines_is_shown_and_not_sent(repl: OpenRepl) -> None:
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.paste("def f():\r\n\treturn 1\r\n")
    chat.wait_for("the paste", lambda: "› def f():" in chat.display and "      return 1" in chat.display)
    chat.press("print")
    chat.wait_for("more behind it", lambda: "  print" in chat.display)
    assert not chat.shows("'def")
    chat.press(ENTER)
    chat.wait_for_row("'def f():\\n\\treturn 1\\nprint'")


def test_what_a_paste_could_do_to_the_terminal_is_only_shown(repl: OpenRepl) -> None:
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.paste("a\x1b[2Jb\u202ec\x07d")
    chat.wait_for("stand-ins", lambda: chat.typed == "a�[2Jb�c�d")
    chat.press(ENTER)
    chat.wait_for_row("› a␛[2Jb<U+202E>c␇d")
    assert b"\x1b[2J" not in chat.raw
    assert "\u202e".encode() not in chat.raw


def test_wide_characters_are_typed_shown_and_sent_whole(repl: OpenRepl) -> None:
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.press("Grüße 日本 🚀 e\u0301")
    chat.wait_for_text("Grüße日本🚀é")  # the emulator composes
    column, _ = chat.cursor
    assert column == len("› Grüße ") + 4 + 1 + 2 + 1 + 1
    chat.press(ENTER)
    chat.wait_for_text("'Grüße 日本 🚀 é'")


def test_history_outlives_the_program_and_only_the_user_may_read_it(repl: OpenRepl, home: Path) -> None:
    chat = repl(ONE)
    chat.type("remember me")
    chat.wait_for_row("One.")
    chat.leave()
    assert chat.exit_code() == 0
    file = history_file(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    again = repl(ONE)
    again.wait_for_prompt()
    again.press("\x1b[A")
    again.wait_for_typed("remember me")


def test_without_history_nothing_is_read_or_kept(repl: OpenRepl, home: Path) -> None:
    file = history_file(home)
    file.parent.mkdir(parents=True)
    file.write_text("\n+from before\n")
    chat = repl(ONE, "--no-history")
    chat.type("secret")
    chat.wait_for_row("One.")
    chat.wait_for_prompt()
    chat.press("\x1b[A", "\x1b[A")
    chat.wait_for_typed("secret")
    assert file.read_text() == "\n+from before\n"


def test_ctrl_r_finds_what_was_typed_before(repl: OpenRepl, home: Path) -> None:
    file = history_file(home)
    file.parent.mkdir(parents=True)
    file.write_text("\n+the weather in Dallas\n\n+something else\n")
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.press(CTRL_R, "weath")
    chat.wait_for_text("the weather in Dallas")
    chat.press(ENTER)
    chat.wait_for_typed("the weather in Dallas")
    chat.press(CTRL_R, "some", CTRL_C)
    chat.wait_for_typed("the weather in Dallas")
    chat.press(ENTER)
    chat.wait_for_row("'the weather in Dallas'")


def test_ctrl_c_leaves_a_search_that_went_on_with_what_was_typed_before_it(repl: OpenRepl, home: Path) -> None:
    file = history_file(home)
    file.parent.mkdir(parents=True)
    file.write_text("\n+ask once\n\n+ask twice\n")
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.press("mine", CTRL_R, "ask")
    chat.wait_for_text("ask twice")
    chat.press(CTRL_R)
    chat.wait_for_text("ask once")
    chat.press(CTRL_C)
    chat.wait_for_typed("mine")
    chat.press("!", ENTER)
    chat.wait_for_row("'mine!'")


def test_ctrl_c_leaves_the_history_as_it_is_and_goes_back_to_its_end(repl: OpenRepl) -> None:
    chat = repl(ONE)
    chat.type("older")
    chat.wait_for_row("One.")
    chat.type("newer")
    chat.wait_for_row("Two.")
    chat.wait_for_prompt()
    up = "\x1b[A"
    for key, typed in ((up, "newer"), (up, "older"), (CTRL_C, ""), (up, "newer"), (up, "older")):
        chat.press(key)
        chat.wait_for_typed(typed)


def test_the_right_key_takes_the_suggestion_from_history(repl: OpenRepl, home: Path) -> None:
    file = history_file(home)
    file.parent.mkdir(parents=True)
    file.write_text("\n+the weather in Dallas\n")
    chat = repl(ECHO)
    chat.wait_for_prompt()
    chat.press("the w")
    chat.wait_for("the suggestion", lambda: chat.shows("the weather in Dallas"))
    chat.press("\x1b[C", ENTER)
    chat.wait_for_row("'the weather in Dallas'")


def test_commands_are_completed_below_the_input(repl: OpenRepl) -> None:
    chat = repl(ONE)
    chat.wait_for_prompt()
    chat.press("/to")
    chat.wait_for("the menu", lambda: chat.shows("/tools") and chat.shows("show or switch a tool"))
    chat.press(TAB)
    chat.wait_for_typed("/tools")
    chat.press(ESCAPE)
    chat.wait_for("that the menu is gone", lambda: not chat.shows("show or switch a tool"))
    assert chat.typed == "/to"
    chat.press("ols")
    chat.press(ENTER)
    chat.wait_for_text("get_current_weather")


def test_an_unknown_command_suggests_the_nearest_and_is_out_of_the_way(repl: OpenRepl) -> None:
    chat = repl(ONE)
    chat.wait_for_prompt()
    chat.press("/undoo", ENTER)
    chat.wait_for_text("did you mean /undo?")
    chat.type("/tools")
    chat.wait_for_text("get_current_weather")


def test_quit_leaves_also_before_the_chat_is_open(repl: OpenRepl) -> None:
    chat = repl("import time\ntime.sleep(0)\n" + ONE)
    chat.press("/quit", ENTER)
    assert chat.exit_code() == 0
    assert chat.is_restored


def test_input_that_is_not_text_is_shown_and_does_no_harm(repl: OpenRepl) -> None:
    chat = repl(ECHO)
    chat.wait_for_prompt()
    os.write(chat.child.child_fd, b"bad \xff byte")
    chat.wait_for("it", lambda: chat.typed.startswith("bad") and chat.typed.endswith("byte"))
    chat.press(ENTER)
    chat.wait_for_row("'bad � byte'")


def test_the_type_ahead_of_a_fast_typist_is_all_there(repl: OpenRepl) -> None:
    chat: Terminal = repl(ECHO)
    chat.press("typed before anything was drawn")
    chat.wait_for_typed("typed before anything was drawn")

"""What surrounds the rows of the chat: background, title, notifications, vi's keys."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from image_files import image_file
from scripted_terminal import OpenRepl
from terminal_screen import ENTER, ESCAPE
from test_terminal_window import ATTRIBUTES, FOCUS_OUT, WHITE

from toolchat.ui.terminal_window import ASK_BACKGROUND, FOCUS_OFF, RESTORE_TITLE, notification, title

pytestmark = pytest.mark.terminal

SOON = "from toolchat.ui import repl\nrepl.LONG_SECONDS = 0.0\n"


def test_the_background_is_asked_for_and_its_answer_is_not_typed(repl: OpenRepl) -> None:
    chat = repl('engine = answering("One.")')
    chat.wait_for_prompt()
    assert ASK_BACKGROUND.encode() in chat.raw
    chat.press("he", WHITE, ATTRIBUTES, "llo")
    chat.wait_for_typed("hello")
    chat.press(ENTER)
    chat.wait_for_row("One.")
    chat.leave()
    assert chat.exit_code() == 0
    assert chat.is_restored
    assert chat.raw.rindex(FOCUS_OFF.encode()) < chat.raw.rindex(RESTORE_TITLE.encode())


def test_a_theme_that_is_set_is_the_chats(repl: OpenRepl) -> None:
    chat = repl('engine = answering("One.")', "--theme", "light")
    chat.type("hello")
    chat.wait_for_row("One.")
    assert b"\x1b[1;38;5;30m" in chat.raw
    assert ASK_BACKGROUND.encode() not in chat.raw


def test_a_user_who_looks_elsewhere_is_called_when_a_long_turn_is_over(repl: OpenRepl) -> None:
    chat = repl(f'{SOON}engine = answering("One.", "Two.")', TERM="xterm-kitty")
    chat.type("hello")
    chat.wait_for_row("One.")
    chat.wait_for_prompt()
    called = notification("toolchat: the turn is over (0 s)").encode()
    assert called not in chat.raw
    chat.press(FOCUS_OUT)
    chat.type("again")
    chat.wait_for("the notification", lambda: called in chat.raw)
    assert title("… toolchat scripted").encode() in chat.raw


def test_vis_keys_edit_the_input(repl: OpenRepl) -> None:
    chat = repl('engine = answering("One.")', "--editing-mode", "vi")
    chat.wait_for_prompt()
    chat.press("xhello there")
    chat.wait_for_typed("xhello there")
    chat.press(ESCAPE)
    chat.wait_for("the other prompt", lambda: "‹ xhello there" in chat.display)
    chat.press("0", "x")
    chat.wait_for("an edit", lambda: "‹ hello there" in chat.display)
    chat.press(ENTER)
    chat.wait_for_row("One.")
    assert "› hello there" in chat.rows


def test_a_picture_that_a_tool_returns_is_shown_where_the_terminal_can(repl: OpenRepl, folder: Path) -> None:
    (folder / "mine.yaml").write_text("version: 1\ntools:\n  - callable: ./mine.py:draw\n    approval: allow\n")
    (folder / "cat.png").write_bytes(image_file(size=(16, 32)))
    (folder / "mine.py").write_text(
        'import pathlib\ndef draw() -> bytes:\n    """Draw."""\n    return pathlib.Path("cat.png").read_bytes()\n'
    )
    script = 'engine = answering(Answer(calls=[call("draw")]), "There it is.")'
    chat = repl(script, "--tools", "mine.yaml", TERM="xterm-kitty")
    chat.type("draw")
    chat.wait_for_row("There it is.")
    data = base64.b64encode(image_file(size=(16, 32)))
    assert b"\x1b_Ga=T,f=100,q=2,C=1,c=2,r=2,m=0;" + data + b"\x1b\\" in chat.raw
    assert any("[image: PNG 16×32" in row for row in chat.rows)

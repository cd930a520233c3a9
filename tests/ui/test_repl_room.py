"""Room and branches at the terminal: a turn is picked with keys, and what comes before a question can be stopped."""

from __future__ import annotations

import pytest
from at_the_terminal import pause_to_read
from scripted_terminal import OpenRepl
from terminal_screen import CTRL_C, ENTER, Terminal

pytestmark = pytest.mark.terminal

DOWN = "\x1b[B"
FULL = 'engine = GatedEngine(context=1100)\nengine.enqueue(*["word " * 130] * 4'


def test_a_turn_is_picked_from_those_that_there_have_been(repl: OpenRepl) -> None:
    chat = repl('engine = answering("One.", "Two.", "Other.")')
    chat.type("first")
    chat.wait_for_row("One.")
    chat.type("second")
    chat.wait_for_row("Two.")
    chat.type("/branch")
    chat.wait_for("the turns", lambda: any(row.split() == ["1", "first"] for row in chat.display))
    assert "●  1  first" not in chat.rows
    chat.press(DOWN)
    chat.wait_for_typed("/branch 1")
    chat.press(ENTER)
    chat.wait_for_text("From here on turn 1 is the last one.")
    chat.type("third")
    chat.wait_for_row("Other.")
    chat.type("/branch")
    chat.wait_for("all of them", lambda: any(row.split()[:2] == ["2", "second"] for row in chat.display))


def fill(chat: Terminal) -> None:
    """Four turns, by which most of the context is full."""
    for number in range(4):
        chat.type(f"question {number}")
        chat.wait_for_text("word word", since=f"› question {number}")
        chat.wait_for("the end of the turn", lambda: "ready" in chat.toolbar)


def test_ctrl_c_stops_a_summary_before_a_question_and_gives_the_question_back(repl: OpenRepl) -> None:
    chat = repl(f'{FULL}, Answer(text=["They ", "@forever"]), "Asked.")', "--compact", "on")
    fill(chat)
    chat.type("the last")
    chat.wait_for("the summary begun", lambda: "summing up" in chat.toolbar)
    chat.press(CTRL_C)
    chat.wait_for_row("toolchat: stopped before the question was asked")
    chat.wait_for_typed("the last")


def test_room_is_made_when_the_user_says_so(repl: OpenRepl) -> None:
    # In two portions: the question about them does not fit behind three turns.
    chat = repl(f'{FULL}, "A part.", "In short.", "Asked.")')
    fill(chat)
    chat.type("the last")
    chat.wait_for_text("up before the question?")
    pause_to_read()
    chat.press("y")
    chat.wait_for_row("│ In short.")
    chat.wait_for_row("Asked.")

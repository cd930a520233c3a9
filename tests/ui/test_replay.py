"""A cassette on a terminal: at the speed of reading, and as the chat printed it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from forked_program import ProgramServer
from terminal_screen import Terminal

from toolchat.store.cassettes import read_cassette
from toolchat.ui.replay import CHARACTERS_A_SECOND, paced
from toolchat.wire import events

WEATHER = Path(__file__).parents[1] / "cassettes" / "weather.jsonl"
"""The demo model at the question of the README, recorded with `ask --record`."""
QUESTION = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"


def test_text_comes_in_pieces_at_the_speed_of_reading_and_nothing_else_is_changed() -> None:
    cassette = read_cassette(WEATHER)
    steps = list(paced(cassette.events))
    text = "".join(event.body.text for _, event in steps if isinstance(event.body, events.TextDelta))
    assert text == "".join(e.body.text for e in cassette.events if isinstance(e.body, events.TextDelta))
    streaming = sum(seconds for seconds, event in steps if isinstance(event.body, events.TextDelta))
    assert streaming == pytest.approx(len(text) / CHARACTERS_A_SECOND)
    assert max(len(event.body.text) for _, event in steps if isinstance(event.body, events.TextDelta)) < 10
    others = [event for _, event in steps if not isinstance(event.body, events.TextDelta)]
    assert others == [event for event in cassette.events if not isinstance(event.body, events.TextDelta)]


@pytest.mark.terminal
def test_a_chat_in_a_terminal_is_answered_by_a_cassette_of_the_demo_model(
    tmp_path: Path, home: Path, program_server: ProgramServer
) -> None:
    def open_(*arguments: str) -> Terminal:
        notes = tmp_path / arguments[0]
        notes.mkdir()
        return Terminal(["-m", "toolchat", *arguments], notes, home, os.environ, server=program_server)

    recording = tmp_path / "again.jsonl"
    chat = open_("repl", "--replay", str(WEATHER), "--recorded-results", "--record", str(recording))
    try:
        chat.type(QUESTION)
        chat.wait_for_row("It is 85 degrees fahrenheit in Dallas, TX. It is partly cloudy, with highs in")
        chat.wait_for_prompt()
        assert "demo · ready" in chat.toolbar
        printed = chat.rows
        chat.leave()
        assert chat.exit_code() == 0
    finally:
        chat.close()
    shown = open_("replay", "--instant", str(recording))
    try:
        assert shown.exit_code() == 0
        rows = shown.rows
    finally:
        shown.close()
    begin = printed.index(rows[0])
    assert rows[:-1] == printed[begin : begin + len(rows) - 1]
    assert rows[0] == f"› {QUESTION}"
    assert rows[-2:] == ["the 90's.", "the shell again"]

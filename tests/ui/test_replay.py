"""A cassette on a terminal: at the speed of reading, and as the chat printed it."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forked_program import ProgramServer
from terminal_screen import Terminal

from toolchat.store.cassettes import read_cassette
from toolchat.ui.replay import CHARACTERS_A_SECOND, paced, show_cassette
from toolchat.wire import events
from toolchat.wire.errors import UsageError

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


def changed(value: Any, chance: random.Random) -> Any:
    """A JSON value in which a few things are others, or missing."""
    if chance.random() < 0.02:
        return chance.choice([None, 0, -1, 1e999, 10**400, "", "\x1b[2J", [], {}, True, "\ud800"])
    if isinstance(value, dict):
        return {key: changed(item, chance) for key, item in value.items() if chance.random() > 0.01}
    return [changed(item, chance) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(20))
def test_a_cassette_that_was_changed_is_refused_in_a_line_or_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    chance = random.Random(seed)
    head, *rows = WEATHER.read_text().splitlines()
    kept = [row for row in rows if chance.random() > 0.05]
    chance.shuffle(kept)
    for at in chance.sample(range(len(kept)), seed % 3):
        kept[at] = json.dumps(changed(json.loads(kept[at]), chance))
    path = tmp_path / "c.jsonl"
    path.write_text("".join(f"{row}\n" for row in [head, *kept]))
    problem = ""
    try:
        cassette = read_cassette(path)
    except UsageError as error:
        problem = str(error)
    if problem:
        assert problem.startswith(f"{path}, line ")
        assert "\n" not in problem
        return
    for command in ("ask", "repl"):
        show_cassette(replace(cassette, header=replace(cassette.header, command=command)), instant=True, plain=False)
    assert "\x1b" not in capsys.readouterr().err


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

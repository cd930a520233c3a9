from __future__ import annotations

import io
import re
from typing import Any

import pytest

from toolchat.ui.plain import PlainRenderer
from toolchat.ui.plain_lines import LONG_CALL, PlainLines
from toolchat.ui.transcript import Transcript
from toolchat.wire import events
from toolchat.wire.deltas import Usage
from toolchat.wire.events import Event, Stamper, TurnStatus
from toolchat.wire.messages import ToolCall

CALL = ToolCall("abcdefghi", "find", {"what": "x"})
ENDINGS = [
    events.CallProposed(CALL),
    events.Interrupted(),
    events.HistoryEdited(events.TurnWithdrawn()),
    events.TurnFinished(TurnStatus.ENGINE_FAILED, 1, Usage()),
]


def stamped(*bodies: Any) -> list[Event]:
    return list(map(Stamper("s", lambda: 0.0), bodies))


class Screen:
    def __init__(self) -> None:
        self.printed = ""
        self.transcript = Transcript(self._print, lambda: 40, lambda: 0.0, color=False)

    def _print(self, text: str) -> None:
        self.printed += text

    def show(self, *bodies: Any) -> list[str]:
        for event in stamped(*bodies):
            self.transcript.show(event)
        return [re.sub("\x1b\\[[0-9;]*m", "", row) for row in self.transcript.live(40, 10)]


def test_a_call_that_is_written_has_a_live_row_that_grows() -> None:
    screen = Screen()
    assert screen.show(events.TextDelta("I look."), events.CallWriting("find", 0)) == ["→ find(…"]
    assert "I look." in screen.printed
    assert screen.show(events.CallWriting("find", 999)) == ["→ find(… 999 bytes so far)"]
    assert screen.show(events.CallWriting("find", 12_345)) == ["→ find(… 12 kB so far)"]
    assert "find" not in screen.printed


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_row_goes_with_what_ends_the_writing(ending: Any) -> None:
    rows = Screen().show(events.CallWriting("find", 1000), ending)
    assert not any("so far" in row for row in rows)


def test_it_stands_below_the_calls_that_are_whole_and_is_cut_to_the_window() -> None:
    rows = Screen().show(events.CallProposed(CALL), events.CallWriting("f" * 64, 1000))
    assert rows[0] == '→ find(what="x")'
    assert rows[1].startswith("→ fff")
    assert len(rows[1]) <= 39


def test_plain_mode_tells_a_person_of_a_long_call_each_time_it_has_doubled() -> None:
    out = io.StringIO()
    repl = PlainLines(lambda line: print(line, file=out), lambda: 0.0, to_person=True)
    for event in stamped(*(events.CallWriting("find", size) for size in range(0, 8 * LONG_CALL + 1, LONG_CALL // 4))):
        repl.show(event)
    assert out.getvalue().splitlines() == [f"→ find(… {kilo} kB so far)" for kilo in (1, 2, 4, 8)]


@pytest.mark.parametrize("to_person", [True, False])
def test_a_short_call_or_a_pipe_is_told_nothing(to_person: bool) -> None:
    out = io.StringIO()
    repl = PlainLines(lambda line: print(line, file=out), lambda: 0.0, to_person=to_person)
    for event in stamped(events.CallWriting("find", LONG_CALL - 1 if to_person else 10**6)):
        repl.show(event)
    assert out.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_ask_shows_it_on_a_terminal_and_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    err, out = Terminal(), io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with PlainRenderer(out) as renderer:
        for event in stamped(events.TextDelta("I look."), events.CallWriting("find", 12_345)):
            renderer.show(event)
        assert renderer._status is not None
        assert str(renderer._status.status) == "calling find(… 12 kB so far)"
        for event in stamped(events.CallProposed(CALL)):
            renderer.show(event)
        assert renderer._status is None
    assert out.getvalue() == "I look.\n"


def test_a_pipe_of_ask_gets_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainRenderer(io.StringIO()) as renderer:
        for event in stamped(events.CallWriting("find", 12_345)):
            renderer.show(event)
    assert capsys.readouterr() == ("", "")


def test_ask_shows_a_tools_progress_bar_on_its_spinner_and_prints_its_last_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    err = Terminal()
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with PlainRenderer(io.StringIO()) as renderer:
        for event in stamped(events.CallStarted(CALL), events.ToolOutput(CALL.id, "begin\n  5%\x1b\r")):
            renderer.show(event)
        assert renderer._status is not None
        assert str(renderer._status.status) == "│   5%␛"
        for event in stamped(events.ToolOutput(CALL.id, "100%\n")):
            renderer.show(event)
        assert renderer._status is None
    assert "│ begin\x1b[0m\n" in err.getvalue()
    assert "│ 100%\x1b[0m\n" in err.getvalue()


def test_a_pipe_of_ask_gets_of_a_progress_bar_what_is_final(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainRenderer(io.StringIO()) as renderer:
        for text in ("begin\n  5%\r", " 50%\r", "100%\n"):
            for event in stamped(events.ToolOutput(CALL.id, text)):
                renderer.show(event)
    assert capsys.readouterr().err == "  │ begin\n  │ 100%\n"

"""Where a display fails, plain lines take its place: in the REPL above the prompt, in `ask` on stdout and stderr."""

from __future__ import annotations

import io

import pytest
from scripted_terminal import OpenRepl
from terminal_screen import ENTER

from toolchat.ui.plain import PlainRenderer
from toolchat.ui.plain_lines import PlainLines
from toolchat.wire import events
from toolchat.wire.deltas import Usage
from toolchat.wire.events import Stamper, TurnStatus
from toolchat.wire.messages import ToolCall, ToolResult

BROKEN = """
from toolchat.ui.transcript import Transcript
from toolchat.wire import events
show = Transcript.show
def fail(self, event):
    if isinstance(event.body, events.TextDelta):
        raise KeyError("row")
    show(self, event)
Transcript.show = fail
engine = answering("**One**.", "Two.")
"""


@pytest.mark.terminal
def test_the_repl_goes_on_with_plain_lines_and_keeps_its_prompt(repl: OpenRepl) -> None:
    chat = repl(BROKEN)
    chat.press("first", ENTER)
    chat.wait_for_row("**One**.")
    chat.wait_for_text("the display failed and is plain from here on (KeyError: 'row')")
    chat.press("second", ENTER)
    chat.wait_for_row("Two.")
    chat.wait_for_text("ready")
    chat.press("/undo", ENTER)
    chat.wait_for_row("> /undo")
    assert sum("the display failed" in row for row in chat.rows) == 1


def test_the_answer_of_ask_still_goes_to_stdout_and_the_rest_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    out, stamp = io.StringIO(), Stamper("s", lambda: 0.0)
    call = ToolCall("abcdefghi", "f", {})
    with PlainRenderer(out) as renderer:
        for body in (
            events.Notice("the display failed"),
            events.CallStarted(call),
            events.CallFinished(ToolResult(call.id, "f", "85\x1b[2J")),
            events.TextDelta("It is 85.\nBye"),
            events.TurnFinished(TurnStatus.ANSWERED, 2, Usage()),
        ):
            renderer.show_plain(stamp(body))
    assert out.getvalue() == "It is 85.\nBye\n"
    told = capsys.readouterr().err
    assert "toolchat: the display failed" in told
    assert "f()" in told
    assert "85␛[2J" in told


def after_failing(*bodies: events.EventBody) -> str:
    """What plain lines print that are told only of these events: what came before was shown by another display."""
    said: list[str] = []
    lines = PlainLines(said.append, lambda: 0.0, to_person=False)
    stamp = Stamper("s", lambda: 0.0)
    for body in bodies:
        lines.show(stamp(body))
    return "\n".join(said)


def test_the_result_of_a_call_that_another_display_was_told_of_is_shown() -> None:
    said = after_failing(events.ToolOutput("abcdefghi", "hello"), events.CallFinished(RESULT))
    assert "85 degrees" in said
    assert "weather(" in said


def test_an_answer_that_nothing_ends_is_printed_to_its_last_character(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    stamp = Stamper("s", lambda: 0.0)
    with PlainRenderer(out) as renderer:
        renderer.show_plain(stamp(events.TextDelta("The answer\nis 85")))
    assert out.getvalue() == "The answer\nis 85\n"


RESULT = ToolResult("abcdefghi", "weather", "85 degrees")

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from toolchat.ui.json_output import Answer, print_answer, write_json
from toolchat.ui.plain import PlainRenderer
from toolchat.wire import events
from toolchat.wire.codec import read_event
from toolchat.wire.deltas import Usage
from toolchat.wire.events import Event, Stamper, TurnStatus


class Out(io.StringIO):
    """A stream of an encoding, which may be a terminal."""

    def __init__(self, encoding: str | None = "utf-8", *, terminal: bool = False) -> None:
        super().__init__()
        self._encoding = encoding
        self._terminal = terminal

    @property
    def encoding(self) -> str | None:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


TEXT = "a\x1b[31m\u202eb ü\n\ud800"


@pytest.mark.parametrize(
    ("encoding", "terminal"),
    [("utf-8", False), ("ascii", False), ("latin-1", False), ("no-such", False), (None, False), ("utf-8", True)],
)
def test_json_is_one_line_that_its_stream_can_hold_and_means_the_same(encoding: str | None, terminal: bool) -> None:
    out = Out(encoding, terminal=terminal)
    write_json(out, {"text": TEXT})
    written = out.getvalue()
    assert json.loads(written) == {"text": TEXT}
    assert written.count("\n") == 1
    written.encode(encoding if encoding in ("ascii", "latin-1") else "utf-8")


def test_json_on_a_terminal_moves_no_cursor_and_turns_no_text_around() -> None:
    out = Out(terminal=True)
    write_json(out, {"text": TEXT})
    assert out.getvalue().removesuffix("\n").isascii()
    assert "\x1b" not in out.getvalue()


def test_an_answer_is_made_safe_on_a_terminal_only() -> None:
    pipe, terminal = Out(), Out(terminal=True)
    print_answer(pipe, "\n a\x1b[31m\u202eb \ud800\n")
    print_answer(terminal, "\n a\x1b[31m\u202eb\n")
    assert pipe.getvalue() == "a\x1b[31m\u202eb ?\n"
    assert "\x1b" not in terminal.getvalue()
    assert "\u202e" not in terminal.getvalue()


def test_no_answer_is_not_even_an_empty_line() -> None:
    out = Out()
    print_answer(out, " \n")
    assert out.getvalue() == ""


def told(*bodies: Any) -> list[Event]:
    stamp = Stamper("20261126-080000-abcdef", lambda: 1.0)
    return [stamp(body, 1, 1) for body in bodies]


def test_an_event_that_a_renderer_failed_at_is_written_once() -> None:
    out = Out()
    answer = Answer(out, PlainRenderer(None, quiet=True), events=True)
    asked = told(
        events.TurnStarted(),
        events.QuestionAsked("Hi"),
        events.TextDelta("Hello."),
        events.TurnFinished(TurnStatus.ANSWERED, 1, Usage()),
    )
    for event in asked:
        answer.show(event)
        answer.show_plain(event)
    assert [read_event(line) for line in out.getvalue().splitlines()] == asked


def test_a_failing_answer_under_a_schema_is_told_quietly_too(capsys: pytest.CaptureFixture[str]) -> None:
    out = Out()
    answer = Answer(out, PlainRenderer(None, quiet=True))
    for event in told(
        events.TurnStarted(),
        events.QuestionAsked("Hi"),
        events.TextDelta("Hello."),
        events.TurnFinished(TurnStatus.ANSWERED, 1, Usage()),
    ):
        answer.show(event)
    assert answer.write({}, as_json=False) == 1
    assert out.getvalue() == "Hello.\n"
    assert "not JSON" in capsys.readouterr().err

from __future__ import annotations

import io
from typing import Any

import pytest

from toolchat.session.stream import KeptAnswers
from toolchat.ui.plain import PlainRenderer
from toolchat.wire import events
from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.events import Stamper
from toolchat.wire.messages import ToolCall

BETWEEN = [events.ThinkingDelta("hm"), events.CallProposed(ToolCall("abcdefghi", "f", {}))]


@pytest.mark.parametrize("between", BETWEEN)
def test_what_is_not_shown_does_not_fuse_the_words_around_it(between: Any) -> None:
    out = io.StringIO()
    stamp = Stamper("s", lambda: 0.0)
    with PlainRenderer(out) as renderer:
        for body in (events.TextDelta("One"), events.TextDelta("."), between, events.TextDelta("Two.")):
            renderer.show(stamp(body))
    assert out.getvalue() == "One.\nTwo.\n"


@pytest.mark.parametrize("between", BETWEEN)
def test_the_answer_that_is_copied_keeps_them_apart_too(between: Any) -> None:
    kept = KeptAnswers()
    for body in (
        events.TurnStarted(),
        *(events.TextDelta("One"), events.TextDelta("."), between, events.TextDelta("Two.")),
        events.RoundFinished(FinishReason.STOP, Usage()),
        events.TurnFinished(events.TurnStatus.ANSWERED, 1, Usage()),
    ):
        kept.see(body)
    assert kept.answer == "One.\n\nTwo."


def test_the_thinking_of_a_turn_is_kept_apart_by_rounds_and_goes_with_it() -> None:
    kept = KeptAnswers()
    call = events.CallProposed(ToolCall("abcdefghi", "f", {}))
    ended = events.TurnFinished(events.TurnStatus.ANSWERED, 1, Usage())
    for body in (
        events.TurnStarted(),
        *map(events.ThinkingDelta, ("I ", "look.")),
        call,
        events.ThinkingDelta("Hm."),
        ended,
    ):
        kept.see(body)
    assert kept.thinking == "I look.\n\nHm."
    for body in (events.TurnStarted(), events.TextDelta("Yes."), ended):
        kept.see(body)
    assert kept.thinking == ""
    kept.forget_turn()
    assert kept.thinking == "I look.\n\nHm."
    kept.forget()
    assert kept.thinking == ""

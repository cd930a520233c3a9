from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from played_chat import PlayedChat, play

from toolchat.chat.conversation import Conversation
from toolchat.chat.fold import FoldError, fold, fold_to_go_on
from toolchat.store.transcript import Transcript
from toolchat.wire import events
from toolchat.wire.codec import event_line, read_event
from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.events import Event, EventBody, Stamper
from toolchat.wire.messages import AssistantMessage, ToolCall, ToolMessage, ToolResult, UserMessage

CALL = ToolCall("a" * 9, "send", {"to": "Ada"})


def through_json(chat: PlayedChat) -> list[Event]:
    lines = b"".join(map(event_line, chat.events)).splitlines(keepends=True)
    return [read_event(line, lambda name, _: chat.kept[name]) for line in lines]


def folds(data: Any) -> None:
    chat = asyncio.run(play(data.draw))
    read = through_json(chat)
    assert read == chat.events
    assert fold(read) == chat.conversation
    # Killed at any event, a session leaves a history that can be gone on with.
    begin = read[: data.draw(st.integers(1, len(read)))]
    folded = fold_to_go_on(begin)
    cut = folded.conversation
    assert not cut.open
    # What its record is given then says the same.
    stamp = Stamper("s", lambda: 0.0, len(begin))
    closed = [*begin, *(stamp(body, folded.turn, folded.round) for body in folded.closing)]
    assert fold(closed) == cut
    assert fold_to_go_on(closed).closing == ()
    assert all(turn.finished for turn in Transcript(closed).turns)
    cut.add_user("And now?")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_the_events_of_any_session_fold_into_its_conversation(data: Any) -> None:
    folds(data)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_the_events_of_ten_thousand_sessions_fold_into_their_conversations(data: Any) -> None:
    folds(data)


def stamped(*bodies: EventBody) -> list[Event]:
    stamp = Stamper("s", lambda: 0.0)
    return [stamp(events.SessionStarted("m", "toolchat")), *(stamp(body, 1, 1) for body in bodies)]


UP_TO_THE_CALL = (
    events.TurnStarted(),
    events.QuestionAsked("Write to Ada."),
    events.TextDelta("I will."),
    events.CallProposed(CALL),
    events.RoundFinished(FinishReason.STOP, Usage()),
)


def test_a_session_killed_while_it_answered_keeps_what_was_shown() -> None:
    conversation = fold(stamped(*UP_TO_THE_CALL[:3]))
    assert conversation.messages == (UserMessage("Write to Ada."), AssistantMessage("I will. [interrupted]"))


def test_a_session_killed_while_a_tool_ran_has_a_result_that_says_so() -> None:
    messages = fold(stamped(*UP_TO_THE_CALL)).messages
    assert messages[1:] == (
        AssistantMessage("I will.", (CALL,)),
        ToolMessage(CALL.id, "send", "Error: interrupted by the user"),
        AssistantMessage("[interrupted]"),
    )


def test_a_call_stands_in_the_history_as_it_was_decided_on() -> None:
    edited = replace(CALL, arguments={"to": "Grace"})
    result = ToolResult(CALL.id, "send", "sent")
    decided = (events.CallDecided(edited, True), events.CallFinished(result))
    assert fold(stamped(*UP_TO_THE_CALL, *decided)).messages[1] == AssistantMessage("I will.", (edited,))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (events.QuestionAsked("Again?"), "this lies between turns"),
        (events.CallDecided(replace(CALL, id="b" * 9), True), "was not proposed"),
        (events.HistoryEdited(events.TurnUndone(7)), "turn 7 is not the last one"),
        (events.HistoryEdited(events.TurnsSetAside((3,))), "are not among"),
        (events.HistoryEdited(events.TurnsSummarised((3,), "x", 4)), "this lies between turns"),
        (events.HistoryEdited(events.Branched(3)), "this lies between turns"),
    ],
)
def test_events_that_no_session_can_have_had_are_refused_by_name(body: EventBody, why: str) -> None:
    with pytest.raises(FoldError, match=rf"event 6 \({type(body).__name__}, turn 1\): .*{why}"):
        fold(stamped(*UP_TO_THE_CALL, body))


@pytest.mark.parametrize("edit", [events.TurnUndone(0), events.RoundRetried(0)])
def test_no_turn_is_undone_or_retried_where_there_is_none(edit: events.Edit) -> None:
    with pytest.raises(FoldError, match="turn 0 is not the last one"):
        fold(stamped(events.HistoryEdited(edit)))


def test_conversations_differ_where_an_undo_would_tell_them_apart() -> None:
    first, second = Conversation(), Conversation()
    for conversation in (first, second):
        for text in ("a", "b"):
            conversation.add_user(text)
            conversation.add_answer("c")
    assert first == second
    second.summarise((1, 2), "d")
    third = Conversation()
    third.add_user("Sum up what we have said so far.")
    third.add_answer("d")
    assert second.messages == third.messages
    assert second != third

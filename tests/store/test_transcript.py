from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from played_chat import play

from toolchat.store.transcript import CallStory, Transcript
from toolchat.wire import events
from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.events import Event, EventBody, Stamper, TurnStatus
from toolchat.wire.messages import FailedCall, Part, ResultStatus, ToolCall, ToolResult

CALL = ToolCall("a" * 9, "add", {"a": 1})


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(data=st.data())
def test_any_session_has_the_turns_of_its_conversation(data: Any) -> None:
    chat = asyncio.run(play(data.draw))
    transcript = Transcript(chat.events)
    conversation = chat.conversation
    told = transcript.turns
    assert tuple(turn.number for turn in told) == conversation.numbers
    assert all(turn.finished for turn in told)
    # Each is what the model is sent, or was; a summary has a question that nobody asked.
    for story, turn in zip(told, conversation.history, strict=True):
        assert (story.kept, bool(story.replaced)) == (turn.kept, bool(turn.replaced))
        assert story.replaced or story.question == turn.question.content
        results = [(call.trimmed, call.result.content) for call in story.calls if call.result is not None]
        sent = [whole if trimmed is None else trimmed for trimmed, whole in results]
        assert sent == [result.content for result in turn.results]
        assert not story.replaced or story.answer == turn.messages[1].content
    for turn in told:
        assert all(call.result is not None for call in turn.calls)
    # Killed at any event, it can be shown too.
    Transcript(chat.events[: data.draw(st.integers(1, len(chat.events)))])


def told(*bodies: EventBody) -> Transcript:
    stamp = Stamper("s", iter(range(1, 1000)).__next__)
    history: list[Event] = [stamp(events.SessionStarted("m", "toolchat 1", "Be brief."))]
    history += [stamp(body, 1, 1) for body in bodies]
    return Transcript(history)


TURN = (
    events.TurnStarted(),
    events.QuestionAsked("What is\n1 + 1?"),
    events.ThinkingDelta("Hm"),
    events.ThinkingDelta("."),
    events.TextDelta("I add."),
    events.CallProposed(CALL),
    events.RoundFinished(FinishReason.STOP, Usage()),
    events.CallDecided(ToolCall("a" * 9, "add", {"a": 2}), True, "granted"),
    events.CallStarted(ToolCall("a" * 9, "add", {"a": 2})),
    events.ToolOutput("a" * 9, "working\n"),
    events.CallFinished(ToolResult("a" * 9, "add", "2", seconds=0.5)),
    events.Notice("slow"),
    events.TextDelta("It "),
    events.TextDelta("is 2."),
    events.RoundFinished(FinishReason.STOP, Usage()),
)
END = events.TurnFinished(TurnStatus.ANSWERED, 2, Usage(10, 0, 5))


def test_a_turn_has_its_steps_in_their_order() -> None:
    transcript = told(*TURN, END)
    (turn,) = transcript.turns
    assert transcript.title == "What is"
    call = turn.calls[0]
    assert turn.steps == [Part("Hm.", True), Part("I add."), call, Part("It is 2.")]
    assert (turn.answer, turn.thinking, turn.notices, turn.exit_code) == ("It is 2.", "Hm.", ["slow"], 0)
    assert (call.call.name, call.allowed, call.reason, call.output, call.status) == (
        *("add", True, "granted", "working\n", "ok"),
    )
    assert isinstance(call.call, ToolCall)
    assert call.call.arguments == {"a": 2}
    assert (turn.began, turn.ended, transcript.began, transcript.ended) == (2, 17, 1, 17)


def test_a_turn_that_was_cut_off_is_told_as_far_as_it_came() -> None:
    (turn,) = told(*TURN[:8]).turns
    assert (turn.finished, turn.status, turn.answer) == (False, TurnStatus.INTERRUPTED, "I add.")
    assert turn.calls[0].status == ResultStatus.INTERRUPTED
    assert turn.exit_code == 130


def test_a_malformed_call_is_told_as_such() -> None:
    failed = FailedCall("b" * 9, "add", "[TOOL_CALLS]add{", "cut off")
    (turn,) = told(*TURN[:2], events.CallProposed(failed)).turns
    assert turn.calls == [CallStory(failed)]
    assert turn.calls[0].mark == "malformed"


def test_what_was_taken_back_is_not_told() -> None:
    undone = events.HistoryEdited(events.TurnUndone(1))
    assert told(*TURN, END, undone).turns == []
    assert told(*TURN, END, events.HistoryEdited(events.Cleared())).turns == []
    assert told(*TURN, events.HistoryEdited(events.TurnWithdrawn())).turns == []
    # A question that never began takes nothing else with it.
    assert len(told(*TURN, END, events.HistoryEdited(events.TurnWithdrawn())).turns) == 1


def test_a_round_that_is_retried_in_vain_leaves_the_turn_as_it_was() -> None:
    failed = events.TurnFinished(TurnStatus.ENGINE_FAILED, 2, Usage(), closing="(the engine failed)")
    retried = events.HistoryEdited(events.RoundRetried(1))
    before = told(*TURN, failed).turns
    after = told(*TURN, failed, retried, events.TextDelta("Again"), events.HistoryEdited(events.TurnWithdrawn())).turns
    assert after == before
    (turn,) = told(*TURN, failed, retried, events.TextDelta("Again"), END).turns
    assert turn.status is TurnStatus.ANSWERED
    assert turn.answer == "Again"

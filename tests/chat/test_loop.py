from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from toolchat.chat.approval import Decision, PendingCall
from toolchat.chat.frames import FRAME_SECONDS
from toolchat.chat.loop import LimitChoice, LimitMet
from toolchat.engine.base import ContextOverflowError, EngineCrashedError
from toolchat.engine.scripted import Answer, call
from toolchat.store.results import KeptResults
from toolchat.wire import events
from toolchat.wire.deltas import CallArguments, CallBegun, CallEnded, FinishReason, Text, Thinking, TokenCount
from toolchat.wire.errors import EngineError
from toolchat.wire.events import TurnStatus
from toolchat.wire.messages import (
    AssistantMessage,
    CallOrigin,
    FailedCall,
    Part,
    ResultStatus,
    ToolMessage,
    UserMessage,
)


def finished(harness: Any) -> events.TurnFinished:
    (*_, last) = harness.events
    assert isinstance(last.body, events.TurnFinished)
    return last.body


def results(harness: Any) -> list[str]:
    return [message.content for message in harness.conversation.messages if isinstance(message, ToolMessage)]


def test_text_answer_ends_the_turn(harness: Any) -> None:
    harness.engine.enqueue(Answer(["Hel", "lo"]))
    asyncio.run(harness.ask("hi"))
    assert harness.conversation.messages == (UserMessage("hi"), AssistantMessage("Hello"))
    assert finished(harness).status is TurnStatus.ANSWERED
    assert "".join(body.text for body in harness.bodies(events.TextDelta)) == "Hello"


def test_thinking_between_texts_keeps_its_place_in_the_history(harness: Any) -> None:
    generated = (Thinking("hm"), Text("One. "), Text("Or two?"), Thinking("Two."), Thinking(" Yes."), Text("Two!"))
    harness.engine.enqueue(Answer(deltas=generated))
    asyncio.run(harness.ask("hi"))
    parts = (Part("hm", True), Part("One. Or two?"), Part("Two. Yes.", True), Part("Two!"))
    assert harness.conversation.messages[1] == AssistantMessage("One. Or two?\n\nTwo!", (), "hm\n\nTwo. Yes.", parts)
    assert [type(event.body).__name__ for event in harness.events if hasattr(event.body, "text")][1:] == [
        *("ThinkingDelta", "TextDelta", "ThinkingDelta", "TextDelta")
    ]


def test_a_long_call_is_told_of_while_it_is_written_and_once_a_frame(harness: Any) -> None:
    made = call("add", a=2, b=3)
    pieces = [CallArguments(0, "é" * 10)] * 40
    harness.engine.enqueue(Answer(deltas=(CallBegun(0, "add"), *pieces, CallEnded(0, made)), delay=0.004), "It is 5.")
    began = time.monotonic()
    asyncio.run(harness.ask("2 + 3?"))
    told = harness.bodies(events.CallWriting)
    assert {body.name for body in told} == {"add"}
    sizes = [body.size for body in told]
    assert sizes == sorted(set(sizes))
    assert 0 < sizes[-1] <= 800
    assert len(told) <= (time.monotonic() - began) / FRAME_SECONDS + 1
    kinds = harness.kinds()
    assert kinds.index("CallWriting") < kinds.index("CallProposed")
    assert "CallWriting" not in kinds[kinds.index("CallProposed") :]


def test_text_behind_a_call_does_not_run_into_the_text_before_it(harness: Any) -> None:
    made = call("add", a=2, b=3)
    harness.engine.enqueue(Answer(deltas=(Text("I add."), CallEnded(0, made), Text("Done."))), "It is 5.")
    asyncio.run(harness.ask("2 + 3?"))
    assert harness.conversation.messages[1].content == "I add.\n\nDone."
    assert harness.conversation.messages[1].parts == ()


def test_call_runs_and_its_result_goes_into_the_next_round(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("add", a=2, b=3)]), "It is 5.")
    asyncio.run(harness.ask("2 + 3?"))
    assert results(harness) == ["5"]
    second = harness.engine.requests[1]
    assert [type(message).__name__ for message in second.messages] == [
        "UserMessage",
        "AssistantMessage",
        "ToolMessage",
    ]
    assert harness.kinds() == [
        "TurnStarted",
        "QuestionAsked",
        "CallProposed",
        "RoundFinished",
        "CallDecided",
        "CallStarted",
        "ToolOutput",
        "CallFinished",
        "TextDelta",
        "RoundFinished",
        "TurnFinished",
    ]
    assert [event.sequence for event in harness.events] == list(range(len(harness.events)))
    assert finished(harness).rounds == 2


def test_tools_are_offered_in_file_order(harness: Any) -> None:
    harness.engine.enqueue("ok")
    asyncio.run(harness.ask("hi"))
    assert [tool.name for tool in harness.engine.requests[0].tools] == ["add", "long", "fail", "slow", "draw", "say"]


def test_unknown_tool_is_answered_with_the_names_there_are(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("subtract", a=1)]), "sorry")
    asyncio.run(harness.ask("1 - 1?"))
    (content,) = results(harness)
    assert "subtract" in content
    assert "add, long, fail, slow" in content


def test_wrong_arguments_are_answered_with_what_is_allowed(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("add", a="two", b=3)]), "sorry")
    asyncio.run(harness.ask("two + 3?"))
    (content,) = results(harness)
    assert content.startswith("Error: a must be an integer")
    assert not harness.bodies(events.CallStarted)


def test_converted_arguments_are_marked_repaired(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("add", a="2", b=3)]), "5")
    asyncio.run(harness.ask("2 + 3?"))
    (started,) = harness.bodies(events.CallStarted)
    assert started.call.origin is CallOrigin.REPAIRED
    assert started.call.arguments == {"a": 2, "b": 3}
    assert results(harness) == ["5"]


def test_a_tool_that_raises_is_the_models_to_deal_with(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("fail", why="no disk")]), "it failed")
    asyncio.run(harness.ask("go"))
    assert results(harness) == ["Error: RuntimeError: no disk"]
    assert finished(harness).status is TurnStatus.ANSWERED


def test_calls_of_one_round_run_at_once_and_answer_in_call_order(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("slow", seconds=0.4), call("slow", seconds=0.1)]), "done")
    asyncio.run(harness.ask("go"))
    ids = [item.id for item in harness.conversation.messages[1].calls]
    assert [message.call_id for message in harness.conversation.messages[2:4]] == ids
    assert results(harness) == ["2", "2"]
    assert [body.result.call_id for body in harness.bodies(events.CallFinished)] == ids[::-1]


def test_malformed_call_is_never_run_and_is_explained(harness: Any) -> None:
    bad = FailedCall("abcdefghi", "add", 'add[ARGS]{"a": 1,', "the JSON ends too soon")
    harness.engine.enqueue(Answer(calls=[bad, call("add", a=1, b=1)]), "2")
    asyncio.run(harness.ask("1 + 1?"))
    first, second = results(harness)
    assert "could not be read" in first
    assert "the JSON ends too soon" in first
    assert second == "2"


def test_truncated_call_ends_the_turn_unrun(harness: Any) -> None:
    bad = FailedCall("abcdefghi", "add", 'add[ARGS]{"a": 1', "cut off", truncated=True)
    harness.engine.enqueue(Answer(calls=[bad], reason=FinishReason.LENGTH))
    asyncio.run(harness.ask("1 + 1?"))
    assert finished(harness).status is TurnStatus.TRUNCATED
    assert not harness.bodies(events.CallStarted)
    assert not harness.conversation.open


def test_a_call_never_has_the_id_of_one_before_it(make_harness: Callable[..., Any], tmp_path: Path) -> None:
    harness = make_harness(keep=KeptResults(tmp_path / "kept").keep)
    again = [call("long", lines=lines) for lines in (3000, 4000)]
    harness.engine.enqueue(*(Answer(calls=[replace(one, id="aaaaaaaaa")]) for one in again), "Done.")
    harness.chat("go")
    calls = [one for message in harness.conversation.messages for one in getattr(message, "calls", ())]
    assert len({one.id for one in calls}) == 2
    assert sorted(file.read_text().count("\n") for file in (tmp_path / "kept").iterdir()) == [2999, 3999]


@pytest.mark.parametrize("text", ["", "I add"])
def test_a_call_that_was_whole_when_the_limit_came_is_answered_with_its_result(harness: Any, text: str) -> None:
    harness.engine.enqueue(Answer(text, calls=[call("add", a=1, b=2)], reason=FinishReason.LENGTH), "3")
    asyncio.run(harness.ask("1 + 2?"))
    assert finished(harness).status is TurnStatus.ANSWERED
    assert harness.bodies(events.Notice) == []
    assert [type(message).__name__ for message in harness.engine.requests[1].messages][-1] == "ToolMessage"


def test_truncated_text_is_kept_and_said(harness: Any) -> None:
    harness.engine.enqueue(Answer("once upon", reason=FinishReason.LENGTH))
    asyncio.run(harness.ask("a story"))
    assert finished(harness).status is TurnStatus.TRUNCATED
    assert harness.conversation.messages[-1] == AssistantMessage("once upon")
    assert "--max-tokens" in harness.bodies(events.Notice)[0].text


def test_rounds_are_limited_and_the_history_closed(make_harness: Callable[..., Any]) -> None:
    harness = make_harness(rounds=2)
    harness.engine.enqueue(*[Answer(calls=[call("add", a=1, b=1)]) for _ in range(2)])
    asyncio.run(harness.ask("loop"))
    assert finished(harness).status is TurnStatus.LIMIT
    assert finished(harness).rounds == 2
    assert isinstance(harness.conversation.messages[-1], AssistantMessage)
    assert "2 rounds" in harness.bodies(events.Notice)[0].text


def test_limit_may_be_passed_by_choice(make_harness: Callable[..., Any]) -> None:
    asked: list[int] = []

    async def go_on(met: LimitMet) -> LimitChoice:
        asked.append(met.rounds)
        return LimitChoice.CONTINUE

    harness = make_harness(rounds=1, continue_=go_on)
    harness.engine.enqueue(*[Answer(calls=[call("add", a=1, b=1)]) for _ in range(2)], "2")
    asyncio.run(harness.ask("loop"))
    assert asked == [1, 2]
    assert finished(harness).status is TurnStatus.ANSWERED


def test_denied_call_still_gets_a_result(make_harness: Callable[..., Any]) -> None:
    async def decide(pending: PendingCall) -> Decision:
        return Decision(pending.call.arguments["a"] == 1, "not that one")

    harness = make_harness(decide=decide)
    harness.engine.enqueue(Answer(calls=[call("add", a=2, b=2), call("add", a=1, b=1)]), "ok")
    asyncio.run(harness.ask("go"))
    first, second = results(harness)
    assert "declined" in first
    assert "not that one" in first
    assert second == "2"
    assert finished(harness).declined
    assert harness.conversation.messages[1].calls[0].id in harness.runner.discarded


def test_interrupt_keeps_the_partial_answer_and_the_chat(harness: Any) -> None:
    harness.engine.enqueue(Answer(["one ", "two ", *["more "] * 100], delay=0.05), "fine")

    def on(event: events.Event) -> None:
        if isinstance(event.body, events.TextDelta) and "two" in event.body.text:
            harness.loop.interrupt()

    async def play() -> None:
        await harness.ask("count", on)
        await harness.ask("still there?")

    asyncio.run(play())
    closing = harness.conversation.messages[1]
    assert isinstance(closing, AssistantMessage)
    assert closing.content.startswith("one two")
    assert closing.content.endswith("[interrupted]")
    assert "Interrupted" in harness.kinds()
    assert harness.conversation.messages[-1] == AssistantMessage("fine")


@pytest.mark.long
def test_interrupt_while_tools_run_gives_each_call_a_result(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("slow", seconds=1), call("slow", seconds=1)]), "fine")

    def on(event: events.Event) -> None:
        if isinstance(event.body, events.CallStarted):
            harness.loop.interrupt()

    async def play() -> None:
        await asyncio.wait_for(harness.ask("go", on), 3)
        await harness.ask("still there?")

    asyncio.run(play())
    finished_calls = harness.bodies(events.CallFinished)
    assert [body.result.status for body in finished_calls] == [ResultStatus.INTERRUPTED] * 2
    assert len(results(harness)) == 2
    assert harness.conversation.messages[-1] == AssistantMessage("fine")


def test_engine_crash_keeps_what_had_come(harness: Any) -> None:
    harness.engine.enqueue(Answer("half an ans", crash=True))
    asyncio.run(harness.ask("hi"))
    assert finished(harness).status is TurnStatus.ENGINE_FAILED
    assert harness.conversation.messages[-1] == AssistantMessage("half an ans [interrupted]")


def test_an_answer_that_broke_off_is_kept_and_the_history_stays_legal(harness: Any) -> None:
    broken = Answer("half an ans", calls=[call("add", a=1, b=1)], breaks="the connection broke")
    harness.engine.enqueue(broken, "whole")
    asyncio.run(harness.ask("hi"))
    assert finished(harness).status is TurnStatus.ENGINE_FAILED
    assert harness.conversation.messages[-1] == AssistantMessage("half an ans [interrupted]")
    assert harness.bodies(events.CallStarted) == []
    assert any("the connection broke" in notice.text for notice in harness.bodies(events.Notice))
    assert harness.bodies(events.EngineState) == []
    asyncio.run(harness.ask("again"))
    assert harness.conversation.messages[-1] == AssistantMessage("whole")


@pytest.mark.parametrize("error", [EngineError("no"), ContextOverflowError("9000 tokens", TokenCount(9000), 8192)])
def test_refused_question_leaves_no_trace_in_the_history(harness: Any, error: EngineError) -> None:
    harness.engine.enqueue(Answer(error=error))
    with pytest.raises(EngineError):
        asyncio.run(harness.ask("hi"))
    assert harness.conversation.messages == ()


def test_context_filled_by_results_ends_the_turn_legally(harness: Any) -> None:
    harness.engine.enqueue(
        Answer(calls=[call("add", a=1, b=1)]), Answer(error=ContextOverflowError("9000 tokens", TokenCount(9000), 8192))
    )
    asyncio.run(harness.ask("hi"))
    assert finished(harness).status is TurnStatus.LIMIT
    assert not harness.conversation.open


def test_an_engine_that_refuses_to_go_on_does_not_make_the_chat_forget_what_its_tools_have_done(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1)]), Answer(error=EngineError("no")), "later")

    async def play() -> None:
        await harness.ask("hi")
        assert finished(harness).status is TurnStatus.ENGINE_FAILED
        assert [type(message) for message in harness.conversation.messages] == [
            *(UserMessage, AssistantMessage, ToolMessage, AssistantMessage),
        ]
        await harness.ask("and now?")

    asyncio.run(play())
    assert harness.bodies(events.Notice)[0].text == "the turn ends here: the engine refused to go on: no"
    assert results(harness) == ["2"]
    assert finished(harness).status is TurnStatus.ANSWERED


@pytest.mark.parametrize(("context", "rounds", "at_once"), [(2048, 2, 3), (8192, 5, 6)])
@pytest.mark.parametrize("earlier", [0, 6])
def test_long_results_share_what_the_context_leaves_however_many_come(
    harness: Any, context: int, rounds: int, at_once: int, earlier: int
) -> None:
    harness.engine.context = context
    harness.engine.enqueue(*["word " * 200] * earlier)
    harness.engine.enqueue(*[Answer(calls=[call("long", lines=9000 + n)]) for n in range(rounds)])
    harness.engine.enqueue(Answer(calls=[call("long", lines=8000 + n) for n in range(at_once)]), "Read.")
    harness.chat(*[f"question {number}" for number in range(earlier)], "read them")
    assert finished(harness).status is TurnStatus.ANSWERED
    contents = results(harness)
    assert len(contents) == rounds + at_once
    assert all("characters are left out here" in content for content in contents)
    # The turn under way is never given up for room that the turns before it could give.
    assert len(contents[0]) > context // 4 * 3


def test_an_engine_that_dies_while_tools_run_takes_no_result_with_it(
    harness: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(*_: Any) -> Any:
        raise EngineCrashedError("gone")

    harness.engine.enqueue(Answer(calls=[call("long", lines=9000)]), Answer(error=EngineCrashedError("gone")))
    monkeypatch.setattr(harness.engine, "count", dead)
    harness.chat("go")
    assert finished(harness).status is TurnStatus.ENGINE_FAILED
    (content,) = results(harness)
    assert content.startswith("line 0\n")
    assert len(content) < 8192 // 4


def test_empty_answer_is_said_and_legal(harness: Any) -> None:
    harness.engine.enqueue("")
    asyncio.run(harness.ask("hi"))
    assert isinstance(harness.conversation.messages[-1], AssistantMessage)
    assert harness.conversation.messages[-1].content
    assert "empty" in harness.bodies(events.Notice)[0].text


def test_a_consumer_that_stops_listening_leaves_no_half_turn(harness: Any) -> None:
    harness.engine.enqueue(Answer(["a", "b", "c"], delay=0.05), "fine")

    async def play() -> None:
        turn = harness.loop.turn("hi")
        async for event in turn:
            if isinstance(event.body, events.TextDelta):
                break
        await turn.aclose()
        assert harness.conversation.messages == ()
        await harness.ask("again")

    asyncio.run(play())
    assert harness.conversation.messages[-1] == AssistantMessage("fine")


def test_a_call_repeated_is_first_reminded_then_refused(harness: Any) -> None:
    harness.engine.enqueue(*[Answer(calls=[call("add", b=1, a=1)]) for _ in range(6)], "never reached")
    asyncio.run(harness.ask("loop"))
    contents = results(harness)
    assert contents[:2] == ["2", "2"]
    assert contents[2].startswith("2\n[This is call number 3 of add")
    assert "not run" in contents[4]
    assert len(contents) == 5
    assert len(harness.bodies(events.CallStarted)) == 4
    assert finished(harness).status is TurnStatus.LIMIT
    assert "5 times for add" in harness.bodies(events.Notice)[0].text


def test_other_arguments_are_no_repetition_and_turns_count_anew(harness: Any) -> None:
    harness.engine.enqueue(*[Answer(calls=[call("add", a=number, b=1)]) for number in range(6)], "done")
    harness.engine.enqueue(*[Answer(calls=[call("add", a=1, b=1)]) for _ in range(2)], "done")

    async def play() -> None:
        await harness.ask("count")
        await harness.ask("again")

    asyncio.run(play())
    assert not any("call number" in content for content in results(harness))
    assert finished(harness).status is TurnStatus.ANSWERED


def test_more_calls_than_one_round_may_have_are_answered_unrun(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("add", a=number, b=1) for number in range(20)]), "done")
    asyncio.run(harness.ask("go"))
    contents = results(harness)
    assert contents[:16] == [str(number + 1) for number in range(16)]
    assert all("at most 16" in content for content in contents[16:])


def test_a_long_result_is_cut_to_a_quarter_of_the_context_and_kept_whole(
    make_harness: Callable[..., Any], tmp_path: Path
) -> None:
    harness = make_harness(keep=KeptResults(tmp_path / "results").keep)
    harness.engine.enqueue(Answer(calls=[call("long", lines=9000)]), "much")

    async def play() -> None:
        async for _ in harness.engine.start():
            pass
        await harness.ask("go")

    asyncio.run(play())
    (content,) = results(harness)
    assert asyncio.run(harness.engine.count([UserMessage(content)], ())).total <= 8192 // 4
    assert content.startswith("line 0\n")
    assert content.endswith("line 8999")
    (kept,) = (tmp_path / "results").iterdir()
    assert str(kept) in content
    assert kept.read_text().splitlines() == [f"line {number}" for number in range(9000)]
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_round_that_the_engine_failed_in_is_retried_with_the_results_that_are_there(harness: Any) -> None:
    harness.engine.enqueue(
        Answer(calls=[call("add", a=1, b=1)]), Answer("It", crash=True), Answer("It", crash=True), "It is 2."
    )

    async def play() -> None:
        await harness.ask("1+1?")
        for _ in range(2):
            assert finished(harness).status is TurnStatus.ENGINE_FAILED
            assert harness.conversation.can_retry_round
            async for _ in harness.engine.start():
                pass
            harness.events += [event async for event in harness.loop.retry()]

    asyncio.run(play())
    assert finished(harness).status is TurnStatus.ANSWERED
    assert len(harness.bodies(events.CallStarted)) == 1
    assert [message.content for message in harness.conversation.messages] == ["1+1?", "", "2", "It is 2."]
    assert {event.turn for event in harness.events} == {1}
    assert [event.round for event in harness.events if isinstance(event.body, events.RoundFinished)] == [1, 2]
    assert not harness.conversation.can_retry_round


def test_a_retry_that_nobody_listens_to_leaves_the_turn_as_it_was(harness: Any) -> None:
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1)]), Answer("It", crash=True), "It is 2.")

    async def play() -> None:
        await harness.ask("1+1?")
        before = harness.conversation.messages
        async for _ in harness.engine.start():
            pass
        retry = harness.loop.retry()
        await anext(retry)
        assert harness.conversation.open
        await retry.aclose()
        assert harness.conversation.messages == before
        assert harness.conversation.can_retry_round

    asyncio.run(play())


@pytest.mark.parametrize("last", [Answer("Half", crash=True), "An answer."])
def test_a_turn_without_results_or_with_an_answer_has_no_round_to_retry(harness: Any, last: Answer | str) -> None:
    harness.engine.enqueue(last)
    harness.chat("hi")
    assert not harness.conversation.can_retry_round
    with pytest.raises(ValueError, match="no round"):
        harness.conversation.reopen()


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_calls_that_wait_already_end_where_checking_another_fails_or_is_cancelled(
    harness: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    prepare = harness.runner.prepare
    under_way, cancelled = asyncio.Event(), asyncio.Event()

    async def prepare_one(tool: Any, item: Any, cancel: Any = None) -> Any:
        if item.arguments["a"] == 1:
            return await prepare(tool, item, cancel)
        if how == "fails":
            raise OSError("no process")
        under_way.set()
        try:
            return await asyncio.Event().wait()
        finally:
            cancelled.set()

    monkeypatch.setattr(harness.runner, "prepare", prepare_one)
    first = call("add", a=1, b=1)
    harness.engine.enqueue(Answer(calls=[first, call("add", a=2, b=2)]))

    async def play() -> None:
        asking = asyncio.create_task(harness.ask("go"))
        if how == "is cancelled":
            await under_way.wait()
            asking.cancel()
        with pytest.raises((OSError, asyncio.CancelledError)):
            await asking

    asyncio.run(asyncio.wait_for(play(), 30))
    assert harness.runner.discarded == [first.id]
    assert cancelled.is_set() is (how == "is cancelled")


def test_a_name_that_no_tool_can_have_is_unknown_and_the_tools_are_listed(harness: Any) -> None:
    why = "'math.fact' cannot name a tool"
    harness.engine.enqueue(
        Answer(calls=[FailedCall("a" * 9, "invalid_tool_call", "x", why, illegal_name="math.fact")]), "done"
    )
    harness.chat("5!")
    tools = ", ".join(harness.runner.toolbox.names)
    assert results(harness) == [f'Error: there is no tool "math.fact"; the tools are {tools}']

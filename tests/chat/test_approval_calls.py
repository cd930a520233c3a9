from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from toolchat.chat.approval import ApprovalPolicy, Decision, PendingCall, Reply, decider
from toolchat.engine.scripted import Answer, call
from toolchat.wire import events
from toolchat.wire.events import TurnStatus
from toolchat.wire.messages import CallOrigin, ResultStatus, ToolMessage

Make = Callable[..., Any]


def results(harness: Any) -> list[str]:
    return [message.content for message in harness.conversation.messages if isinstance(message, ToolMessage)]


def statuses(harness: Any) -> list[ResultStatus]:
    ids = [item.id for item in harness.conversation.messages[1].calls]
    by_id = {body.result.call_id: body.result.status for body in harness.bodies(events.CallFinished)}
    return [by_id[item] for item in ids]


def finished(harness: Any) -> events.TurnFinished:
    (body,) = harness.bodies(events.TurnFinished)
    assert isinstance(body, events.TurnFinished)
    return body


def edit(**arguments: Any) -> Callable[[PendingCall], Awaitable[Decision]]:
    async def decide(_: PendingCall) -> Decision:
        return Decision(True, arguments=arguments)

    return decide


def test_edited_arguments_are_what_runs_what_is_shown_and_what_history_holds(make_harness: Make) -> None:
    harness = make_harness(decide=edit(a=20, b="3"))
    harness.engine.enqueue(Answer(calls=[call("add", a=2, b=3)]), "23")
    asyncio.run(harness.ask("2 + 3?"))
    assert results(harness) == ["23"]
    (started,) = harness.bodies(events.CallStarted)
    assert started.call.arguments == {"a": 20, "b": 3}
    assert started.call.origin is CallOrigin.EDITED
    (proposed,) = harness.bodies(events.CallProposed)
    assert proposed.call.arguments == {"a": 2, "b": 3}
    assert harness.engine.requests[1].messages[1].calls == (started.call,)


def test_the_process_that_waited_with_the_old_arguments_is_discarded_before_the_edited_call_runs(
    make_harness: Make,
) -> None:
    harness = make_harness(decide=edit(a=1, b=1))
    harness.engine.enqueue(Answer(calls=[call("add", a=2, b=3)]), "2")
    discarded: list[int] = []

    def on(event: events.Event) -> None:
        if isinstance(event.body, events.CallStarted):
            discarded.append(len(harness.runner.discarded))

    asyncio.run(harness.ask("go", on))
    assert discarded == [1]


def test_edited_arguments_run_no_other_code_than_that_which_was_shown(make_harness: Make) -> None:
    async def decide(_: PendingCall) -> Decision:
        # Meanwhile the code has changed, which shows when the new arguments are checked.
        harness.runner.digest = "another"
        return Decision(True, arguments={"a": 20, "b": 3})

    harness = make_harness(decide=decide)
    harness.engine.enqueue(Answer(calls=[call("add", a=2, b=3)]), "23")
    asyncio.run(harness.ask("2 + 3?"))
    assert results(harness) == ["Error: not run: add has changed since it was shown"]
    assert not harness.bodies(events.CallStarted)


def test_an_edit_that_does_not_fit_is_never_run(make_harness: Make) -> None:
    harness = make_harness(decide=edit(a="many", b=1))
    asked = call("add", a=2, b=3)
    harness.engine.enqueue(Answer(calls=[asked]), "sorry")
    asyncio.run(harness.ask("go"))
    (content,) = results(harness)
    assert content.startswith("Error: a must be an integer")
    assert not harness.bodies(events.CallStarted)
    assert harness.conversation.messages[1].calls[0].arguments == asked.arguments


def test_whoever_decides_can_have_an_edit_checked_first(make_harness: Make) -> None:
    said: list[str | None] = []

    async def decide(pending: PendingCall) -> Decision:
        said.append(await pending.validate({"a": "many", "b": 1}))
        said.append(await pending.validate({"a": "7", "b": 1}))
        return Decision(True, arguments={"a": 7, "b": 1})

    harness = make_harness(decide=decide)
    harness.engine.enqueue(Answer(calls=[call("add", a=2, b=3)]), "8")
    asyncio.run(harness.ask("go"))
    wrong, right = said
    assert wrong is not None
    assert wrong.startswith("a must be an integer")
    assert right is None
    assert results(harness) == ["8"]
    # The process that checked, the one that waited with the model's arguments, and the one that ran.
    assert len(harness.runner.discarded) == 3


def ending(ended: list[str]) -> Callable[[PendingCall], Awaitable[Reply]]:
    async def ask(pending: PendingCall) -> Reply:
        ended.append(pending.call.name)
        return Reply(True) if len(ended) == 1 else Reply(False, end_turn=True)

    return ask


class NoGrants:
    def granted(self) -> tuple[()]:
        return ()

    def add(self, _: object) -> None:
        raise AssertionError("nothing is granted here")


def test_denying_and_ending_the_turn_asks_no_more_and_begins_nothing(make_harness: Make) -> None:
    asked: list[str] = []
    harness = make_harness(decide=decider(ApprovalPolicy(NoGrants()), ending(asked)))
    harness.engine.enqueue(
        Answer(calls=[call("add", a=1, b=1), call("fail", why="x"), call("long", lines=1), call("slow", seconds=9)])
    )
    asyncio.run(asyncio.wait_for(harness.ask("go"), 5))
    assert asked == ["add", "fail"]
    assert not harness.bodies(events.CallStarted)
    assert statuses(harness) == [ResultStatus.INTERRUPTED, *[ResultStatus.DENIED] * 3]
    assert [body.allowed for body in harness.bodies(events.CallDecided)] == [True, False, False, False]
    assert finished(harness).status is TurnStatus.INTERRUPTED
    assert finished(harness).declined
    assert not harness.conversation.open


def test_an_interrupt_closes_the_question_and_ends_the_turn(make_harness: Make) -> None:
    closed: list[bool] = []

    async def decide(_: PendingCall) -> Decision:
        harness.loop.interrupt()
        try:
            await asyncio.sleep(60)
        finally:
            closed.append(True)
        return Decision(True)

    harness = make_harness(decide=decide)
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1), call("add", a=2, b=2)]), "fine")

    async def play() -> None:
        await asyncio.wait_for(harness.ask("go"), 5)
        assert finished(harness).status is TurnStatus.INTERRUPTED

    asyncio.run(play())
    assert closed == [True]
    assert statuses(harness) == [ResultStatus.DENIED] * 2


@pytest.mark.parametrize(
    ("decision", "content"),
    [
        (Decision(False), "Error: the user declined this call"),
        (Decision(False, "too dear"), "Error: the user declined this call: too dear"),
        (Decision(False, "nobody there", asked=False), "Error: this call was not run: nobody there"),
    ],
)
def test_the_model_is_told_who_declined_and_why(make_harness: Make, decision: Decision, content: str) -> None:
    async def decide(_: PendingCall) -> Decision:
        return decision

    harness = make_harness(decide=decide)
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1)]), "ok")
    asyncio.run(harness.ask("go"))
    assert results(harness) == [content]
    assert finished(harness).declined


def test_what_the_user_should_know_of_a_decision_is_a_notice(make_harness: Make) -> None:
    async def decide(_: PendingCall) -> Decision:
        return Decision(True, notice="the disk is full")

    harness = make_harness(decide=decide)
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1)]), "ok")
    asyncio.run(harness.ask("go"))
    assert [body.text for body in harness.bodies(events.Notice)] == ["the disk is full"]
    assert results(harness) == ["2"]


def test_a_failure_of_whoever_decides_is_not_taken_for_an_answer(make_harness: Make) -> None:
    async def decide(_: PendingCall) -> Decision:
        raise RuntimeError("a bug")

    harness = make_harness(decide=decide)
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1)]))
    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(harness.ask("go"))
    assert not harness.bodies(events.CallStarted)
    assert len(harness.runner.discarded) == 1

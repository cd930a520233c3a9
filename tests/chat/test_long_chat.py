from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from chat_harness import Harness
from stored import stored_rows

from toolchat.engine.base import ContextOverflowError
from toolchat.engine.scripted import Answer, call
from toolchat.store.record import SessionRecord
from toolchat.wire import deltas, events
from toolchat.wire.events import TurnStatus
from toolchat.wire.messages import UserMessage

TURNS = 200
CONTEXT = 8192


@pytest.mark.long
def test_two_hundred_turns_never_exceed_the_context_and_nothing_is_lost(harness: Harness, tmp_path: Path) -> None:
    record = SessionRecord(tmp_path, "s")

    async def chat() -> None:
        async for _ in harness.engine.start():
            pass
        for number in range(TURNS):
            harness.engine.enqueue(
                Answer(calls=[call("add", a=number, b=1), call("long", lines=40)]), f"answer {number} " + "word " * 60
            )
            await harness.ask(f"question {number} " + "and " * 50, on=record.append)

    asyncio.run(chat())
    record.close()
    requests = harness.engine.requests
    assert len(requests) == 2 * TURNS
    assert max(request.prompt_tokens for request in requests) <= CONTEXT
    assert all(request.prompt_tokens + request.options.reserve <= CONTEXT for request in requests)
    assert harness.conversation.turns == TURNS
    edits = harness.bodies(events.HistoryEdited)
    assert 0 < len(edits) < TURNS / 5
    assert len(harness.bodies(events.Notice)) == len(edits)
    written = "".join(json.dumps(row) for row in stored_rows(tmp_path))
    assert all(f"question {number} " in written and f"answer {number} " in written for number in range(TURNS))
    # The last request holds whole turns: it begins with a question, right after one that was answered.
    first = requests[-1].messages[0]
    assert isinstance(first, UserMessage)
    assert first.content.startswith("question ")


def test_a_question_too_long_for_the_context_is_refused_and_forgotten(harness: Harness) -> None:
    harness.engine.enqueue("hello")
    with pytest.raises(ContextOverflowError, match=r"the question 10,010, .*; shorten the question") as refused:
        harness.chat("hi", "long" * 10_000)
    assert refused.value.exit_code == 5
    assert [message.content for message in harness.conversation.messages] == ["hi", "hello"]
    assert harness.bodies(events.HistoryEdited) == [events.HistoryEdited(events.TurnWithdrawn())]


def test_a_turn_that_outgrows_the_context_sets_the_turns_before_it_aside_in_its_midst(harness: Harness) -> None:
    calls = [Answer(calls=[call("long", lines=number)]) for number in (600, 601, 602)]
    harness.engine.enqueue("hello", *calls, "done")
    harness.chat("word " * 4000, "go")
    assert harness.bodies(events.TurnFinished)[-1].status is TurnStatus.ANSWERED
    assert harness.bodies(events.HistoryEdited) == [events.HistoryEdited(events.TurnsSetAside((1,)))]
    assert harness.engine.requests[-1].messages[0].content == "go"
    assert harness.bodies(events.TurnFinished)[-1].rounds == 4


def test_what_is_required_is_required_once(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(tool_choice="required")
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1)]), "2")
    harness.chat("go")
    assert [request.options.tool_choice for request in harness.engine.requests] == ["required", "auto"]


def test_no_calls_stays_no_calls(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(tool_choice="none")
    harness.engine.enqueue(Answer(calls=[call("add", a=1, b=1)]), "2")
    harness.chat("go")
    assert [request.options.tool_choice for request in harness.engine.requests] == ["none", "none"]


def test_what_the_engine_notes_is_said_once(harness: Harness) -> None:
    harness.engine.enqueue(Answer("a", notes=["x of add is not held"]), Answer("b", notes=["x of add is not held"]))
    harness.chat("go", "go")
    assert harness.bodies(events.Notice) == [events.Notice("x of add is not held")]


def test_thinking_is_kept_with_the_answer_it_led_to(harness: Harness) -> None:
    harness.engine.enqueue(Answer(thinking="I add.", calls=[call("add", a=1, b=1)]), Answer("2", thinking="So."))
    harness.chat("go")
    _, calls, _, answer = harness.conversation.messages
    assert (calls.thinking, answer.thinking) == ("I add.", "So.")


def test_a_tool_that_is_not_offered_is_not_known(make_harness: Callable[..., Harness]) -> None:
    harness = make_harness(offered=lambda: harness.runner.toolbox.specs[:1])
    harness.engine.enqueue(Answer(calls=[call("fail", why="x")]), "ok")
    harness.chat("go")
    assert [tool.name for tool in harness.engine.requests[0].tools] == ["add"]
    assert harness.conversation.messages[2].content == 'Error: there is no tool "fail"; the tools are add'


def test_tokens_that_were_read_anew_are_those_not_cached() -> None:
    assert deltas.Usage(prompt_tokens=100, cached_tokens=64).new_tokens == 36


@pytest.mark.parametrize("choice", ["fail", "required"])
def test_a_choice_that_cannot_be_met_any_more_is_left_to_the_model_and_said_once(
    make_harness: Callable[..., Harness], choice: str
) -> None:
    offered = 1 if choice == "fail" else 0
    harness = make_harness(tool_choice=choice, offered=lambda: harness.runner.toolbox.specs[:offered])
    harness.engine.enqueue("One.", "Two.")
    harness.chat("go", "go")
    assert [request.options.tool_choice for request in harness.engine.requests] == ["auto", "auto"]
    assert len(harness.bodies(events.Notice)) == 1

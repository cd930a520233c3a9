"""A renderer that fails must not undo a turn: what it was given is recorded, and plain output takes its place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import AsyncGeneratorType
from typing import get_args

import pytest
from inprocess_tools import InProcessRunner
from session_bench import Bench
from stored import stored_rows

from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.session.session import Session
from toolchat.session.stream import Stream
from toolchat.settings import Settings
from toolchat.tools.load import load_tools
from toolchat.tools.run import ToolRunner
from toolchat.tools.spec import sample_tools_path
from toolchat.wire import events
from toolchat.wire.events import Event

ELSEWHERE = (
    events.EngineState("crashed", "it died"),
    events.CallWriting("get_current_weather", 3),
    events.ToolOutput("abcdefghi", "at work"),
    events.HistoryEdited(events.Cleared()),
    events.Interrupted(),
)
"""Those that a turn without interrupts and failures does not hold."""
IN_A_TURN = sorted({*get_args(events.EventBody)}.difference(map(type, ELSEWHERE)), key=lambda kind: kind.__name__)


class Failing:
    """A renderer that raises at one kind of event, and the plain output behind it."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.rich: list[Event] = []
        self.plain: list[Event] = []

    def show(self, event: Event) -> None:
        if isinstance(event.body, self.kind):
            raise RuntimeError("no such\nrow")
        self.rich.append(event)

    def show_plain(self, event: Event) -> None:
        self.plain.append(event)


@pytest.mark.parametrize("kind", IN_A_TURN, ids=lambda kind: kind.__name__)
def test_a_renderer_that_raises_at_any_event_leaves_the_turn_and_is_replaced(kind: type, tmp_path: Path) -> None:
    look = call("get_current_weather", city="Dallas", state="TX", unit="fahrenheit")
    engine = ScriptedEngine([Answer("I look.", calls=[look], thinking="Hm."), Answer("85 degrees.")])
    failing = Failing(kind)
    session = Session(Settings(), "m", engine, tmp_path, failing.show, plain=failing.show_plain)

    async def play() -> None:
        try:
            session.equip(InProcessRunner(load_tools(sample_tools_path())))
            await session.launch()
            await session.ready()
            session.notify("Mind this.")
            await session.ask("weather?")
        finally:
            await session.close()

    asyncio.run(asyncio.wait_for(play(), 60))
    assert session.conversation.turns == 1
    assert session.last_answer == "85 degrees."
    assert session.last_results[0].content.startswith("The weather in Dallas")
    rows = stored_rows(tmp_path)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert rows[-2 if kind is events.TurnFinished else -1]["type"] == "turn_finished"
    told = [row["data"]["text"] for row in rows if row["type"] == "notice"]
    assert "the display failed and is plain from here on (RuntimeError: no such row); please report it" in told
    # The event at which it failed is shown all the same, and nothing is shown twice.
    assert isinstance(next(e for e in failing.plain if isinstance(e.body, kind)).body, kind)
    shown = [event.sequence for event in (*failing.rich, *failing.plain)]
    assert sorted(shown) == list(range(len(rows)))


@pytest.mark.parametrize("body", ELSEWHERE, ids=lambda body: type(body).__name__)
def test_it_is_replaced_at_the_events_beside_an_answer_too(body: events.EventBody, tmp_path: Path) -> None:
    failing = Failing(type(body))
    stream = Stream(tmp_path, failing.show, failing.show_plain)
    for each in (events.TurnStarted(), body, events.TextDelta("a")):
        stream.emit(each)
    assert len(stored_rows(tmp_path)) == 4
    stream.record.close()
    assert [one.body for one in failing.rich] == [events.TurnStarted()]
    notice, *shown = [one.body for one in failing.plain]
    assert isinstance(notice, events.Notice)
    assert "the display failed" in notice.text
    assert shown == [body, events.TextDelta("a")]


def test_where_plain_output_fails_too_the_record_goes_on(tmp_path: Path) -> None:
    def fail(event: Event) -> None:
        raise ValueError(type(event.body).__name__)

    stream = Stream(tmp_path, fail, fail)
    for _ in range(3):
        stream.emit(events.Notice("x"))
    texts = [row["data"]["text"] for row in stored_rows(tmp_path)]
    stream.record.close()
    assert texts.count("x") == 3
    assert len(texts) == 5


def test_a_closed_pipe_is_no_failure_of_the_renderer(tmp_path: Path) -> None:
    def closed(_: Event) -> None:
        raise BrokenPipeError

    stream = Stream(tmp_path, closed, lambda _: None)
    with pytest.raises(BrokenPipeError):
        stream.emit(events.Notice("x"))
    stream.record.close()


def generators_running() -> list[str]:
    """The asynchronous generators that are on the way of what is shown now, of whatever task."""
    import gc

    return [
        one.__qualname__
        for one in gc.get_objects()
        if isinstance(one, AsyncGeneratorType) and one.ag_frame is not None and "toolchat" in one.ag_code.co_filename
    ]


def test_an_answer_passes_at_most_four_asynchronous_generators(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.engine.answers.append(Answer("One. Two."))
    counted: list[list[str]] = []
    show = bench.session._stream._show
    assert show is not None

    def counting(event: Event) -> None:
        if isinstance(event.body, events.TextDelta):
            counted.append(generators_running())
        show(event)

    bench.session._stream._show = counting

    async def scene(session: Session) -> None:
        await session.ask("?")

    bench.play(scene, ToolRunner.none())
    assert counted
    assert all(counted)
    assert all(len(names) <= 4 for names in counted), counted

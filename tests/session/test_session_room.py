"""Room in the context of a session: seen, made, undone, stored."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from inprocess_tools import InProcessRunner
from session_bench import Bench, settled

from toolchat.chat.conversation import SUMMED_UP
from toolchat.chat.fold import fold
from toolchat.engine.base import EngineInfo, TokenCount
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.session.room import Fullness, Stopped
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.store.sessions import open_session_of
from toolchat.store.transcript import turn_json
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.run import ToolRunner
from toolchat.wire import events
from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import (
    Branched,
    EditUndone,
    ResultTrimmed,
    SummaryChanged,
    TurnKept,
    TurnsSummarised,
    TurnUndone,
)

LONG = "word " * 200
SUMMARY = "They spoke of words."


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, system="Be brief.")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "long.txt").write_text("\n".join(f"line {number}" for number in range(400)))


@pytest.fixture
def samples() -> InProcessRunner:
    return InProcessRunner(load_tools(sample_tools_path()))


async def talk(session: Session, engine: ScriptedEngine, *questions: str) -> None:
    for question in questions:
        engine.enqueue(LONG)
        await session.ask(question)


def edits(bench: Bench) -> list[object]:
    return [edit for edit in bench.edits() if not isinstance(edit, events.ToolsChanged)]


def test_the_older_turns_are_summed_up_and_an_undo_puts_them_back(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a", "b", "c", "d")
        before = session.conversation.messages
        bench.engine.enqueue(SUMMARY)
        made = await session.room.compact("words")
        assert (made.turns, made.number, made.text, made.cut_off) == ((1, 2, 3), 5, SUMMARY, False)
        assert made.before - made.after > 500
        assert [one.content for one in session.conversation.messages] == ["Be brief.", SUMMED_UP, SUMMARY, "d", LONG]
        assert session.last_answer == LONG
        session.room.change_summary("Of words.")
        await talk(session, bench.engine, "e")
        assert bench.sent() == ["Be brief.", SUMMED_UP, "Of words.", "d", LONG, "e"]
        session.undo()
        assert [session.room.undo_edit() for _ in range(3)] == ["summary", "summary", ""]
        assert session.conversation.messages == before

    bench.play(scene)
    assert [type(edit) for edit in edits(bench)] == [
        TurnsSummarised,
        SummaryChanged,
        TurnUndone,
        EditUndone,
        EditUndone,
    ]
    # It was shown too, by its event.
    assert SUMMARY in [
        event.body.edit.text
        for event in bench.shown
        if isinstance(event.body, events.HistoryEdited) and isinstance(event.body.edit, TurnsSummarised)
    ]


def test_turns_that_were_set_aside_are_summed_up_and_so_sent_again(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a", "b", "c")
        session.edited(events.TurnsSetAside(session.conversation.set_aside([1, 2])))
        bench.engine.enqueue(SUMMARY)
        made = await session.room.compact()
        assert made.turns == (1, 2)
        assert made.after > made.before
        # By about a quarter of the turns' characters: half as many tokens as they have.
        assert bench.engine.requests[-1].options.max_tokens == pytest.approx(250, abs=5)

    bench.play(scene)


def test_the_request_of_a_summary_begins_as_a_turn_does_and_calls_nothing(
    bench: Bench, samples: InProcessRunner
) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a", "b")
        bench.engine.enqueue(SUMMARY)
        await session.room.compact("names")

    bench.play(scene, samples)
    turn, summary = bench.engine.requests[-2:]
    assert summary.tools == turn.tools
    assert summary.messages[:-1] == turn.messages[: len(summary.messages) - 1]
    assert summary.options.tool_choice == "none"
    assert summary.messages[-1].content.endswith("keep this: names")


@pytest.mark.parametrize(
    ("questions", "answer", "why"),
    [
        ([], None, "nothing to sum up before the last turn"),
        (["a"], None, "nothing to sum up before the last turn"),
        (["a", "b"], "w" * 4000, "would take more than what it stands for"),
    ],
)
def test_nothing_changes_where_nothing_is_gained(bench: Bench, questions: list[str], answer: str, why: str) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, *questions)
        before = session.conversation.messages
        if answer:
            bench.engine.enqueue(answer)
        with pytest.raises(UsageError, match=why):
            await session.room.compact()
        assert session.conversation.messages == before

    bench.play(scene)
    assert edits(bench) == []


@pytest.mark.parametrize("answer", [Answer(""), Answer(error=EngineError("refused")), Answer("Half", crash=True)])
def test_a_summary_that_does_not_come_changes_nothing(bench: Bench, answer: Answer) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a", "b")
        before = session.conversation.messages
        bench.engine.enqueue(answer)
        with pytest.raises(EngineError):
            await session.room.compact()
        assert session.conversation.messages == before

    bench.play(scene)
    assert edits(bench) == []


def test_a_conversation_that_changes_meanwhile_is_left_alone(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a", "b")
        bench.engine.enqueue(Answer(["They ", "spoke."], delay=0.01))
        task = asyncio.create_task(session.room.compact())
        await settled()
        session.undo()
        with pytest.raises(UsageError, match="has changed meanwhile"):
            await task
        assert session.conversation.numbers == (1,)

    bench.play(scene)


async def fill(session: Session, engine: ScriptedEngine) -> None:
    """To 85 % and more of a context of 950."""
    engine.context = 950
    engine.info = EngineInfo("scripted", 950, 13, constrains_calls=True)
    await talk(session, engine, "a", "b", "c")
    await settled()
    assert session.room.used_tokens >= 0.85 * 950


@pytest.mark.parametrize(
    ("mode", "wants", "made"), [("off", True, 0), ("on", False, 1), ("ask", True, 1), ("ask", False, 0)]
)
def test_a_context_that_is_nearly_full_makes_room_as_the_setting_says(
    tmp_path: Path, mode: str, wants: bool, made: int
) -> None:
    bench = Bench(tmp_path, system="", compact=mode, max_tokens=50)
    asked: list[Fullness] = []

    async def ask(full: Fullness) -> bool:
        asked.append(full)
        return wants

    async def scene(session: Session) -> None:
        session.room.asks(ask)
        await fill(session, bench.engine)
        bench.engine.enqueue(*([SUMMARY] if made else []), "Yes.")
        await session.ask("d")
        assert session.last_answer == "Yes."
        assert (SUMMED_UP in bench.sent()) is bool(made)
        # Who has said no is not asked at every turn.
        bench.engine.enqueue("No.")
        await session.ask("e")

    bench.play(scene)
    assert len(asked) == (mode == "ask")
    assert all((full.window, full.turns) == (950, 2) for full in asked)
    assert len([edit for edit in edits(bench) if isinstance(edit, TurnsSummarised)]) == made
    told = [text for text in bench.notices() if "summed up" in text or "summing up the 2 older turns" in text]
    assert len(told) == 2 * made


def test_where_nobody_can_be_asked_turns_are_set_aside_as_ever(tmp_path: Path) -> None:
    bench = Bench(tmp_path, system="", max_tokens=50)

    async def scene(session: Session) -> None:
        await fill(session, bench.engine)
        bench.engine.enqueue("Yes.")
        await session.ask("d " * 200)

    bench.play(scene)
    assert [type(edit) for edit in edits(bench)] == [events.TurnsSetAside]


def test_a_failure_to_make_room_is_told_and_the_question_is_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, system="", compact="on", max_tokens=50)

    async def scene(session: Session) -> None:
        await fill(session, bench.engine)
        bench.engine.enqueue("", "Yes.")
        await session.ask("d")
        assert session.last_answer == "Yes."
        # And not tried again at every question.
        bench.engine.enqueue("Again.")
        await session.ask("e")
        assert session.last_answer == "Again."

    bench.play(scene)
    assert "not summed up: the model gave no summary" in bench.notices()


def test_an_interrupt_stops_the_summary_and_the_question_is_not_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, system="", compact="on", max_tokens=50)

    async def scene(session: Session) -> None:
        await fill(session, bench.engine)
        before = session.conversation.messages
        bench.engine.enqueue(Answer(["a"] * 100, delay=0.02))
        asking = asyncio.create_task(session.ask("d"))
        await settled()
        session.interrupt()
        with pytest.raises(Stopped):
            await asking
        assert session.conversation.messages == before
        bench.engine.enqueue(SUMMARY, "Yes.")
        await session.ask("d")

    bench.play(scene)


async def call_twice(session: Session, engine: ScriptedEngine) -> None:
    calls = [call("calculate", expression="1+1"), call("read_file", path="long.txt")]
    engine.enqueue(Answer(calls=calls), "Done.")
    await session.ask("calculate")


def test_each_result_that_is_trimmed_has_the_prompt_counted_once(
    bench: Bench, samples: InProcessRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(session: Session) -> None:
        bench.engine.enqueue(Answer(calls=[call("read_file", path="long.txt") for _ in range(3)]), "Done.")
        await session.ask("calculate")
        counted: list[int] = []
        count = bench.engine.count

        async def counting(*arguments: Any) -> TokenCount:
            counted.append((made := await count(*arguments)).total)
            return made

        monkeypatch.setattr(bench.engine, "count", counting)
        changed = await session.room.trim("1")
        assert len(changed) == 3
        assert len(counted) == 1 + 3
        steps = [before - after for before, after in pairwise(counted)]
        assert [view.tokens - now for view, now in changed] == steps

    bench.play(scene, samples)


def test_results_are_trimmed_and_the_record_keeps_all(bench: Bench, samples: InProcessRunner) -> None:
    async def scene(session: Session) -> None:
        await call_twice(session, bench.engine)
        short, long = await session.room.results()
        assert (short.place, long.place, long.name) == ("1.1", "1.2", "read_file")
        whole = session.conversation.history[0].results[1].content
        ((cut, now),) = await session.room.trim("1.2", 80)
        assert (cut.place, now <= 90, cut.tokens > 100) == ("1.2", True, True)
        sent = session.conversation.history[0].results[1].content
        assert "characters are left out here; the whole is in" in sent
        # A second time there is nothing to be gained, and of a short result nothing ever is.
        assert await session.room.trim("1.2", 80) == []
        assert await session.room.trim("1.1") == []
        assert [one.place for one, _ in await session.room.trim("1")] == ["1.2"]
        dropped = session.conversation.history[0].results[1].content
        assert dropped.startswith("[the user has dropped this result")
        assert session.last_results[1].content == whole
        story = turn_json(session.transcript.turns[0])
        assert [step.get("trimmed") for step in story["steps"] if step["type"] == "call"] == [None, dropped]
        assert story["steps"][1]["result"] == whole
        with pytest.raises(UsageError, match="no result 2"):
            await session.room.trim("2")
        session.room.undo_edit()
        assert session.conversation.history[0].results[1].content == sent
        session.room.undo_edit()
        assert session.conversation.history[0].results[1].content == whole

    bench.play(scene, samples)
    assert [type(edit) for edit in edits(bench)] == [ResultTrimmed, ResultTrimmed, EditUndone, EditUndone]


def test_a_turn_that_is_kept_is_neither_set_aside_nor_summed_up_before_others(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a", "b", "c", "d")
        assert session.room.keep(None) == 4
        assert session.room.keep(2) == 2
        assert session.room.keep(2) == 2
        assert session.room.keep(4, False) == 4
        bench.engine.enqueue(SUMMARY)
        assert (await session.room.compact()).turns == (1, 3)
        assert [turn.number for turn in session.conversation.history] == [5, 2, 4]
        view = await session.room.view()
        assert [(turn.number, turn.kept, turn.is_summary) for turn in view.turns] == [
            *((5, False, True), (2, True, False), (4, False, False)),
        ]
        with pytest.raises(UsageError, match="no turn 9"):
            session.room.keep(9)

    bench.play(scene)
    assert edits(bench)[:3] == [TurnKept(4, True), TurnKept(2, True), TurnKept(4, False)]


def test_any_turn_can_be_gone_back_to_and_on_from(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a", "b")
        session.undo()
        await talk(session, bench.engine, "c")
        session.room.branch(2)
        assert (session.conversation.numbers, session.last_answer) == ((1, 2), LONG)
        await talk(session, bench.engine, "d")
        assert [one for one in bench.sent() if one != LONG] == ["Be brief.", "a", "b", "d"]
        assert [turn.question for turn in session.transcript.turns] == ["a", "b", "d"]
        session.room.branch(0)
        assert (session.conversation.turns, session.last_answer) == (0, "")
        assert session.room.undo_edit() == "branch"
        for number in (4, 9):
            with pytest.raises(UsageError, match=f"turn {number}.*; /branch lists"):
                session.room.branch(number)

    bench.play(scene)
    assert edits(bench) == [TurnUndone(2), Branched(2), Branched(0), EditUndone()]


def test_all_of_it_comes_back_when_the_session_goes_on(bench: Bench, samples: InProcessRunner, tmp_path: Path) -> None:
    async def scene(session: Session) -> None:
        await call_twice(session, bench.engine)
        await session.room.trim("1.2")
        await talk(session, bench.engine, "a", "b", "c", "d")
        session.room.keep(2)
        bench.engine.enqueue(SUMMARY)
        await session.room.compact()
        session.undo()
        await talk(session, bench.engine, "e")

    bench.play(scene, samples)
    left = bench.session
    shown: list[events.Event] = []

    async def again() -> None:
        opened = open_session_of(tmp_path / "sessions", "last")
        engine = ScriptedEngine()
        session = Session(Settings(), "scripted", engine, tmp_path / "sessions", shown.append, opened=opened)
        session.show_past()
        session.equip(ToolRunner.none())
        assert session.conversation == left.conversation
        assert session.conversation == fold(left._stream.record.events() or opened.history)
        # The summary is among the last turns, and shown again.
        shown_edits = [event.body.edit for event in shown if isinstance(event.body, events.HistoryEdited)]
        assert [edit.text for edit in shown_edits if isinstance(edit, TurnsSummarised)] == [SUMMARY]
        await session.launch()
        await session.ready()
        assert [turn.number for turn in session.conversation.history] == [6, 2, 7]
        session.undo()
        assert session.room.undo_edit() == "retry"
        session.room.branch(4)
        engine.enqueue("Again.")
        await session.ask("and now?")
        assert [message.content for message in engine.requests[-1].messages if message.content != LONG][-3:] == [
            *("b", "c", "and now?"),
        ]
        await session.close()

    asyncio.run(again())


def test_what_fills_the_context_is_what_the_engine_counts(bench: Bench, samples: InProcessRunner) -> None:
    async def scene(session: Session) -> None:
        assert (await session.room.view()).cached is None
        await call_twice(session, bench.engine)
        view = await session.room.view()
        count = await bench.engine.count(session.conversation.messages, session.tools.offered())
        results = sum(one.tokens for one in view.results)
        tools = dict(view.tools)
        assert tools.keys() == set(samples.toolbox.names)
        messages = view.system + view.questions + view.answers + view.summaries + results
        assert messages + sum(tools.values()) + view.format == view.total == count.total
        assert view.free == 8192 - count.total

    bench.play(scene, samples)


def test_of_the_cache_it_is_told_what_the_engine_bears_out(bench: Bench, samples: InProcessRunner) -> None:
    async def scene(session: Session) -> None:
        await talk(session, bench.engine, "a")
        # The scripted tokenizer is v13: tools stand ahead, and all up to the answer was there before.
        view = await session.room.view()
        assert view.cached == view.total
        session.tools.switch("calculate", False)
        assert ((await session.room.view()).cached or 0) < 100
        session.tools.switch("calculate", True)
        # This engine has found nothing in its cache the second time.
        await talk(session, bench.engine, "b")
        assert (await session.room.view()).cached is None
        session.room.see(events.RoundFinished(FinishReason.STOP, Usage(500, 400, 5)))
        view = await session.room.view()
        assert view.cached == view.total

    bench.play(scene, samples)


def test_without_a_model_nothing_can_be_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    async def scene(session: Session) -> None:
        bench.engine.info = None
        works: list[Any] = [session.room.view, session.room.compact]
        for work in works:
            with pytest.raises(UsageError, match="the model is not loaded yet"):
                await work()

    bench.play(scene)

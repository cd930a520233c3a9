from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inprocess_tools import InProcessRunner
from session_bench import Bench, Model, settled

from toolchat.chat.fold import fold
from toolchat.cli.approval import make_policy
from toolchat.engine.base import EngineInfo
from toolchat.engine.scripted import Answer, call
from toolchat.session.session import Session
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.toolbox import Approval
from toolchat.wire import events
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import Cleared, SystemChanged, ToolsChanged, TurnStatus, TurnUndone
from toolchat.wire.messages import Image, UserMessage

IMAGE = Image("image/png", "AAAA", 1, 1, "dot.png")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, system="Be brief.")


@pytest.fixture
def samples() -> InProcessRunner:
    return InProcessRunner(load_tools(sample_tools_path()))


def test_undo_takes_the_last_turn_back_and_gives_its_question(bench: Bench) -> None:
    bench.engine.enqueue("One.", "Two.", "Three.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        assert bench.engine.info is not None
        bench.engine.info = replace(bench.engine.info, supports_images=True)
        await session.ask("second", [IMAGE])
        assert session.conversation.turns == 2
        undone = session.undo()
        assert undone is not None
        assert (undone.content, [replace(image, file="") for image in undone.images]) == ("second", [IMAGE])
        assert (session.conversation.turns, session.last_answer) == (1, "One.")
        await session.ask("third")

    bench.play(scene)
    assert bench.sent() == ["Be brief.", "first", "One.", "third"]
    assert bench.edits() == [TurnUndone(2)]


def test_undo_without_a_turn_is_nothing_and_leaves_no_trace(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        assert session.undo() is None

    bench.play(scene)
    assert bench.edits() == []


def test_clear_forgets_the_turns_and_keeps_the_system_prompt_and_the_record(bench: Bench) -> None:
    bench.engine.enqueue("One.", "Two.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        session.clear()
        assert (session.conversation.turns, session.last_answer, session.conversation.system) == (0, "", "Be brief.")
        session.clear()
        await session.ask("second")

    bench.play(scene)
    assert bench.sent() == ["Be brief.", "second"]
    assert bench.edits() == [Cleared()]
    assert events.QuestionAsked("first") in [event.body for event in bench.recorded()]


def test_the_system_prompt_counts_from_the_next_turn_on(bench: Bench) -> None:
    bench.engine.enqueue("One.", "Two.", "Three.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        session.system_prompt.set("Be long.")
        assert session.conversation.system == "Be long."
        await session.ask("second")
        assert bench.sent() == ["Be long.", "first", "One.", "second"]
        session.system_prompt.set(None)
        await session.ask("third")

    bench.play(scene)
    assert bench.sent() == ["first", "One.", "second", "Two.", "third"]
    assert bench.edits() == [SystemChanged("Be long."), SystemChanged(None)]


def test_a_tool_that_is_off_is_not_offered_and_a_call_of_it_is_unknown(bench: Bench, samples: InProcessRunner) -> None:
    bench.engine.enqueue(Answer(calls=[call("calculate", expression="1+1")]), "I cannot.", "Now I can.")

    async def scene(session: Session) -> None:
        session.tools.switch("calculate", False)
        session.tools.switch("calculate", False)
        await session.ask("1+1?")
        assert "calculate" not in [tool.name for tool in bench.engine.requests[-1].tools]
        assert 'there is no tool "calculate"' in bench.sent()[-1]
        assert (session.tools.switched_off, session.last_results[0].content) == ({"calculate"}, bench.sent()[-1])
        session.tools.switch("calculate", True)
        await session.ask("and now?")

    bench.play(scene, samples)
    # In the file's order, so that the prompt is the one from before.
    assert [tool.name for tool in bench.engine.requests[-1].tools] == list(samples.toolbox.names)
    without = tuple(spec for spec in samples.toolbox.specs if spec.name != "calculate")
    assert bench.edits() == [ToolsChanged(without), ToolsChanged(samples.toolbox.specs)]


@pytest.mark.parametrize("name", ["calculat", "nothing"])
def test_a_tool_that_there_is_not_cannot_be_switched(bench: Bench, samples: InProcessRunner, name: str) -> None:
    async def scene(session: Session) -> None:
        with pytest.raises(UsageError) as caught:
            session.tools.switch(name, False)
        hint = (
            'did you mean "calculate"?'
            if name == "calculat"
            else f"the tools are {', '.join(session.tools.toolbox.names)}"
        )
        assert str(caught.value) == f"there is no tool {name}; {hint}"

    bench.play(scene, samples)
    assert bench.edits() == []


def test_what_becomes_of_calls_is_the_policys_word(
    bench: Bench, samples: InProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def scene(session: Session) -> None:
        session.equip(samples, make_policy(deny=["calculate"]))
        said = {tool.name: session.tools.approval(tool) for tool in session.tools.toolbox.tools}
        assert said.pop("calculate") is Approval.DENY
        assert set(said.values()) == {Approval.ALLOW}

    bench.play(scene, samples)


def test_without_tools_the_error_says_so(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        with pytest.raises(UsageError, match="there is no tool add; there are no tools"):
            session.tools.switch("add", True)

    bench.play(scene)


def test_the_last_answer_is_what_came_after_the_last_call(bench: Bench, samples: InProcessRunner) -> None:
    bench.engine.enqueue(
        Answer(text="Let me see.", calls=[call("calculate", expression="1+1")]),
        Answer(text=["It ", "is ", "2."]),
        Answer(text="Again.", calls=[call("calculate", expression="2+2")]),
        "",
    )

    async def scene(session: Session) -> None:
        await session.ask("1+1?")
        assert session.last_answer == "It is 2."
        await session.ask("2+2?")
        assert session.last_answer == "Again."

    bench.play(scene, samples)


def test_results_are_those_of_the_last_turn_that_had_any_in_call_order(bench: Bench, samples: InProcessRunner) -> None:
    calls = [call("calculate", expression="1+1"), call("no_such_tool"), call("calculate", expression="2+3")]
    bench.engine.enqueue(Answer(calls=calls), "Done.", "Nothing to do.")

    async def scene(session: Session) -> None:
        await session.ask("sums")
        await session.ask("thanks")
        assert [result.call_id for result in session.last_results] == [item.id for item in calls]
        assert [result.content for result in session.last_results][::2] == ["2", "5"]
        session.clear()
        assert session.last_results == ()

    bench.play(scene, samples)


def test_results_are_there_while_their_turn_goes_on(bench: Bench, samples: InProcessRunner) -> None:
    bench.engine.enqueue(
        Answer(calls=[call("calculate", expression="1+1")]), Answer(text=["Half of", *[" it"] * 500], delay=0.01)
    )

    async def scene(session: Session) -> None:
        asking = asyncio.create_task(session.ask("one"))
        await bench.begun.wait()
        assert [result.content for result in session.last_results] == ["2"]
        session.interrupt()
        await asking
        assert [result.content for result in session.last_results] == ["2"]

    bench.play(scene, samples)


def test_results_of_a_turn_that_is_taken_back_are_gone(bench: Bench, samples: InProcessRunner) -> None:
    for sum_ in ("1+1", "2+3"):
        bench.engine.enqueue(Answer(calls=[call("calculate", expression=sum_)]), "Done.")

    async def scene(session: Session) -> None:
        await session.ask("one")
        await session.ask("two")
        session.undo()
        assert [result.content for result in session.last_results] == ["2"]
        session.undo()
        assert session.last_results == ()

    bench.play(scene, samples)


def test_the_context_in_use_counts_the_reasoning_effort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, reasoning_effort="high")
    efforts: list[str | None] = []
    count = bench.engine.count

    async def counting(messages: Any, tools: Any, reasoning_effort: str | None = None) -> Any:
        efforts.append(reasoning_effort)
        return await count(messages, tools, reasoning_effort)

    monkeypatch.setattr(bench.engine, "count", counting)

    async def scene(session: Session) -> None:
        session.system_prompt.set("Be brief.")
        await settled()

    bench.play(scene)
    assert efforts == ["high"]


def test_a_result_that_the_model_is_shown_a_part_of_is_there_in_full(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "much_text.py").write_text('def much() -> str:\n    """Say much."""\n    return "word " * 20000\n')
    (tmp_path / "tools.yaml").write_text("version: 1\ntools:\n  - callable: much_text:much\n")
    bench.engine.enqueue(Answer(calls=[call("much")]), "Much.")

    async def scene(session: Session) -> None:
        await session.ask("much?")
        assert "characters are left out here" in bench.sent()[-1]
        assert session.last_results[0].content == "word " * 20000

    bench.play(scene, InProcessRunner(load_tools(tmp_path / "tools.yaml")))


def test_a_refused_question_changes_neither_answer_nor_turns(bench: Bench) -> None:
    bench.engine.enqueue("One.", Answer(error=EngineError("too long")))

    async def scene(session: Session) -> None:
        await session.ask("first")
        with pytest.raises(EngineError):
            await session.ask("second")
        assert (session.conversation.turns, session.last_answer) == (1, "One.")
        assert session.undo() == UserMessage("first")
        assert session.last_answer == ""

    bench.play(scene)


def test_the_context_in_use_follows_every_edit(bench: Bench, samples: InProcessRunner) -> None:
    bench.engine.enqueue("One.", "Two.")

    async def scene(session: Session) -> None:
        async def counted() -> int:
            await settled()
            tools = [tool.spec for tool in session.tools.toolbox.tools if tool.name not in session.tools.switched_off]
            assert session.room.used_tokens == (await bench.engine.count(session.conversation.messages, tools)).total
            return session.room.used_tokens

        assert session.room.used_tokens == 0
        await session.ask("first")
        first = await counted()
        await session.ask("second")
        assert await counted() > first
        session.undo()
        assert await counted() == first
        session.tools.switch("calculate", False)
        assert await counted() < first
        session.system_prompt.set("Be much more detailed than that, please.")
        longer = await counted()
        session.clear()
        assert 0 < await counted() < longer

    bench.play(scene, samples)


def test_an_engine_that_dies_between_turns_is_told_of_once(bench: Bench) -> None:
    bench.engine.enqueue("One.", Answer(text="Half", crash=True))

    async def scene(session: Session) -> None:
        # As the program begins; the bench's engine is ready already.
        await session.launch()
        await session.ready()
        await session.ask("first")
        bench.engine.death.set()
        await settled()
        assert bench.states()[-1][0] == "crashed"
        await session.launch()
        await session.ready()
        await session.ask("second")
        bench.engine.death.set()
        await settled()

    bench.play(scene)
    assert [state for state, _ in bench.states()].count("crashed") == 2


def test_giving_up_waiting_does_not_give_up_loading(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        bench.engine.info = None
        await session.launch()
        waiting = asyncio.create_task(session.ready())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        await session.ready()
        assert session.info is not None

    bench.play(scene)
    assert bench.engine.starts == 2


def test_a_killed_engine_ends_the_turn_and_launch_starts_anew(bench: Bench) -> None:
    bench.engine.enqueue(Answer(text=["Half of", *[" it"] * 500], delay=0.01), "Two.")

    async def scene(session: Session) -> None:
        asking = asyncio.create_task(session.ask("first"))
        await bench.begun.wait()
        session.kill()
        session.kill()
        assert (await asking).status is TurnStatus.ENGINE_FAILED
        assert session.info is None
        await session.launch()
        await session.ready()
        await session.ask("second")

    bench.play(scene)
    assert bench.sent()[-1] == "second"
    assert bench.sent()[2].endswith("[interrupted]")
    assert bench.notices() == ["the engine is ended, since it did not answer"]


def test_killing_an_engine_that_loads_ends_the_wait_for_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(session: Session) -> None:
        start = bench.engine.start

        async def hangs() -> object:
            await asyncio.sleep(600)
            yield

        monkeypatch.setattr(bench.engine, "start", hangs)
        await session.launch()
        waiting = asyncio.create_task(session.ready())
        await settled()
        session.kill()
        with pytest.raises(EngineError, match="its loading was stopped"):
            await waiting
        monkeypatch.setattr(bench.engine, "start", start)
        await session.launch()
        await session.ready()
        assert isinstance(session.info, EngineInfo)

    bench.play(scene)


def test_every_event_of_an_edit_is_on_disk_before_it_is_shown(bench: Bench) -> None:
    bench.engine.enqueue("One.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        session.undo()
        session.system_prompt.set(None)

    bench.play(scene)
    assert [event.sequence for event in bench.recorded()] == list(range(len(bench.shown)))


def test_the_record_of_a_session_folds_into_its_conversation(bench: Bench, samples: InProcessRunner) -> None:
    called = Answer(calls=[call("calculate", expression="6*7")])
    bench.engine.enqueue("One.", "Two.", Answer(error=EngineError("no")), "Four.", called, Answer("It", crash=True))
    bench.models["other"] = Model("other")
    bench.models["other"].scripted.enqueue("It is 42.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        session.system_prompt.set("Be kind.")
        await session.ask("second")
        session.undo()
        with pytest.raises(EngineError):
            await session.ask("third")
        session.tools.switch("calculate", False)
        bench.fails_at = events.TextDelta
        with pytest.raises(BrokenPipeError):
            await session.ask("fourth")
        bench.fails_at = None
        session.tools.switch("calculate", True)
        await session.ask("6*7?")
        await session.change_model("other")
        await session.ready()
        assert session.can_retry_round
        assert (await session.retry_round()).status is TurnStatus.ANSWERED
        assert (session.last_answer, [one.content for one in session.last_results]) == ("It is 42.", ["42"])

    bench.play(scene, samples)
    conversation = bench.session.conversation
    assert [message.content for message in conversation.messages] == [
        *("Be kind.", "first", "One.", "6*7?", "", "42", "It is 42.")
    ]
    recorded = bench.recorded()
    assert fold(recorded) == conversation
    assert [event.sequence for event in recorded] == list(range(len(recorded)))
    (started,) = (event.body for event in recorded if isinstance(event.body, events.SessionStarted))
    assert (started.system, started.settings["max_tokens"]) == ("Be brief.", 8192)
    edits = [event.body.edit for event in recorded if isinstance(event.body, events.HistoryEdited)]
    assert edits[0] == ToolsChanged(samples.toolbox.specs)
    assert edits[0].tools[0].parameters["properties"]


def test_a_question_that_never_began_takes_no_earlier_turn_back(bench: Bench) -> None:
    bench.engine.enqueue("One.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        with pytest.raises(ValueError, match="needs text"):
            await session.ask(" ")
        assert fold(session.record.events()) == session.conversation
        assert session.conversation.turns == 1

    bench.play(scene)
    assert bench.edits() == []


def test_a_tools_tokens_are_the_models_own_count_and_unknown_while_there_is_no_model(
    bench: Bench, samples: InProcessRunner
) -> None:
    tool = samples.toolbox.tools[0]
    assert asyncio.run(bench.session.room.tool_tokens(tool.spec)) is None
    counted = []

    async def scene(session: Session) -> None:
        counted.append(await session.room.tool_tokens(tool.spec))

    bench.play(scene, samples)
    assert counted == [len(json.dumps(tool.parameters)) // 4]

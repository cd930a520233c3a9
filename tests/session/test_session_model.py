from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from session_bench import Bench, Model, settled

from toolchat.engine.scripted import Answer
from toolchat.models.choice import ModelChoice
from toolchat.models.hub import RemoteSize
from toolchat.session.background import in_background
from toolchat.session.engines import LocalEngines
from toolchat.session.session import Session
from toolchat.session.startup import Plan
from toolchat.settings import Settings
from toolchat.wire.errors import EngineError, UsageError
from toolchat.wire.events import EngineState, ModelChanged


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.models["other"] = Model("other", settings=Settings(max_tokens=77), notice="other is the hub's")
    return bench


def test_another_model_goes_on_with_the_conversation_and_its_own_defaults(bench: Bench) -> None:
    bench.engine.enqueue("One.")
    other = bench.models["other"].scripted
    other.enqueue("Two.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        await session.change_model("other")
        assert (session.model, bench.engine.closed) == ("other", True)
        await session.ready()
        await session.ask("second")

    bench.play(scene)
    (request,) = other.requests
    assert [message.content for message in request.messages] == ["first", "One.", "second"]
    assert request.options.max_tokens == 77
    assert (other.starts, other.closed) == (1, True)
    assert bench.notices() == ["other is the hub's"]
    assert [edit.model for edit in bench.edits() if isinstance(edit, ModelChanged)] == ["other"]


def test_a_model_that_there_is_not_leaves_the_old_one_running(bench: Bench) -> None:
    bench.engine.enqueue("One.")
    bench.stages = ("fetching",)

    async def scene(session: Session) -> None:
        with pytest.raises(UsageError, match="--model nothing"):
            await session.change_model("nothing")
        assert (session.model, session.info is not None) == ("scripted", True)
        await session.ask("first")

    bench.play(scene)
    assert bench.engine.starts == 1
    # What was said of fetching must not be the last that a toolbar hears.
    assert bench.states()[-2:] == [("fetching", "nothing"), ("ready", "scripted")]
    assert bench.edits() == []


def test_after_a_load_and_a_change_that_both_failed_the_model_can_be_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.engine.enqueue("One.")
    bench.stages = ("fetching",)
    start, attempts = bench.engine.start, []

    async def second_fails() -> AsyncIterator[EngineState]:
        attempts.append(1)
        if len(attempts) == 2:
            bench.engine.info = None
            raise EngineError("no memory left")
        async for state in start():
            yield state

    monkeypatch.setattr(bench.engine, "start", second_fails)

    async def scene(session: Session) -> None:
        await session.launch()
        with pytest.raises(EngineError, match="no memory left"):
            await session.ready()
        with pytest.raises(UsageError, match="--model nothing"):
            await session.change_model("nothing")
        assert bench.states()[-2:] == [("fetching", "nothing"), ("not loaded", "scripted")]
        assert (session.loading, session.info is not None) == (False, False)
        await session.launch()
        await session.ready()
        await session.ask("first")

    bench.play(scene)
    assert len(attempts) == 3


def test_the_old_engine_runs_until_the_new_ones_files_are_here(bench: Bench) -> None:
    alive: list[bool] = []
    bench.models["other"].on_engine = lambda: alive.append(bench.session.info is not None)

    async def scene(session: Session) -> None:
        await session.change_model("other")
        await session.ready()

    bench.play(scene)
    assert alive == [True]


def test_where_memory_is_lacking_the_old_engine_makes_room(bench: Bench) -> None:
    alive: list[bool] = []
    bench.models["other"].on_engine = lambda: alive.append(bench.session.info is not None)
    bench.models["other"].fails = [EngineError("not enough memory")]

    async def scene(session: Session) -> None:
        await session.change_model("other")
        await session.ready()
        assert session.model == "other"

    bench.play(scene)
    assert alive == [True, False]
    assert bench.engine.starts == 1


def test_where_there_is_no_room_either_the_old_engine_loads_again(bench: Bench) -> None:
    bench.models["other"].fails = [EngineError("not enough memory")] * 2
    bench.engine.enqueue("One.", "Two.")

    async def scene(session: Session) -> None:
        await session.ask("first")
        with pytest.raises(EngineError, match="not enough memory"):
            await session.change_model("other")
        await session.ready()
        await session.ask("second")
        assert session.model == "scripted"

    bench.play(scene)
    assert bench.engine.starts == 2
    assert bench.sent() == ["first", "One.", "second"]
    assert bench.edits() == []


def test_a_setting_that_the_model_cannot_have_does_not_even_stop_the_old_one(bench: Bench) -> None:
    bench.models["other"].fails = [UsageError("--context 9000: the model other knows at most 4096 tokens")]

    async def scene(session: Session) -> None:
        with pytest.raises(UsageError, match="--context 9000"):
            await session.change_model("other")
        assert session.info is not None

    bench.play(scene)
    assert bench.engine.starts == 1


def test_who_waits_for_the_old_model_waits_on_for_the_new_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(session: Session) -> None:
        async def hangs() -> object:
            await asyncio.sleep(600)
            yield

        monkeypatch.setattr(bench.engine, "start", hangs)
        await session.launch()
        waiting = asyncio.create_task(session.ready())
        await settled()
        await session.change_model("other")
        await waiting
        assert (session.info is not None, session.model) == (True, "other")

    bench.play(scene)


def test_a_failed_load_can_be_followed_by_another_model(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.models["other"].scripted.enqueue("Two.")

    async def scene(session: Session) -> None:
        async def fails() -> object:
            raise EngineError("no memory left")
            yield

        bench.engine.info = None
        monkeypatch.setattr(bench.engine, "start", fails)
        await session.launch()
        with pytest.raises(EngineError, match="no memory left"):
            await session.ready()
        assert bench.states()[-1] == ("failed", "no memory left")
        await session.change_model("other")
        await session.ready()
        await session.ask("first")

    bench.play(scene)


def test_the_model_cannot_be_changed_while_a_turn_is_under_way(bench: Bench) -> None:
    bench.engine.enqueue(Answer(text=["Once ", *["and "] * 500], delay=0.01))

    async def scene(session: Session) -> None:
        asking = asyncio.create_task(session.ask("a story"))
        await bench.begun.wait()
        with pytest.raises(UsageError, match="a turn is under way"):
            await session.change_model("other")
        session.interrupt()
        await asking

    bench.play(scene)
    assert bench.engine.starts == 1


def plan(**flags: str) -> Plan:
    return Plan(
        Settings(), ModelChoice("demo", "demo", None), Path(), LocalEngines("cpu"), None, debug=False, flags=flags
    )


def test_a_plan_for_another_model_keeps_the_flags_and_drops_the_other_ones_defaults(model_folder: Path) -> None:
    first = plan(model="demo", temperature="0.5", tools="mine.yaml")
    changed = asyncio.run(first.with_model(str(model_folder), lambda _: None))
    assert (changed.model, changed.folder) == (str(model_folder), model_folder)
    assert (changed.settings.max_tokens, changed.settings.temperature) == (8192, 0.5)
    assert changed.settings.tools == "mine.yaml"


def test_a_reasoning_effort_that_the_model_has_not_is_dropped(model_folder: Path) -> None:
    first = plan(reasoning_effort="high")
    assert asyncio.run(first.with_model(str(model_folder), lambda _: None)).settings.reasoning_effort is None
    (model_folder / "tekken.json").write_text(
        '{"model_settings_builder": {"reasoning_effort": {"values": ["none", "high"]}}}'
    )
    assert asyncio.run(first.with_model(str(model_folder), lambda _: None)).settings.reasoning_effort == "high"


def test_what_belongs_to_the_model_that_the_chat_began_with_stays_with_it(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path
) -> None:
    chosen: list[tuple[str, str | None]] = []

    def choose(name: str, cache: Path, revision: str | None) -> ModelChoice:
        chosen.append((name, revision))
        return ModelChoice(name, "hub", model_folder)

    monkeypatch.setattr("toolchat.session.startup.choose_model", choose)
    first = plan(model="a/b", revision="v1", lora="mine=/x", quantization="awq", seed="3")
    other = asyncio.run(first.with_model("c/d", lambda _: None)).settings
    assert (other.revision, other.lora, other.quantization, other.seed) == (None, None, None, 3)
    back = asyncio.run(first.with_model("a/b", lambda _: None)).settings
    assert (back.revision, back.lora, back.quantization) == ("v1", "mine=/x", "awq")
    assert chosen == [("c/d", None), ("a/b", "v1")]


def test_what_has_to_be_made_tells_its_stages(monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    def obtain(choice: ModelChoice, cache: Path, progress: Callable[[str, float], None], before: object) -> Path:
        for stage, fraction in (("downloading", 0.0), ("downloading", 0.104), ("merging", 0.9)):
            progress(stage, fraction)
        return model_folder

    monkeypatch.setattr("toolchat.session.startup.obtain", obtain)
    stages: list[str] = []
    changed = asyncio.run(plan().with_model("demo", stages.append))
    assert stages == ["building", "building", "building (10 %)", "building (90 %)"]
    assert (changed.folder, changed.settings.max_tokens) == (model_folder, 512)


def test_what_has_to_be_fetched_tells_its_size_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path
) -> None:
    def obtain(
        choice: ModelChoice,
        cache: Path,
        progress: Callable[[str, float], None],
        before: Callable[[RemoteSize], None],
    ) -> Path:
        before(RemoteSize(choice.name, 14_000_000_000, 500_000_000, 0, Path("/cache"), 80_000_000_000))
        progress("fetching 3.2 of 14.5 GB", 0.22)
        return model_folder

    monkeypatch.setattr("toolchat.session.startup.obtain", obtain)
    stages: list[str] = []
    asyncio.run(plan().with_model("mistralai/Tiny", stages.append))
    assert stages == [
        "asking the hub",
        "14.5 GB to fetch into /cache, 80 GB free",
        "fetching 3.2 of 14.5 GB (22 %)",
    ]


def test_work_that_nobody_waits_for_any_more_is_stopped_where_it_tells_how_far_it_is() -> None:
    begun, stopped = threading.Event(), threading.Event()

    def work(tell: Callable[[str], None]) -> None:
        try:
            for number in range(10**6):
                tell(f"at {number}")
                begun.set()
                stopped.wait(0.001)
        finally:
            stopped.set()

    async def scene() -> None:
        task = asyncio.create_task(in_background(work))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())
    assert stopped.wait(10)


def test_work_in_the_background_does_not_keep_the_program_from_ending() -> None:
    begun, gate = threading.Event(), threading.Event()

    def work(_: object) -> None:
        begun.set()
        gate.wait(60)

    async def given_up() -> None:
        task = asyncio.create_task(in_background(work))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    try:
        # asyncio.run waits for the threads of to_thread, for as long as they take.
        asyncio.run(asyncio.wait_for(given_up(), 10))
        assert [thread.daemon for thread in threading.enumerate() if thread.name == "background"] == [True]
    finally:
        gate.set()


def test_a_failure_in_the_background_is_raised_where_it_is_waited_for() -> None:
    def fail(_: object) -> None:
        raise EngineError("no space")

    with pytest.raises(EngineError, match="no space"):
        asyncio.run(in_background(fail))

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_worker import COMMAND, COUNT, LOADS

from toolchat.engine.base import ContextOverflowError, EngineCrashedError, GenerateOptions
from toolchat.engine.config import EngineConfig
from toolchat.engine.local import LOGS_KEPT, LocalEngine
from toolchat.wire.deltas import Delta, Finished, FinishReason, Text
from toolchat.wire.errors import EngineError
from toolchat.wire.messages import UserMessage

pytestmark = pytest.mark.process

CONFIG = EngineConfig("m", "/models/m", "cpu", 512, None, notes=("a note",))
PATIENCE = 60
"""Seconds, after which whatever is waited for is taken to hang; each takes a part of one."""
GARBAGE = [
    "raw {",
    "raw \xff\xfe",
    "raw [1]",
    "raw 7",
    'raw {"op": "sing"}',
    'raw {"op": "deltas", "id": "one"}',
    'raw {"op": "deltas", "id": "one", "deltas": [{"t": "Text"}]}',
    'raw {"op": "count", "id": "one", "count": {}}',
    'raw {"op": "ready"}',
    "raw " + "[" * 100_000,
]
KINDS = ["no JSON", "no UTF-8", "a list", "a number", "an unknown message", "no deltas", "a delta of half its fields"]
KINDS += ["a count without numbers", "ready without what is known", "too deep"]


def made(tmp_path: Path, loading: str = LOADS) -> LocalEngine:
    return LocalEngine(CONFIG, tmp_path / "logs", worker=(*COMMAND, loading))


@asynccontextmanager
async def loaded(tmp_path: Path, loading: str = LOADS) -> AsyncIterator[LocalEngine]:
    engine = made(tmp_path, loading)
    try:
        async for _ in engine.start():
            pass
        yield engine
    finally:
        await engine.close()


def play(test: Awaitable[None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(PATIENCE):
            await test

    asyncio.run(within())


async def ask(
    engine: LocalEngine, steps: str, request_id: str = "one", on: Callable[[Delta], None] = lambda delta: None
) -> str:
    """The text of the answer, with the reason of its end behind it."""
    text = ""
    async for delta in engine.generate(request_id, [UserMessage(steps)], [], GenerateOptions(max_tokens=8)):
        on(delta)
        match delta:
            case Text(piece):
                text += piece
            case Finished(reason):
                text += f" ({reason})"
    return text


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


async def gone(pid: int) -> None:
    while lives(pid):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def pid_of(engine: LocalEngine) -> int:
    assert engine.pid is not None
    return engine.pid


def test_a_start_tells_its_states_and_then_what_is_known_of_the_model(tmp_path: Path) -> None:
    async def test() -> None:
        engine = made(tmp_path)
        assert engine.info is None
        told = [getattr(event, "state", None) or getattr(event, "text", "") async for event in engine.start()]
        assert told == ["starting", "a note", "importing", "loading weights", "ready"]
        assert engine.info is not None
        assert (engine.info.model, engine.info.context_window, engine.info.reasoning_efforts) == (
            "m",
            512,
            ("none", "high"),
        )
        await engine.close()

    play(test())


def test_closing_ends_the_process_and_what_it_left_and_may_be_done_again(tmp_path: Path) -> None:
    async def test() -> None:
        child = tmp_path / "child"
        async with loaded(tmp_path, f"leave {child}; {LOADS}") as engine:
            assert engine.info is not None
            temporary = Path(engine.info.details["temporary folder"])
            pid = pid_of(engine)
            assert lives(pid)
            assert temporary.is_dir()  # noqa: ASYNC240
            await asyncio.gather(engine.close(), engine.close())
            assert (engine.info, engine.pid) == (None, None)
            assert not lives(pid)
            await gone(int(child.read_text()))  # killed, and perhaps still dying
            assert not temporary.exists()  # noqa: ASYNC240
            await engine.close()
            with pytest.raises(EngineCrashedError, match="not running"):
                await ask(engine, "say One.; finish")
            async for _ in engine.start():
                pass
            assert await ask(engine, "say One.; finish") == "One. (stop)"

    play(test())


@pytest.mark.parametrize("before", ["", "state importing; ", "state importing; state loading weights; "])
@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("exit 3", "its process ended with 3"),
        ("signal 9", r"killed by SIGKILL \(out of memory\?\)"),
        ("signal 40", "killed by signal 40"),
        ("failed no weights; exit 1", "no weights"),
        ('half {"op": "sta; signal 9', r"killed by SIGKILL \(out of memory\?\)"),
        ("raw {", "its process sent what cannot be understood: JSONDecodeError: .*"),
    ],
)
def test_a_worker_that_ends_while_it_loads_fails_the_start_with_how_it_ended(
    before: str, end: str, how: str, tmp_path: Path
) -> None:
    async def test() -> None:
        engine = made(tmp_path, before + end)
        with pytest.raises(EngineError, match=rf"^m could not be loaded: {how}; its log is /.*\.log$"):
            async for _ in engine.start():
                pass
        assert (engine.info, engine.pid) == (None, None)

    play(test())


def test_a_worker_that_closes_its_socket_while_it_loads_and_goes_on_is_ended(tmp_path: Path) -> None:
    async def test() -> None:
        engine = made(tmp_path, "state importing; close")
        with pytest.raises(EngineError, match="could not be loaded: its process closed its socket and did not end;"):
            async for _ in engine.start():
                pass

    play(test())


@pytest.mark.parametrize("garbage", GARBAGE, ids=KINDS)
def test_garbage_on_the_channel_fails_the_request_ends_the_worker_and_nothing_hangs(
    garbage: str, tmp_path: Path
) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            pid = pid_of(engine)
            with pytest.raises(EngineCrashedError, match=r"cannot be understood: .*; its log is ") as caught:
                await ask(engine, f"say One.; {garbage}; hang")
            assert "\n" not in str(caught.value)
            assert await engine.ended() == str(caught.value)
            assert engine.info is None
            assert not lives(pid)
            await engine.close()

    play(test())


def test_garbage_fails_a_count_and_a_worker_that_nothing_was_asked_of(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            with pytest.raises(EngineCrashedError, match="cannot be understood"):
                await engine.count([UserMessage("raw {; hang")], [])
        async with loaded(tmp_path, f"{LOADS}; raw {{; hang") as engine:
            assert "cannot be understood" in await engine.ended()

    play(test())


def test_a_line_longer_than_either_side_reads_is_garbage_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            with pytest.raises(EngineCrashedError, match="cannot be understood"):
                await ask(engine, f"endless {65 * 1024**2}; hang")

    play(test())


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("exit 0", "its process ended with 0"),
        ("signal 11", "killed by SIGSEGV"),
        ("failed CUDA error; exit 1", "CUDA error"),
        ('half {"op": "deltas", "id; signal 9', "killed by SIGKILL"),
        ("close", "its process closed its socket and did not end"),
    ],
)
def test_a_worker_that_ends_fails_all_that_is_under_way_and_can_be_started_again(
    end: str, how: str, tmp_path: Path
) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            said: list[str] = []
            other = asyncio.create_task(ask(engine, "say A.; wait", "other", on=lambda delta: said.append("A")))
            answers = await asyncio.gather(ask(engine, f"say One.; {end}"), other, return_exceptions=True)
            for error in answers:
                assert isinstance(error, EngineCrashedError)
                assert str(error) == f"the engine crashed ({how}); its log is {engine.log}"
            assert said
            assert await engine.ended() == str(answers[0])
            with pytest.raises(EngineCrashedError, match="not running"):
                await engine.count([UserMessage("count")], [])
            async for _ in engine.start():
                pass
            assert await ask(engine, "say One.; finish") == "One. (stop)"

    play(test())


def test_a_worker_that_ends_idle_is_told_of(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path, f"{LOADS}; exit 7") as engine:
            assert "its process ended with 7" in await engine.ended()
            assert engine.info is None
            with pytest.raises(EngineCrashedError, match="not running"):
                await ask(engine, "say One.; finish")

    play(test())


def test_no_number_of_a_worker_that_was_waited_for_is_signalled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signalled: list[int] = []
    killpg = os.killpg

    def watched(pid: int, number: int) -> None:
        # Raises where the process was waited for: its number may be anybody's then.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        signalled.append(pid)
        killpg(pid, number)

    monkeypatch.setattr(os, "killpg", watched)

    async def test() -> None:
        for end in ("exit 0", "hang"):
            async with loaded(tmp_path, f"{LOADS}; {end}") as engine:
                pid = pid_of(engine)
                if end == "exit 0":
                    await engine.ended()
                await engine.close()
                await engine.close()
            assert pid in signalled

    play(test())


def test_what_a_worker_that_died_has_left_in_its_group_is_ended_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        child = tmp_path / "child"
        async with loaded(tmp_path, f"leave {child}; {LOADS}; exit 1") as engine:
            await engine.ended()
            await gone(int(child.read_text()))

    play(test())


@pytest.mark.parametrize("hang", ["hang", f"signal {signal.SIGSTOP:d}"])
def test_a_worker_that_hangs_is_ended_by_closing_and_its_requests_are_told(hang: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            pid = pid_of(engine)
            come = asyncio.Event()
            asked = asyncio.create_task(ask(engine, f"say One.; {hang}", on=lambda delta: come.set()))
            await come.wait()
            engine.abort("one")
            counted = asyncio.create_task(engine.count([UserMessage("count")], []))
            await asyncio.wait({asked, counted}, timeout=0.05)
            assert not asked.done()
            assert not counted.done()
            await engine.close()
            assert not lives(pid)
            for error in await asyncio.gather(asked, counted, return_exceptions=True):
                assert isinstance(error, EngineCrashedError)
                assert str(error) == "the engine was closed"

    play(test())


@pytest.mark.parametrize("closes", ["who starts it is cancelled first", "beside who starts it"])
def test_a_worker_that_hangs_while_it_loads_is_ended_by_closing(closes: str, tmp_path: Path) -> None:
    async def test() -> None:
        engine = made(tmp_path, "state importing; hang")
        importing = asyncio.Event()

        async def start() -> None:
            async for state in engine.start():
                if getattr(state, "state", "") == "importing":
                    importing.set()

        starting = asyncio.create_task(start())
        await importing.wait()
        pid = pid_of(engine)
        if closes == "who starts it is cancelled first":
            starting.cancel()
        await engine.close()
        (ended,) = await asyncio.gather(starting, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError | EngineError)
        assert not lives(pid)

    play(test())


def test_a_close_that_is_cancelled_ends_the_worker_all_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            pid = pid_of(engine)
            closing = asyncio.create_task(engine.close())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await gone(pid)

    play(test())


def test_two_requests_are_served_at_once_and_aborting_one_leaves_the_other_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            come = asyncio.Event()
            first = asyncio.create_task(ask(engine, "say A.; wait", "first", on=lambda delta: come.set()))
            await come.wait()
            assert await ask(engine, "say B.; finish", "second") == "B. (stop)"
            assert not first.done()
            engine.abort("nobody")
            engine.abort("first")
            assert await first == f"A. ({FinishReason.ABORT})"
            assert await ask(engine, "say_and_finish C.", "third") == "C. (stop)"

    play(test())


def test_who_stops_listening_aborts_the_request_and_who_has_heard_all_does_not(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            assert await ask(engine, "say B.; finish", "whole") == "B. (stop)"
            left: Any = engine.generate("left", [UserMessage("say A.; wait")], [], GenerateOptions(max_tokens=8))
            async for _ in left:
                break
            await left.aclose()
            heard = (await ask(engine, "heard", "last")).removesuffix(" (stop)")
            assert json.loads(heard) == ["generate whole", "generate left", "abort left", "generate last"]

    play(test())


def test_a_request_that_fails_alone_fails_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as engine:
            with pytest.raises(EngineError, match=r"^no grammar$") as caught:
                await ask(engine, "say A.; error no grammar")
            assert not isinstance(caught.value, EngineCrashedError)
            with pytest.raises(ContextOverflowError, match=r"^too long$") as overflow:
                await ask(engine, "overflow too long")
            assert (overflow.value.count, overflow.value.context_window) == (COUNT, 512)
            with pytest.raises(EngineError, match=r"^no history$"):
                await engine.count([UserMessage("error no history")], [])
            assert await engine.count([UserMessage("count")], []) == COUNT

    play(test())


def test_a_command_that_cannot_be_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def test() -> None:
        engine = LocalEngine(CONFIG, tmp_path / "logs", worker=(str(tmp_path / "nothing"),))
        with pytest.raises(EngineError, match=r"the engine.s process cannot be started: .*No such file"):
            async for _ in engine.start():
                pass
        await engine.close()

    play(test())
    assert [entry.name for entry in tmp_path.iterdir()] == ["logs"]


def test_old_logs_are_deleted_and_one_that_vanishes_meanwhile_stops_no_start(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(LOGS_KEPT + 5):
        file = logs / f"engine-1-{number}.log"
        file.touch()
        os.utime(file, (number, number))
    # Listed, and not there when it is looked at: as a log that another toolchat deletes in between.
    (logs / "engine-0-0.log").symlink_to(tmp_path / "nothing")

    async def test() -> None:
        async with loaded(tmp_path) as engine:
            assert engine.log is not None
            kept = {file.name for file in logs.iterdir() if file.exists()}
            assert kept == {engine.log.name, *(f"engine-1-{number}.log" for number in range(6, LOGS_KEPT + 5))}

    play(test())


def test_an_engine_without_a_place_for_its_log_works_without_one() -> None:
    async def test() -> None:
        async with loaded(Path("/dev/null/logs")) as engine:
            assert engine.log is None
            assert await engine.count([UserMessage("count")], []) == COUNT

    play(test())


def test_two_engines_of_one_process_have_logs_of_their_own(tmp_path: Path) -> None:
    async def test() -> None:
        async with loaded(tmp_path) as one, loaded(tmp_path) as other:
            assert one.log != other.log

    play(test())

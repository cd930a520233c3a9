from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import kept_bench
import pytest
from kept_bench import ask, engine, started

from toolchat.engine.base import EngineCrashedError
from toolchat.engine.config import EngineConfig
from toolchat.engine.kept import control
from toolchat.engine.kept import engine as kept_engine
from toolchat.engine.kept.control import alive, end, kept_workers
from toolchat.engine.kept.engine import KeptEngine
from toolchat.engine.kept.place import folder_for_sockets, note_of, sockets
from toolchat.wire.errors import EngineError

pytestmark = pytest.mark.process

PATIENCE = 60
"""Seconds, after which whatever is waited for is taken to hang; each takes a part of one."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return new_model(tmp_path / "model")


def new_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "params.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def nothing_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test keeps is ended, and has left nothing but its log."""
    scratch = home / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    yield
    for worker in kept_workers():
        end(worker.path)
    folder = home / "toolchat"
    assert [path.name for path in folder.glob("*") if path.suffix != ".lock"] == []
    assert list(scratch.iterdir()) == []


def play(test: Awaitable[None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(PATIENCE):
            await test

    asyncio.run(within())


async def until(what: Callable[[], object]) -> None:
    while not await asyncio.to_thread(what):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@asynccontextmanager
async def loaded(made: KeptEngine) -> AsyncIterator[KeptEngine]:
    try:
        await started(made)
        yield made
    finally:
        await made.close()


def client(model: Path, *questions: str, keep: float = 60.0, name: str = "m") -> subprocess.Popen[str]:
    """A client in a process of its own; its first line is "ready PID"."""
    return subprocess.Popen(
        [sys.executable, kept_bench.__file__, name, str(model), str(keep), *questions],
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_next_command_uses_the_worker_of_the_one_before_and_does_not_load(model: Path) -> None:
    async def test() -> None:
        first = engine("m", model, first_time=lambda: True)
        said = await started(first)
        assert said[:3] == ["starting", "importing", "ready"]
        assert said[3].startswith("m stays loaded for 1 minute after its last use")
        pid = first.pid
        await first.close()
        async with loaded(engine("m", model, first_time=lambda: True)) as second:
            assert second.pid == pid
            assert second.info is not None
            assert second.info.model == "m"
            assert await ask(second, "say Two.; finish") == "Two. (stop)"
        assert await started(second) == ["ready"]
        await second.close()

    play(test())


def test_several_clients_may_use_the_same_ids_at_once_and_abort_their_own_requests_alone(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as one, loaded(engine("m", model)) as two:
            waiting = asyncio.create_task(ask(one, "say A.; wait"))
            assert await ask(two, "say B.; finish") == "B. (stop)"
            other = asyncio.create_task(ask(two, "say C.; wait"))
            await until(lambda: kept_workers()[0].requests == 2)
            two.abort("one")
            assert await other == "C. (abort)"
            assert not waiting.done()
            one.abort("one")
            assert await waiting == "A. (abort)"

    play(test())


def test_a_client_that_is_killed_has_its_requests_aborted_and_disturbs_no_other(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as made:
            killed = client(model, "say A.; wait")
            assert line_of(killed) == f"ready {made.pid}"
            await until(lambda: kept_workers()[0].requests == 1)
            killed.kill()
            killed.communicate()
            await until(lambda: kept_workers()[0].clients == 1)
            heard = json.loads((await ask(made, "heard")).removesuffix(" (stop)"))
            assert heard == ["generate one", "gone", "ended one", "generate one"]
            assert kept_workers()[0].requests == 0

    play(test())


def test_an_idle_worker_ends_within_a_second_of_its_time_and_leaves_nothing(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model, 0.6)) as made:
            path, pid = kept_workers()[0].path, kept_workers()[0].pid
            assert note_of(path).exists()
            await asyncio.sleep(0.7)  # its clock does not run while there is a client
            assert alive(pid)
        closed = time.monotonic()
        await until(lambda: not alive(pid))
        assert 0.5 <= time.monotonic() - closed < 1.6
        assert made.pid is None
        assert not path.exists()

    play(test())


def test_a_client_that_keeps_nothing_uses_what_is_there_and_ends_it_with_itself(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as first:
            pid = first.pid
        async with loaded(engine("m", model, None)) as second:
            assert second.pid == pid
        async with loaded(engine("m", model, 300.0, sets_time=False)):
            pass
        assert kept_workers()[0].keep == 60
        async with loaded(engine("m", model, 0.0)) as third:
            assert third.pid == pid
        assert pid is not None
        await until(lambda: not alive(pid))
        async with loaded(engine("m", model, 0.0)) as alone:
            assert kept_workers() == []
            pid = alone.pid
        assert not alive(pid or 0)

    play(test())


def test_a_smaller_context_attaches_and_keeps_to_its_own_and_a_larger_one_needs_another(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model, context=400)) as first:
            async with loaded(engine("m", model, context=100)) as small:
                assert small.pid == first.pid
                assert small.info is not None
                assert small.info.context_window == 100
                assert (await ask(small, "me")).endswith(" m 100 (stop)")
                assert (await ask(first, "me")).endswith(" m 400 (stop)")
            with pytest.raises(EngineError, match=r"1 command uses m, .*\(process \d+\).*: toolchat ps"):
                await started(engine("m", model, context=1000))
        large = engine("m", model, context=1000)
        assert "m, which was loaded still, is ended to make room" in await started(large)
        assert large.pid != first.pid
        await large.close()

    play(test())


def test_another_model_ends_an_idle_one_and_says_so_but_none_that_is_used(model: Path, tmp_path: Path) -> None:
    other_model = new_model(tmp_path / "other")

    async def test() -> None:
        async with loaded(engine("m", model)) as first:
            pid = first.pid
            with pytest.raises(EngineError, match=r"^other cannot be loaded now: 1 command uses m, .* toolchat ps$"):
                await started(engine("other", other_model))
            assert await ask(first, "say Still.; finish") == "Still. (stop)"
        other = engine("other", other_model)
        assert "m, which was loaded still, is ended to make room" in await started(other)
        assert [worker.model for worker in kept_workers()] == ["other"]
        assert not alive(pid or 0)
        await other.close()

    play(test())


def test_a_command_that_keeps_nothing_needs_no_room_where_the_memory_holds_both(model: Path, tmp_path: Path) -> None:
    other_model = new_model(tmp_path / "other")
    full = True

    def plan() -> EngineConfig:
        if full and kept_workers():
            raise EngineError("not enough memory")
        return EngineConfig("other", str(other_model), "cpu", None, None)

    async def test() -> None:
        nonlocal full
        async with loaded(engine("m", model)):
            with pytest.raises(EngineError, match="toolchat ps"):
                await started(engine("other", other_model, None, plan=plan))
            full = False
            async with loaded(engine("other", other_model, None, plan=plan)) as other:
                assert await ask(other, "say Both.; finish") == "Both. (stop)"
        full = True
        async with loaded(engine("other", other_model, None, plan=plan)):
            assert kept_workers() == []

    play(test())


def test_commands_that_start_at_once_end_as_one_engine(model: Path) -> None:
    async def test() -> None:
        engines = [engine("m", model) for _ in range(4)]
        said = await asyncio.gather(*map(started, engines))
        assert len({made.pid for made in engines}) == 1
        assert sum("importing" in states for states in said) == 1
        assert sum("waiting for another toolchat that loads a model" in states for states in said) == 3
        answers = await asyncio.gather(*(ask(made, f"say {n}.; finish") for n, made in enumerate(engines)))
        assert answers == [f"{n}. (stop)" for n in range(4)]
        for made in engines:
            await made.close()

    play(test())


@pytest.mark.parametrize("loading", ["listen; failed no weights; exit 1", "listen; exit 3"])
def test_a_load_that_fails_is_told_and_the_next_start_is_free(loading: str, model: Path) -> None:
    async def test() -> None:
        with pytest.raises(EngineError, match="m could not be loaded"):
            await started(engine("m", model, loads=loading))
        async with loaded(engine("m", model)) as made:
            assert await ask(made, "say One.; finish") == "One. (stop)"

    play(test())


def test_a_worker_that_was_killed_costs_a_fresh_start(model: Path) -> None:
    async def test() -> None:
        made = engine("m", model)
        await started(made)
        assert made.pid is not None
        os.kill(made.pid, signal.SIGKILL)
        assert "killed by SIGKILL" in await made.ended()
        first = made.pid
        with pytest.raises(EngineCrashedError):
            await ask(made, "say Gone.; finish")
        assert sockets(folder_for_sockets() or Path())  # nobody was left to remove it
        assert "importing" in await started(made)
        assert made.pid not in (None, first)
        await made.close()

    play(test())


def test_a_worker_that_is_asked_by_a_signal_ends_and_leaves_nothing(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as made:
            path, pid = kept_workers()[0].path, made.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        await until(lambda: not alive(pid))
        assert not path.exists()

    play(test())


def test_a_worker_that_dies_fails_the_requests_of_all_its_clients(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as one, loaded(engine("m", model)) as two:
            waiting = asyncio.create_task(ask(one, "say A.; wait"))
            for answer in await asyncio.gather(ask(two, "failed CUDA error; exit 1"), waiting, return_exceptions=True):
                assert isinstance(answer, EngineCrashedError)
                assert "CUDA error" in str(answer)
                assert "its log is " in str(answer)
            assert "CUDA error" in await two.ended()

    play(test())


def test_a_worker_that_does_not_answer_is_ended_and_costs_a_fresh_start(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(kept_engine, "ANSWER_SECONDS", 0.3)

    async def test() -> None:
        async with loaded(engine("m", model)) as first:
            pid = first.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: {path.read_text().split()[2] for path in Path(f"/proc/{pid}/task").glob("*/stat")} == {"T"})
        second = engine("m", model)
        assert "a model, which was loaded still and did not answer, is ended to make room" in await started(second)
        assert not alive(pid)
        assert second.pid != pid
        await second.close()

    play(test())


def test_an_engine_that_hangs_is_ended_by_force_for_all(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as made, loaded(engine("m", model)) as other:
            hanging = asyncio.create_task(ask(made, "hang"))
            await until(lambda: kept_workers()[0].requests == 1)
            pid = made.pid
            await made.stop()
            with pytest.raises(EngineCrashedError):
                await hanging
            assert "toolchat stop" in await other.ended()
            assert not alive(pid or 0)

    play(test())


def test_changed_files_settings_and_variables_have_engines_of_their_own(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        pids = set()
        for change in (
            lambda: None,
            lambda: (model / "params.json").write_text("{ }"),
            lambda: os.utime(model / "params.json", (1, 1)),
            lambda: (model / "tekken.json").write_text("{}"),
            lambda: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1"),
            lambda: monkeypatch.setattr("toolchat.__version__", "99"),
        ):
            change()
            async with loaded(engine("m", model)) as made:
                pids.add(made.pid)
        async with loaded(engine("m", model, settings={"dtype": "float32"})) as made:
            pids.add(made.pid)
        assert len(pids) == 7
        assert len(kept_workers()) == 1

    play(test())


def test_a_model_that_changes_while_it_is_loaded_is_not_kept(model: Path) -> None:
    def plan() -> EngineConfig:
        (model / "params.json").write_text('{"changed": 1}')
        return EngineConfig("m", str(model), "cpu", None, None)

    async def test() -> None:
        made = engine("m", model, plan=plan)
        assert "the model does not stay loaded: its files changed while it was loaded" in await started(made)
        assert kept_workers() == []
        assert await ask(made, "say Once.; finish") == "Once. (stop)"
        pid = made.pid
        await made.close()
        assert not alive(pid or 0)

    play(test())


def test_it_dies_with_its_starter_until_it_is_ready_and_lives_on_its_own_from_then_on(model: Path) -> None:
    async def test() -> None:
        starter = client(model)
        assert starter.stdout is not None
        pid = int(line_of(starter).split()[1])
        starter.kill()
        starter.communicate()
        async with loaded(engine("m", model)) as made:
            assert made.pid == pid

    play(test())


def test_a_worker_whose_starter_is_killed_while_it_loads_dies_too(model: Path, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from pathlib import Path; from kept_bench import engine, started; "
        "made = engine('m', Path(sys.argv[1]), loads='listen; leave ' + sys.argv[2] + '; hang'); "
        "asyncio.run(started(made))"
    )
    note = tmp_path / "child"
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(model), str(note)],
        env={**os.environ, "PYTHONPATH": str(Path(kept_bench.__file__).parent), "TMPDIR": str(tmp_path)},
    )

    async def test() -> None:
        await until(lambda: note.exists() and note.read_text())
        workers = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if parent_of(pid) == starter.pid]  # noqa: PTH208
        starter.kill()
        starter.wait()
        await until(lambda: not any(map(alive, workers)))
        assert workers
        async with loaded(engine("m", model)) as made:  # the lock is free
            assert made.pid

    play(test())
    with suppress(ProcessLookupError):
        os.kill(int(note.read_text()), signal.SIGKILL)


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def test_it_ends_when_its_socket_can_no_longer_be_found_once_nobody_uses_it(model: Path, home: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model, -1.0)) as made:
            pid = made.pid
            (home / "toolchat").rename(home / "gone")
            assert await ask(made, "say Still.; finish") == "Still. (stop)"
        await until(lambda: not alive(pid or 0))

    play(test())


def test_it_holds_no_terminal_no_file_of_the_folder_and_no_token(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", "lib")

    async def test() -> None:
        async with loaded(engine("m", model)) as made:
            seen = json.loads((await ask(made, "look")).removesuffix(" (stop)"))
        assert "secret" not in json.dumps(seen["environment"])
        assert seen["environment"]["OMP_NUM_THREADS"] == "1"
        assert seen["environment"]["PYTHONPATH"] == str(tmp_path / "lib")
        assert (seen["folder"], seen["terminal"]) == ("/", False)
        files = {file for file in seen["files"] if file.startswith("/") and not file.startswith("/proc/")}
        own = (str(Path.home() / "logs"), seen["environment"]["TMPDIR"])
        assert {file for file in files if not file.startswith(own)} == {"/dev/null"}

    play(test())


def test_the_models_own_sampling_is_the_clients_and_not_that_of_whoever_loaded_it(model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as made:
            assert await ask(made, "temperature") == "0.5 (stop)"

    play(test())


@pytest.mark.parametrize(
    "garbage", [b"{\n", b"[1]\n", b'{"op": "sing"}\n', b'{"op": "generate", "id": "one"}\n', b"\xff\n", b'{"op": 1}\n']
)
def test_a_client_that_sends_garbage_is_dropped_and_no_other(garbage: bytes, model: Path) -> None:
    async def test() -> None:
        async with loaded(engine("m", model)) as made:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(str(kept_workers()[0].path))
                connection.sendall(garbage)
                assert connection.recv(1) == b""
            assert await ask(made, "say One.; finish") == "One. (stop)"

    play(test())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_heard_even_where_the_folder_lets_them_in(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        "s.connect(sys.argv[1]); s.sendall(b'{\"op\": \"status\"}\\n'); print('heard', s.recv(100))"
    )

    def other_user(path: Path) -> str:
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    async def test(runtime: Path) -> None:
        async with loaded(engine("m", model)):
            path = kept_workers()[0].path
            assert path.parent.parent == runtime
            assert "PermissionError" in await asyncio.to_thread(other_user, path)
            path.parent.chmod(0o755)
            path.chmod(0o777)
            try:
                heard = await asyncio.to_thread(other_user, path)
            finally:
                path.parent.chmod(0o700)
            # It got through to the socket, and no word of an answer.
            assert any(end in heard for end in ("heard b''", "ConnectionResetError", "BrokenPipeError"))
            end(path)

    # Below pytest's own folder nobody else can look for it at all.
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        Path(runtime).chmod(0o755)
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        play(test(Path(runtime)))


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_folder_that_is_not_the_users_alone_is_not_used(
    kind: str, model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = home / "toolchat"
    match kind:
        case "open to others":
            place.mkdir(mode=0o755)
        case "a link":
            (home / "real").mkdir(mode=0o700)
            place.symlink_to("real")
        case _:
            place.write_text("")
    monkeypatch.setattr("toolchat.engine.kept.place._candidates", lambda: iter((place,)))

    async def test() -> None:
        made = engine("m", model)
        said = await started(made)
        assert "the model does not stay loaded: there is no folder of yours alone for its socket" in said
        pid = made.pid
        await made.close()
        assert not alive(pid or 0)

    play(test())
    place.rename(home / "aside")


@pytest.mark.parametrize("kills", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_random_kills_leave_no_orphan_no_wrong_answer_and_no_wrong_model(kills: int, tmp_path: Path) -> None:
    """Clients of two models ask, in processes of their own; they and the workers are killed at any moment."""
    chance = random.Random(kills)
    models = [new_model(tmp_path / name) for name in ("a", "b")]
    met: set[int] = set()

    def client_of(model: Path, number: int) -> subprocess.Popen[str]:
        return client(model, f"say {model.name}{number}; finish", "me", "say wait.; wait", name=model.name)

    def checked(process: subprocess.Popen[str], model: Path, number: int) -> int:
        """How many of its answers came; each must be its own, of its model."""
        process.kill()
        out, _ = process.communicate()
        lines = out.splitlines()
        if lines and lines[0].startswith("ready "):
            met.add(int(lines[0].split()[1]))
        if len(lines) > 1:
            assert lines[1] == f"{model.name}{number} (stop)"
        if len(lines) > 2:
            assert lines[2].split()[1:] == [model.name, "None", "(stop)"]
        return len(lines)

    whole = time.monotonic()
    first = client_of(models[0], 0)
    answered = sum(line_of(first) != "" for _ in range(3))
    whole = time.monotonic() - whole
    checked(first, models[0], 0)
    killed = 0
    while killed < kills:
        number = killed
        model = models[chance.random() < 0.25]
        group = [client_of(model, number) for _ in range(chance.choice((1, 2, 3, 4)))]
        killed += len(group)
        deadline = time.monotonic() + chance.uniform(0.2, 1.3) * whole
        while time.monotonic() < deadline:
            workers = kept_workers()
            met.update(worker.pid for worker in workers)
            if workers and chance.random() < 0.1:
                control.kill(workers[0].pid)
                killed += 1
            time.sleep(chance.uniform(0, 0.1))
        answered += sum(checked(process, model, number) for process in group)
        met.update(worker.pid for worker in kept_workers())
    assert answered >= 3
    for worker in kept_workers():
        end(worker.path)
    until_dead = time.monotonic() + PATIENCE
    while any(map(alive, met)) and time.monotonic() < until_dead:
        time.sleep(0.01)
    assert [pid for pid in met if alive(pid)] == []
    assert kept_workers() == []
    for folder in (Path.home() / "scratch").iterdir():  # of workers that were killed with their starters, while loading
        shutil.rmtree(folder)

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import PROGRAM, Program

from toolchat.cli.running import Interrupts, run_async
from toolchat.wire.deltas import Usage
from toolchat.wire.errors import ExitCode
from toolchat.wire.events import TurnFinished, TurnStatus

pytestmark = pytest.mark.process


@pytest.fixture
def silent_index() -> Iterator[tuple[str, threading.Event]]:
    """A package index that takes a connection and never answers; the event says that one has come."""
    asked = threading.Event()
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            asked.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/simple", asked
        listener.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


def pulling(toolchat: Program, index: tuple[str, threading.Event]) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A `models pull demo` in the middle of pip's download, and its child."""
    url, asked = index
    process = toolchat.start(
        "models",
        "pull",
        "demo",
        variables={"PIP_INDEX_URL": url, "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0", "NO_PROXY": "*"},
    )
    assert asked.wait(60)
    pip = children(process.pid)
    assert len(pip) == 1
    return process, pip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_during_the_download_leaves_nothing(
    toolchat: Program, home: Path, silent_index: tuple[str, threading.Event], number: signal.Signals, code: int
) -> None:
    process, pip = pulling(toolchat, silent_index)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == b""
    assert b"Traceback" not in err
    assert [path.name for path in (home / ".cache" / "toolchat" / "models").iterdir()] == [".demo.lock"]
    assert_gone(pip)


def test_pip_does_not_survive_a_killed_download(toolchat: Program, silent_index: tuple[str, threading.Event]) -> None:
    process, pip = pulling(toolchat, silent_index)
    process.kill()
    process.communicate(timeout=60)
    assert_gone(pip)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_while_standard_input_is_read_ends_it(toolchat: Program, number: signal.Signals, code: int) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "ask"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=toolchat.folder,
        env=toolchat.environment,
    )
    assert process.stderr is not None
    assert b"reading standard input" in process.stderr.readline()
    process.send_signal(number)
    # Standard input stays open: only the signal can have ended it.
    assert process.wait(60) == code
    assert process.stderr.read() == b""
    process.communicate()


def test_signals_that_were_ignored_at_the_start_stay_so() -> None:
    async def main(_: Interrupts) -> str:
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
            for _ in range(10):  # rounds of the loop, which takes signals in one and cancels in a later one
                await asyncio.sleep(0)
        return "answered"

    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        ended: BaseException | str = run_async(main)
    except BaseException as error:
        ended = error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended == "answered"


def finished(status: TurnStatus, declined: bool = False) -> TurnFinished:
    return TurnFinished(status, 1, Usage(), declined)


@pytest.mark.parametrize(
    ("status", "declined", "code"),
    [
        (TurnStatus.ANSWERED, False, ExitCode.OK),
        (TurnStatus.ANSWERED, True, ExitCode.DECLINED),
        (TurnStatus.INTERRUPTED, False, ExitCode.INTERRUPTED),
        (TurnStatus.INTERRUPTED, True, ExitCode.INTERRUPTED),
        (TurnStatus.ENGINE_FAILED, False, ExitCode.ENGINE),
        (TurnStatus.ENGINE_FAILED, True, ExitCode.ENGINE),
        (TurnStatus.LIMIT, False, ExitCode.LIMIT),
        (TurnStatus.LIMIT, True, ExitCode.LIMIT),
        (TurnStatus.TRUNCATED, False, ExitCode.TRUNCATED),
        (TurnStatus.TRUNCATED, True, ExitCode.TRUNCATED),
    ],
)
def test_how_a_turn_ended_decides_the_exit_code(status: TurnStatus, declined: bool, code: ExitCode) -> None:
    assert finished(status, declined).exit_code == code


def test_the_exit_codes_are_those_that_scripts_were_promised() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "ENGINE": 3,
        "DECLINED": 4,
        "LIMIT": 5,
        "TRUNCATED": 6,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
        "TERMINATED": 143,
    }


def test_every_status_of_a_turn_has_a_code() -> None:
    assert len({finished(status).exit_code for status in TurnStatus}) == len(TurnStatus)

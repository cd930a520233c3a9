from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from e2e_processes import PATIENCE, assert_nothing_left, start, wait_for_import, wait_for_worker, wait_until
from questions import ENDLESS
from stored import stored_rows

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("cached_demo")]

ENDINGS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]


@pytest.fixture
def loading(tmp_path: Path) -> subprocess.Popen[bytes]:
    return start("ask", "--model", "demo", "--no-tools", ENDLESS, cwd=tmp_path)


def ended_by(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    """Signal it; its exit code. It must say nothing, and leave no process."""
    worker = wait_for_worker(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert err == b""
    assert_nothing_left(process.pid, worker)
    return process.returncode


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_nothing_is_left_when_it_is_ended_while_the_engine_imports(
    loading: subprocess.Popen[bytes], number: signal.Signals, code: int
) -> None:
    wait_for_import(wait_for_worker(loading.pid))
    assert ended_by(loading, number) == code


@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_nothing_is_left_when_it_is_ended_as_soon_as_the_engine_is_started(
    loading: subprocess.Popen[bytes], number: signal.Signals, code: int
) -> None:
    assert ended_by(loading, number) == code


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_nothing_is_left_when_it_is_ended_while_the_weights_are_loaded(
    loading: subprocess.Popen[bytes], cached_demo: Path, number: signal.Signals, code: int
) -> None:
    records = cached_demo / ".local" / "state" / "toolchat" / "sessions"
    wait_until("loading weights", lambda: "loading weights" in str(stored_rows(records)))
    assert ended_by(loading, number) == code


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), ENDINGS)
def test_nothing_is_left_when_it_is_ended_in_the_middle_of_an_answer(
    loading: subprocess.Popen[bytes], number: signal.Signals, code: int
) -> None:
    assert loading.stdout is not None
    assert loading.stdout.read(1)
    assert ended_by(loading, number) == code


def test_a_second_signal_does_not_cut_the_cleaning_up_short(loading: subprocess.Popen[bytes]) -> None:
    worker = wait_for_worker(loading.pid)
    wait_for_import(worker)
    for _ in range(5):
        loading.send_signal(signal.SIGTERM)
        loading.send_signal(signal.SIGINT)
    loading.communicate(timeout=PATIENCE)
    assert loading.returncode in (130, 143)
    assert_nothing_left(loading.pid, worker)

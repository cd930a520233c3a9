from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import gpu_check
from gpu_check import Done, FailedError, Report, SkippedError, full, pull, wait_for_progress

from toolchat.engine.kept.place import folder_for_sockets

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a shell with a script in place of toolchat, as `gpu_check.start` does."""
    processes = []

    def start(script: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_every_check_is_documented() -> None:
    page = (Path(gpu_check.__file__).parents[1] / "docs" / "gpu-check.md").read_text().partition("\n## ")[0]
    documented = [row.split("|")[1].strip() for row in page.splitlines() if row.startswith("|")]
    assert documented[2:] == list(gpu_check.CHECKS)


@pytest.mark.process
def test_a_pull_is_stopped_when_a_part_is_fetched(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    script = (
        "trap 'exit 130' INT; echo 'm: fetching 0.0 of 4.7 GB' >&2; echo 'm: fetching 0.5 of 4.7 GB (10 %)' >&2; read x"
    )

    def begin(*arguments: str) -> subprocess.Popen[bytes]:
        started.append(start(script))
        return started[0]

    answers = iter([Done(3, "", "only a part", 0.1), Done(0, f"{tmp_path}\n", "", 0.1)])
    monkeypatch.setattr(gpu_check, "start", begin)
    monkeypatch.setattr(gpu_check, "toolchat", lambda *_, **__: next(answers))
    assert pull(Report(True, "m")).startswith("stopped at 'fetching 0.5 of 4.7 GB (10 %)', then whole: ")
    assert started[0].returncode in (130, -signal.SIGINT)


@pytest.mark.process
def test_a_pull_that_fetches_nothing_is_no_check(start: Start) -> None:
    with pytest.raises(SkippedError, match="the model is here already"):
        wait_for_progress(start("echo /models/m"))
    with pytest.raises(FailedError, match=r"nothing was fetched \(exit 3\)"):
        wait_for_progress(start("echo 'm: fetching 0.0 of 4.7 GB' >&2; exit 3"))


@pytest.mark.parametrize(
    ("code", "said", "passes"),
    [
        (3, "toolchat: only 0.3 of the GPU's 24.0 GiB are free (held by python (pid 7, 23.0 GiB)); close", True),
        (3, "toolchat: the GPU cannot be used", False),
        (0, "only 0.3 GiB, held by x", False),
    ],
)
def test_a_full_card_must_be_refused_with_its_numbers(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, passes: bool
) -> None:
    @contextmanager
    def holding(left: str) -> Iterator[None]:
        assert eval(left, {"free": 24 * gpu_check.GIB}) == 0.75 * gpu_check.GIB
        yield

    monkeypatch.setattr(gpu_check, "holding", holding)
    monkeypatch.setattr(gpu_check, "toolchat", lambda *_, **__: Done(code, "", said, 1.0))
    if passes:
        assert full(Report(False, "m")) == said
    else:
        with pytest.raises(FailedError):
            full(Report(False, "m"))


@pytest.fixture
def runtime_folder() -> Iterator[Path]:
    """The user's, as short as the path of a socket must be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_checks_neither_use_nor_end_an_engine_of_the_users(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    users = runtime_folder / "toolchat"
    users.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_folder))
    assert folder_for_sockets() == users
    seen: list[Path] = []

    def check(report: Report) -> str:
        folder = folder_for_sockets()
        assert folder is not None
        # Before anything was kept, too.
        assert not list(folder.iterdir())
        seen.append(folder)
        return "seen"

    monkeypatch.setattr(gpu_check, "CHECKS", {"a kept engine": check})
    monkeypatch.setattr(gpu_check, "facts", list)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["gpu_check.py"])
    assert gpu_check.main() == 0
    assert "| a kept engine | passed |" in capsys.readouterr().out
    assert users not in seen
    assert not seen[0].exists()
    assert folder_for_sockets() == users


@pytest.mark.process
def test_a_check_that_breaks_is_a_row_and_what_it_started_holds_no_card(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "TOOLCHAT", ["sleep"])
    begun: list[subprocess.Popen[bytes]] = []

    def broken(report: Report) -> str:
        begun.append(gpu_check.start("3600"))
        return "".splitlines()[-1]

    def answered(report: Report) -> str:
        process = gpu_check.start("0")
        process.communicate()
        return "seen"

    report = Report(False, "m")
    report.check("one", broken)
    report.check("two", answered)
    assert begun[0].returncode == -signal.SIGKILL
    assert report.failed == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows == [
        "| one | FAILED | 0 | unexpected IndexError: list index out of range |",
        "| two | passed | 0 | seen |",
    ]

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
check_cuda = importlib.import_module("check_cuda")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the script in a folder of its own, over commands whose exit statuses are given."""
    (tmp_path / "constraints").mkdir()
    (tmp_path / f"constraints/cuda-{sys.version_info.major}.{sys.version_info.minor}.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check_cuda.os, "chdir", lambda _: None)

    def check(*statuses: int | BaseException, free_mb: int = 100_000, arguments: tuple[str, ...] = ()) -> Any:
        commands: list[tuple[str, ...]] = []
        queue = list(statuses)

        def run(*command: str) -> int:
            commands.append(command)
            (tmp_path / ".check-cuda").mkdir(exist_ok=True)
            status = queue.pop(0)
            if isinstance(status, BaseException):
                raise status
            return status

        monkeypatch.setattr(check_cuda, "run", run)
        monkeypatch.setattr(check_cuda.shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mb * 1_000_000))
        monkeypatch.setattr(sys, "argv", ["check_cuda.py", *arguments])
        code = check_cuda.main()
        assert not queue
        return SimpleNamespace(code=code, err=capsys.readouterr().err, commands=commands)

    return check


def test_the_build_is_installed_tried_and_deleted(checked: Any, tmp_path: Path) -> None:
    done = checked(0, 0, 0)
    assert (done.code, done.err) == (0, "")
    make, install, test = done.commands
    assert make == (sys.executable, "-m", "venv", "--clear", ".check-cuda")
    assert install[0] == test[0] == str(tmp_path / ".check-cuda/bin/python")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert install[-4:] == ("--editable", ".[cuda,dev]", "--constraint", f"constraints/cuda-{version}.txt")
    assert "--no-cache-dir" in install
    assert test[-3:] == ("-m", "cuda_wheels", "tests/cuda")
    assert not (tmp_path / ".check-cuda").exists()


def test_failing_tests_fail_the_command_and_leave_nothing(checked: Any, tmp_path: Path) -> None:
    assert checked(0, 0, 1).code == 1
    assert not (tmp_path / ".check-cuda").exists()


def test_what_is_kept_is_used_again(checked: Any, tmp_path: Path) -> None:
    assert checked(0, 0, 0, arguments=("--keep",)).code == 0
    done = checked(0, free_mb=1000, arguments=("--keep",))
    assert done.code == 0
    assert len(done.commands) == 1


@pytest.mark.parametrize(
    ("statuses", "options", "code", "line"),
    [
        ((), {"free_mb": 9_000}, 1, "check-cuda: 9,000 MB are free on this disk, and 15,000 MB are needed"),
        ((1,), {}, 1, "could not make .check-cuda"),
        ((0, 1), {}, 1, "check-cuda: pip could not install vLLM's CUDA build"),
        ((0, KeyboardInterrupt()), {"arguments": ("--keep",)}, 130, "check-cuda: interrupted"),
    ],
)
def test_what_is_wrong_is_one_line(checked: Any, statuses: Any, options: Any, code: int, line: str) -> None:
    done = checked(*statuses, **options)
    assert done.code == code
    assert line in done.err
    assert done.err.count("\n") == 1


def test_an_environment_that_was_cut_off_is_made_anew(checked: Any) -> None:
    checked(0, 1, arguments=("--keep",))
    assert len(checked(0, 0, 0, arguments=("--keep",)).commands) == 3

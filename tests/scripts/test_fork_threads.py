from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
common = importlib.import_module("_common")
fork_threads = importlib.import_module("fork_threads")


def test_a_library_in_whose_children_all_hang_has_its_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[float] = []

    def started(command: list[str], **_: Any) -> SimpleNamespace:
        def communicate(timeout: float) -> tuple[str, str]:
            given.append(timeout)
            return f"{command[-1]}\tnone\t100\t100\t0\n", ""

        return SimpleNamespace(communicate=communicate, returncode=0)

    monkeypatch.setattr(common, "started", started)
    monkeypatch.setattr(fork_threads, "unwind_when_ended", lambda: None)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setattr("sys.argv", ["fork_threads.py", "folder", "--forks", "100"])
    fork_threads.main()
    assert [row.split()[1] for row in capsys.readouterr().out.splitlines()[2:]] == list(fork_threads.USES)
    assert min(given) > 100 * fork_threads.SECONDS

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_program import Program

from toolchat.cli import engines
from toolchat.cli.engines import end_text, span_text
from toolchat.engine.kept.control import KeptWorker, end, kept_workers
from toolchat.wire.errors import UsageError

BENCH = Path(__file__).parents[1] / "engine" / "kept_bench.py"
WORKER = KeptWorker(Path("/run/0123456789abcdef.sock"), 7, "m", "cpu", keep=300, ends_in=61)


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A fake worker that is kept, and a command that is using it."""
    folder = tmp_path / "model"
    folder.mkdir()
    command = [sys.executable, str(BENCH), "m", str(folder), "600", "wait"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready ")
    yield process
    process.kill()
    process.communicate()
    for worker in kept_workers():
        end(worker.path)


@pytest.mark.process
def test_what_is_loaded_is_shown_and_ended(
    toolchat: Program, loaded: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    engines.ps(json=True)
    (shown,) = json.loads(capsys.readouterr().out)["engines"]
    assert (shown["model"], shown["device"], shown["context"], shown["clients"], shown["keep"]) == (
        ("m", "cpu", 512, 1, 600.0)
    )
    assert shown["memory"] > 1024**2
    ran = toolchat("ps")
    assert (ran.code, ran.err) == (0, "")
    head, _, row = ran.out.splitlines()
    assert head.split() == ["Model", "Process", "Device", "Context", "Memory", "Clients", "Idle", "Ends"]
    assert row.split()[:4] == ["m", str(shown["pid"]), "cpu", "512"]
    assert "10 min after its last use" in row
    with pytest.raises(UsageError, match=rf"^other is not loaded; loaded: m \({shown['pid']}\)$"):
        engines.stop("other")
    ran = toolchat("stop", "m")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"m is ended (process {shown['pid']}); 1 command was using it.\n"
    engines.ps()
    assert capsys.readouterr().out == "No model is loaded.\n"


def test_where_nothing_is_loaded_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    engines.stop()
    assert capsys.readouterr().out == "No model is loaded.\n"
    engines.ps(json=True)
    assert json.loads(capsys.readouterr().out) == {"version": 1, "engines": [], "servers": []}
    with pytest.raises(UsageError, match=r"^m is not loaded; no model is$"):
        engines.stop("m")
    with pytest.raises(UsageError, match="contradict"):
        engines.stop("m", all_=True)


def test_times_and_ends_are_told_for_people() -> None:
    assert [span_text(seconds) for seconds in (0, 59.4, 60, 61, 3600, 3700, 90061)] == (
        ["0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "25 h 1 min"]
    )
    assert end_text(WORKER) == "in 1 min 1 s"
    assert end_text(replace(WORKER, ends_in=None)) == "5 min after its last use"
    assert end_text(replace(WORKER, keep=-1, ends_in=None)) == "when it is stopped"
    assert end_text(replace(WORKER, keep=0, ends_in=None)) == "with its last user"
    assert end_text(replace(WORKER, answers=False)) == "does not answer; toolchat stop 7 ends it"

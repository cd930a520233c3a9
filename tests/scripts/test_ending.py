"""What a benchmark, or a test's server, has started ends with it, however that ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
STARTED = ("sh", "-c", "exec >alive; sleep 100 & echo; wait")
"""Two processes that hold a pipe with a name."""
BENCHMARK = f"""
import os, pathlib
import _common as common
common.arguments(None, 1)
common.run({STARTED}, environment=os.environ, folder=pathlib.Path())
"""
SERVER = f"""
import os, sys
from vllm_server import process_group
with process_group({STARTED}, sys.stderr.buffer, os.environ):
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("script", "number"),
    [
        (BENCHMARK, signal.SIGTERM),
        (BENCHMARK, signal.SIGALRM),
        (SERVER, signal.SIGTERM),
        (SERVER, signal.SIGKILL),
    ],
)
def test_what_was_started_ends_with_a_script_that_a_signal_ends(tmp_path: Path, script: str, number: int) -> None:
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    paths = (ROOT, ROOT / "benchmarks", ROOT / "tests" / "e2e")
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
    )
    try:
        assert select.select([alive], [], [], 30)[0]
        assert os.read(alive, 1) == b"\n"
        process.send_signal(number)
        process.wait(30)
        assert select.select([alive], [], [], 30)[0]
        assert os.read(alive, 1) == b""  # nobody holds it
    finally:
        os.close(alive)
        process.kill()
        process.communicate()

from __future__ import annotations

import re
from pathlib import Path

import pytest
from e2e_engine import copy_model
from e2e_processes import PATIENCE, assert_nothing_left, start, wait_for_worker

from toolchat.models import demo

pytestmark = pytest.mark.engine

WEIGHTS = "consolidated.safetensors"


def test_weights_that_cannot_be_loaded_are_one_line_that_names_the_log(
    demo_cache: Path, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    copy_model(demo.demo_folder(demo_cache), folder)
    (folder / WEIGHTS).unlink()  # a hard link: it must not be written through
    # A safetensors file that is whole, and holds nothing.
    (folder / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"{}")

    process = start("ask", "--model", str(folder), "hi", cwd=tmp_path)
    worker = wait_for_worker(process.pid)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (3, b"")
    (line,) = err.decode().splitlines()
    assert line.startswith(f"toolchat: {folder} could not be loaded: ")
    named = re.search(r"its log is (/\S+)$", line)
    assert named is not None, line
    log = Path(named[1])
    assert log.is_relative_to(home)
    assert "Traceback" in log.read_text()
    assert_nothing_left(process.pid, worker)

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from e2e_engine import copy_model
from e2e_processes import PATIENCE, assert_nothing_left, start, wait_for_worker
from mistral_tokenizers import settings_builder
from tiny_models import build

from toolchat.models.demo import build as demo

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


@pytest.mark.slow
def test_a_tokenizer_that_the_installed_mistral_common_refuses_is_told_with_the_version_to_take(tmp_path: Path) -> None:
    folder = build(tmp_path / "model", "v15")
    path = folder / "tekken.json"
    # 1.12 refuses efforts other than none and high, 1.13 one without a default.
    settings = settings_builder(("none", "low"), default=None)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_settings_builder": settings}))
    process = start("ask", "--model", str(folder), "hi", cwd=tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (3, b"")
    line = err.decode().splitlines()[-1]
    assert f"could not be loaded: {path}: mistral_common 1." in line
    assert "take another version: pip install 'mistral_common" in line

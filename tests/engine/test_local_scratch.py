from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchat.engine.kept.place import SCRATCH
from toolchat.engine.local import Scratch, sweep_scratch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def aged(path: str | Path) -> Path:
    """As if it had been made an hour ago."""
    os.utime(path, times=(time.time() - 3600,) * 2)
    return Path(path)


def test_a_folder_is_kept_while_it_is_in_use_and_swept_when_nobody_uses_it_any_more(folder: Path) -> None:
    used, left = Scratch(), Scratch()
    (Path(left.path) / "socket of zmq").touch()
    inherited = os.dup(left.lock)  # as a worker has it
    left.leave()
    for one in (used, left):
        aged(one.path)
    sweep_scratch()
    assert Path(used.path).is_dir()
    assert Path(left.path).is_dir()
    os.close(inherited)
    aged(left.path)
    another = Scratch()
    assert sorted(folder.iterdir()) == sorted(map(Path, (used.path, another.path)))
    for one in (used, another):
        one.delete()
        one.delete()
    assert list(folder.iterdir()) == []


def test_a_folder_that_was_made_just_now_is_left_alone(folder: Path) -> None:
    fresh = Scratch()
    fresh.leave()
    sweep_scratch()
    assert Path(fresh.path).is_dir()
    shutil.rmtree(fresh.path)


def test_nothing_else_is_swept(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / ".in-use").touch()
    (folder / f"{SCRATCH}link").symlink_to("elsewhere")
    (folder / f"{SCRATCH}file").touch()
    for name, lock in (("without-lock", None), ("a-link", "link"), ("a-pipe", "pipe"), ("a-folder", "folder")):
        made = folder / f"{SCRATCH}{name}"
        made.mkdir()
        match lock:
            case "link":
                (made / ".in-use").symlink_to("../elsewhere/.in-use")
            case "pipe":
                os.mkfifo(made / ".in-use")
            case "folder":
                (made / ".in-use").mkdir()
    for path in folder.iterdir():
        if not path.is_symlink():
            aged(path)
    before = sorted(folder.rglob("*"))
    sweep_scratch()
    assert sorted(folder.rglob("*")) == before
    sweep_scratch(folder / "no such folder")


@pytest.mark.process
def test_what_a_killed_process_held_is_swept(folder: Path) -> None:
    code = "from toolchat.engine.local import Scratch; print(Scratch().path, flush=True); input()"
    environment = os.environ | {"TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    made = aged(process.stdout.readline().strip())
    sweep_scratch()
    assert made.is_dir()
    process.kill()
    process.communicate()
    sweep_scratch()
    assert not made.exists()

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from toolchat.engine.kept.control import clear_dead, kept_workers
from toolchat.engine.kept.place import (
    MOST_BYTES,
    SUFFIX,
    digest,
    folder_for_sockets,
    kept_environment,
    note_of,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "params.json").write_text("{}")
    return folder


def name(model: Path, device: str = "cpu", settings: Any = None, build: str = "1", **variables: str) -> str:
    return digest(model, device, settings or {}, build, variables)


def test_a_name_is_the_same_for_the_same_and_does_not_depend_on_what_shapes_nothing(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = name(model, HF_TOKEN="one", PATH="/a", TERM="xterm", XDG_RUNTIME_DIR="/run")
    monkeypatch.chdir(model)
    assert name(model, PATH="/b") == name(Path()) == first
    assert len(first) == 16


def test_whatever_shapes_an_engine_gives_it_another_name(model: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "weights").write_text("1")
    by_path = {"lora": (f"name={adapter}",)}
    names = [
        name(model),
        name(model, "cuda"),
        name(model, settings={"dtype": "float32"}),
        name(model, settings=by_path),
        name(model, build="2"),
        name(model, CUDA_VISIBLE_DEVICES="1"),
        name(model, VLLM_USE_V1="1"),
        name(model, OMP_NUM_THREADS="2"),
        name(model, LD_PRELOAD="x.so"),
        name(model, PYTHONPATH="/lib"),
    ]
    (adapter / "weights").write_text("22")
    names.append(name(model, settings=by_path))
    (model / "new").write_text("")
    names.append(name(model))
    (model / "new").unlink()
    (model / "params.json").rename(model / "other.json")
    names.append(name(model))
    assert len(set(names)) == len(names)


def test_a_kept_engine_gets_what_shapes_it_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        **{"PATH": "/bin", "HOME": "/home/me", "LC_ALL": "C.UTF-8", "VLLM_LOGGING_LEVEL": "INFO"},
        **{"HF_TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "s", "HTTPS_PROXY": "http://u:p@h", "SSH_AUTH_SOCK": "/s"},
        **{"DBUS_SESSION_BUS_ADDRESS": "d", "XDG_SESSION_ID": "3", "PYTHONPATH": "lib:/abs", "XDG_CACHE_HOME": "/c"},
    }
    kept = kept_environment(given)
    assert set(kept) == {"PATH", "HOME", "LC_ALL", "VLLM_LOGGING_LEVEL", "PYTHONPATH", "XDG_CACHE_HOME"}
    assert kept["PYTHONPATH"] == f"{tmp_path / 'lib'}:/abs"


def test_the_folder_is_made_for_this_user_alone_and_only_when_there_is_something_to_keep(home: Path) -> None:
    assert folder_for_sockets() is None or folder_for_sockets() != home / "toolchat"
    old = os.umask(0)
    try:
        assert folder_for_sockets(make=True) == home / "toolchat"
    finally:
        os.umask(old)
    assert stat.S_IMODE((home / "toolchat").stat().st_mode) == 0o700
    assert folder_for_sockets() == home / "toolchat"


def test_a_folder_below_a_long_path_or_one_of_others_is_passed_over(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(home))
    own = home / f"toolchat-{os.geteuid()}"
    long = tmp_path / ("x" * MOST_BYTES)
    long.mkdir(mode=0o700)
    wide = home / "wide"
    wide.mkdir()
    wide.chmod(0o777)
    for runtime in (str(long), str(wide), "relative", "", str(home / "nowhere")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        found = folder_for_sockets(make=True)
        assert found == own, runtime
    assert len(os.fsencode(own / f"{'0' * 16}{SUFFIX}")) <= MOST_BYTES
    assert not (long / "toolchat").exists()


def test_what_a_dead_engine_left_is_cleared_away_and_no_folder_that_a_note_only_names(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(home / "tmp"))
    folder = folder_for_sockets(make=True)
    assert folder is not None
    own, mine = home / "tmp" / "toolchat-engine-1", tmp_path / "toolchat-engine-2"
    for scratch in (own, mine):
        scratch.mkdir(parents=True)
        path = folder / f"{scratch.name[-1] * 16}{SUFFIX}"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        note_of(path).write_text(f'{{"pid": 1, "scratch": "{scratch}"}}')
    assert kept_workers() == []
    assert list(folder.iterdir()) == []
    assert not own.exists()
    assert mine.exists()
    clear_dead(folder / f"none{SUFFIX}")

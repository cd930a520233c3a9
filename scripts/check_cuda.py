"""Runs the tests that need vLLM's CUDA build, in an environment that is thrown away afterwards: `make check-cuda`.

No GPU is needed, and none is used: what is tried is what vLLM decides before it computes (tests/cuda). The build is
4.3 GB to download and 10.3 GB on disk.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

FOLDER = Path(".check-cuda")
NEEDED_MB = 15_000
"""The finished environment, and the wheels while pip unpacks them; measured with vLLM 0.33.0: 10,300 and 4,300."""
SPARE_MB = 300
"""What an environment that is there already (--keep) is still given."""


class CheckError(Exception):
    """Why the checks were not run: the one line that a person sees."""


def check_disk(free_mb: int, is_made: bool) -> None:
    """Raise CheckError where the environment does not fit."""
    needed = SPARE_MB if is_made else NEEDED_MB
    if free_mb < needed:
        raise CheckError(f"{free_mb:,} MB are free on this disk, and {needed:,} MB are needed: make room")


def install_command(python: str) -> list[str]:
    """pip's arguments. The versions are those of constraints/, where there are such for this Python."""
    file = Path(f"constraints/cuda-{python}.txt")
    constraint = ["--constraint", str(file)] if file.is_file() else []
    # Not cached: the environment is to leave nothing behind.
    return ["-m", "pip", "install", "--no-input", "--no-cache-dir", "--editable", ".[cuda,dev]", *constraint]


def run(*command: str) -> int:
    """The exit status of a command, which prints for itself; what it unpacks lies beside the environment."""
    temporary = FOLDER.absolute() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return subprocess.run(command, env=os.environ | {"TMPDIR": str(temporary)}).returncode


def check() -> int:
    """Make the environment, or take the one that is there; then the exit status of the tests."""
    installed = FOLDER / ".installed"
    python = str((FOLDER / "bin/python").absolute())
    check_disk(shutil.disk_usage(Path()).free // 1_000_000, installed.exists())
    if not installed.exists():
        if run(sys.executable, "-m", "venv", "--clear", str(FOLDER)):
            raise CheckError(f"{sys.executable} could not make {FOLDER}; Debian, Ubuntu: apt install python3-venv")
        if run(python, *install_command(f"{sys.version_info.major}.{sys.version_info.minor}")):
            raise CheckError("pip could not install vLLM's CUDA build; what it said stands above")
        installed.touch()
    return run(python, "-m", "pytest", "-p", "no:cacheprovider", "-m", "cuda_wheels", "tests/cuda")


def stop(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests that need vLLM's CUDA build, without a GPU.")
    parser.add_argument("--keep", action="store_true", help=f"keep the environment in {FOLDER} for the next time")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    os.chdir(Path(__file__).resolve().parent.parent)
    try:
        return check()
    except (CheckError, OSError) as error:
        print(f"check-cuda: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("check-cuda: interrupted", file=sys.stderr)
        return 130
    finally:
        if not options.keep:
            shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

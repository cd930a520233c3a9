"""The NVIDIA GPUs of this machine as the driver's `nvidia-smi` reports them, and what vLLM's CUDA build needs of them.

Standard library alone, and never any CUDA: `scripts/install.py` uses it before anything is installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MIB = 1024**2
GIB = 1024**3

MIN_CAPABILITY = (7, 5)
"""Turing. CUDA 13 dropped older GPUs, and vLLM's wheels hold no code for them."""

MIN_DRIVERS = {12: 525, 13: 580}
"""The least driver version for each major version of CUDA (NVIDIA's CUDA compatibility document, table 1)."""

CUDA_MAJOR = 13
"""Of the wheels that `vllm>=0.32` stands on, where none is installed yet to be asked."""

_FIELDS = ("index", "uuid", "name", "memory.total", "memory.free", "compute_cap", "driver_version")
_WSL = "/usr/lib/wsl/lib"
"""Where WSL2 keeps nvidia-smi, which is not always on its PATH."""

COMPILERS = ("cc", "gcc", "clang")
"""What Triton looks for where the variable CC names none."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; None for what the driver does not tell."""

    index: int
    """By PCI bus, which is also how the engine counts (CUDA_DEVICE_ORDER)."""
    uuid: str
    name: str
    total: int | None
    """Bytes of memory."""
    free: int | None
    """Bytes that no program held when it was asked."""
    capability: tuple[int, int] | None
    driver: int | None
    """The driver's major version."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A program that holds memory of a GPU. Graphics programs are not always listed by the driver."""

    pid: int
    name: str
    bytes: int | None


def parse_gpus(listing: str) -> tuple[Gpu, ...]:
    """The GPUs in what `nvidia-smi --query-gpu=… --format=csv,noheader,nounits` prints; other lines are skipped."""
    gpus = []
    for row in listing.splitlines():
        fields = [field.strip() for field in row.split(",")]
        if len(fields) != len(_FIELDS) or not fields[0].isdecimal():
            continue
        index, uuid, name, total, free, capability, driver = fields
        major, _, minor = capability.partition(".")
        gpus.append(
            Gpu(
                int(index),
                uuid,
                name,
                _mib(total),
                _mib(free),
                (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None,
                int(driver.partition(".")[0]) if driver.partition(".")[0].isdecimal() else None,
            )
        )
    return tuple(gpus)


def visible(gpus: Sequence[Gpu], chosen: str | None) -> tuple[Gpu, ...]:
    """Those of `gpus` that CUDA shows where CUDA_VISIBLE_DEVICES is `chosen` (None: not set), in its order.

    As in CUDA, an entry is a number or the beginning of a UUID, and the first one that names no GPU ends the list.
    A slice of a GPU (MIG) counts as a GPU of unknown memory.
    """
    if chosen is None:
        return tuple(gpus)
    shown: list[Gpu] = []
    for entry in (part.strip() for part in chosen.split(",")):
        if entry.isdecimal():
            found = [gpu for gpu in gpus if gpu.index == int(entry)]
        elif entry.startswith("MIG-") and gpus:
            whole = gpus[0]
            found = [Gpu(whole.index, entry, f"{whole.name} (MIG)", None, None, whole.capability, whole.driver)]
        else:
            found = [gpu for gpu in gpus if entry and gpu.uuid.startswith(entry)]
        if len(found) != 1:
            break
        shown += found
    return tuple(shown)


@cache
def all_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver answers for; none where there is no driver, or it does not answer in time."""
    return parse_gpus(_nvidia_smi(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"))


def gpus(environment: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """The GPUs that an engine started now would see; it takes the first."""
    return visible(all_gpus(), environment.get("CUDA_VISIBLE_DEVICES"))


def holders(gpu: Gpu) -> tuple[Holder, ...]:
    """The other programs that hold memory of `gpu`, the largest first, as far as the driver lists them."""
    listing = _nvidia_smi(
        f"--id={gpu.uuid}", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader,nounits"
    )
    found = []
    for row in listing.splitlines():
        # A program's name may hold commas.
        pid, _, rest = row.partition(",")
        name, _, used = rest.rpartition(",")
        # An engine's own CUDA context is listed too, and closing that helps nobody.
        if pid.strip().isdecimal() and int(pid) != os.getpid() and name.strip():
            found.append(Holder(int(pid), Path(name.strip()).name, _mib(used.strip())))
    return tuple(sorted(found, key=lambda holder: -(holder.bytes or 0)))


def held_by(programs: Sequence[Holder]) -> str:
    """Who holds the memory, for a sentence: "python (pid 71, 4.0 GiB)"; empty where the driver lists nobody."""
    shown = [
        f"{one.name} (pid {one.pid}{f', {one.bytes / GIB:.1f} GiB' if one.bytes is not None else ''})"
        for one in programs[:3]
    ]
    more = len(programs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def unfit(gpu: Gpu, cuda: int = CUDA_MAJOR) -> str | None:
    """Why vLLM's CUDA build cannot run on `gpu`, and what to do; None where nothing speaks against it."""
    if gpu.capability is not None and gpu.capability < MIN_CAPABILITY:
        return (
            f"{gpu.name} has compute capability {_dotted(gpu.capability)}, and vLLM's CUDA build needs "
            f"{_dotted(MIN_CAPABILITY)} (Turing, RTX 20) or newer; use the CPU build: make EXTRA=cpu install"
        )
    least = MIN_DRIVERS.get(cuda, MIN_DRIVERS[CUDA_MAJOR])
    if gpu.driver is not None and gpu.driver < least:
        return (
            f"the NVIDIA driver is {gpu.driver}, and vLLM's build for CUDA {cuda} needs {least} or newer; "
            "update the driver, or use the CPU build: make EXTRA=cpu install"
        )
    return None


def cuda_major() -> int:
    """The major version of CUDA that the installed torch is built for, by the runtime that came with it."""
    for distribution, major in (("nvidia-cuda-runtime", None), ("nvidia-cuda-runtime-cu12", 12)):
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return major or int(version.partition(".")[0])
    return CUDA_MAJOR


def missing_to_compile(environment: Mapping[str, str] = os.environ, include: Path | None = None) -> str | None:
    """What Triton lacks to compile its driver, which it does at its first use, and what to do; None where it has all.

    Without this look its failure shows as a bare CalledProcessError after the weights are loaded.
    """
    include = include or Path(sysconfig.get_path("include"))
    named = environment.get("CC", "").split()
    if not any(shutil.which(program) for program in (named[:1] or COMPILERS)):
        lacking = f"CC={named[0]} is not to be found" if named else "there is no C compiler (cc, gcc or clang)"
        return f"{lacking}, which a GPU engine needs to start; Debian, Ubuntu: apt install gcc"
    if not (include / "Python.h").is_file():
        version = include.name if include.name.startswith("python") else "python3"
        return (
            f"{include / 'Python.h'} is missing, which a GPU engine needs to start; "
            f"Debian, Ubuntu: apt install {version}-dev"
        )
    return None


def _nvidia_smi(*arguments: str) -> str:
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=_WSL)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, timeout=30, stdin=subprocess.DEVNULL, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _mib(written: str) -> int | None:
    return int(written) * MIB if written.isdecimal() else None


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))

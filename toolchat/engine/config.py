"""Plans how a model is loaded: context, memory, threads. Decided before the worker starts, to fail early."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from toolchat.engine.gpu import GIB
from toolchat.engine.gpu_memory import MOST, check_weights
from toolchat.engine.granted import granted_cores, granted_memory
from toolchat.engine.number_format import MEASURED, by_flags, cpu_flags
from toolchat.private_file import read_file
from toolchat.wire.errors import EngineError, UsageError

MAX_PARAMS = 16 * 1024**2
"""Bytes of params.json, which has a few hundred."""
CPU_CONTEXT = 8192
"""Tokens of context on a CPU where none is asked for: a longer one costs memory and minutes of prefill."""
CPU_HEADROOM = 1.5 * GIB
"""What torch, vLLM and activations of a small model take beside weights and KV cache (measured: 1.2 GiB)."""
BLOCK = 32
"""Tokens of one prefix-cache block on a CPU; vLLM's default there, 128, leaves most of a short chat uncached."""


VLLM_CONTEXT = 128_000
"""What vLLM assumes where neither params.json nor config.json has `max_position_embeddings`: `MistralConfigParser`."""
ASSUMED_CONTEXT = 32_768
"""Tokens of context on a GPU where the model's files do not say how many it knows: what the first Mistral models that
call tools know. vLLM would assume 128,000, and a model that is asked for more than it learnt writes nonsense."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """A model's own defaults of sampling, and where they come from."""

    temperature: float = 0.0
    top_p: float = 1.0
    source: str = "toolchat's own default"
    """For people."""

    def __str__(self) -> str:
        """ "temperature 0.7, top-p 0.95"."""
        return f"temperature {self.temperature:g}" + (f", top-p {self.top_p:g}" if self.top_p != 1 else "")


GENERATION_CONFIG = "generation_config.json"
BY_GENERATION_CONFIG = f"its {GENERATION_CONFIG}"


def sampling_file(folder: Path) -> Sampling | None:
    """What generation_config.json in a model's folder says of sampling; None where it says nothing."""
    config = _optional_object(folder / GENERATION_CONFIG)
    if config.get("do_sample") is False:
        return Sampling(source=BY_GENERATION_CONFIG)
    temperature = _within(config.get("temperature"), 0, 5)
    top_p = _within(config.get("top_p"), 0, 1) or None
    if temperature is None and top_p is None:
        return None
    # transformers samples at 1.0 where only top_p is given.
    return Sampling(1.0 if temperature is None else temperature, top_p or 1.0, BY_GENERATION_CONFIG)


def _within(value: Any, least: float, most: float) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    return float(value) if fits else None


def _optional_object(path: Path) -> dict[str, Any]:
    """The JSON object in an optional file; empty if it is missing or holds something else, which vLLM ignores, too."""
    try:
        value = json.loads(read_file(path, MAX_PARAMS))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the worker is told."""

    model: str
    """The name shown to people."""
    folder: str
    device: str
    """Either "cuda" or "cpu"."""
    context: int | None
    """Tokens; None lets vLLM fit `window` to the GPU's memory."""
    kv_cache_bytes: int | None
    """None lets vLLM take what the GPU has left."""
    window: int | None = None
    """The most tokens of context that the model may be given, where params.json does not say; else None."""
    gpu_memory: float | None = None
    """--gpu-memory: up to 1 a share of the card, above it GiB; None for what is free, within bounds."""
    dtype: str = "auto"
    """vLLM's name of a number format, or `number_format.MEASURED`."""
    eager: bool = True
    """Whether nothing is compiled and no CUDA graphs are captured."""
    fast_start: bool = False
    """Whether Inductor is left out: a quicker start, slower tokens. CUDA graphs are kept for decoding."""
    text_only: bool = False
    """Whether a model that sees is loaded without its vision encoder."""
    sampling: Sampling = field(default_factory=Sampling)
    """The model's own, for requests that name none."""
    max_num_seqs: int = 2
    threads: int = 1
    load_threads: int = 1
    """While the model is loaded, when nothing else of toolchat needs a core."""
    debug: bool = False
    """Whether vLLM logs more, and how the model was loaded is told."""
    notes: tuple[str, ...] = ()
    """What the user is to be told of these choices."""

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made of one."""
        return cls(**{**written, "sampling": Sampling(**written["sampling"]), "notes": tuple(written["notes"])})


def plan(
    model: str,
    folder: Path,
    device: str,
    *,
    context: int | None = None,
    kv_cache_gib: float | None = None,
    gpu_memory: float | None = None,
    dtype: str | None = None,
    eager: bool = False,
    fast_start: bool = False,
    text_only: bool = False,
    sampling: Sampling | None = None,
    gpu_total: int | None = None,
    flags: Collection[str] = (),
    debug: bool = False,
) -> EngineConfig:
    """Decide how `folder` is loaded on `device`.

    `context` is in tokens, `kv_cache_gib` in GiB, `gpu_memory` as in `EngineConfig`; None means the default. `eager`
    is for a model that is loaded sooner than compiled. `gpu_total` is the GPU's memory in
    bytes, where it is known. `flags` are the parameters that were given on the command line: a note says which of them
    have no effect. Raises UsageError where the context asked for is longer than
    the model's, EngineError where the memory of the machine, or of its GPU, cannot hold the model.
    """
    params = read_params(folder)
    longest = context_window(folder)
    if context is not None and longest is not None and context > longest:
        raise UsageError(
            f"--context {context}: the model {model} knows at most {longest} tokens; ask for {longest} or fewer"
        )
    kv_bytes = int(kv_cache_gib * GIB) if kv_cache_gib is not None else None
    notes = _without_effect(
        {"gpu_memory": gpu_memory, "fast_start": fast_start, "text_only": text_only},
        flags,
        model,
        device,
        eager=eager,
        supports_images=has_vision(params),
    )
    window = None
    if device == "cpu":
        context = context or min(longest or CPU_CONTEXT, CPU_CONTEXT)
        dtype, kv_bytes, note = _cpu_memory(model, folder, params, context, kv_bytes, dtype)
        notes += [note] if note else []
    elif gpu_total is not None:
        # Found here rather than after the imports; what is free counts too, and is measured when CUDA is there.
        check_weights(model, weight_bytes(folder), MOST, gpu_total, gpu_total)
    if device == "cuda" and not params.get("max_position_embeddings"):
        window = longest or context or ASSUMED_CONTEXT
        if longest is None and context is None:
            notes.append(
                f"the files of {model} do not say how long a context it knows; {ASSUMED_CONTEXT} tokens are assumed, "
                "and --context sets another"
            )
    cores = granted_cores()
    return EngineConfig(
        model=model,
        folder=str(folder),
        device=device,
        context=context,
        kv_cache_bytes=kv_bytes,
        window=window,
        gpu_memory=gpu_memory,
        dtype=dtype or "auto",
        eager=eager or device == "cpu",
        fast_start=fast_start,
        text_only=text_only and has_vision(params),
        sampling=sampling or Sampling(),
        # One core is left for the terminal and the rest of the machine: with all of them, OpenMP's busy
        # waiting made tokens three to ten times slower whenever another process ran.
        threads=max(1, math.ceil(cores) - 1),
        # While weights are laid out there are few barriers to wait at: 1.3 times as fast with the second of two cores,
        # and no slower beside a busy process.
        load_threads=max(1, int(cores)),
        debug=debug,
        notes=tuple(notes),
    )


def read_params(folder: Path) -> dict[str, Any]:
    """The model's params.json. Raises EngineError, one line, where it is missing or broken."""
    params = _read_object(folder / "params.json")
    if params is None:
        raise EngineError(f"{folder / 'params.json'}: no such file; a model in Mistral's format has one")
    return params


def context_window(folder: Path) -> int | None:
    """The longest context, in tokens, that a model's files allow; None where they do not say.

    This is vLLM's own reckoning (0.33: `MistralConfigParser.parse`, `derive_max_model_len_and_key`), so that what is
    asked for is not refused there: params.json's `max_position_embeddings`, else config.json's, else 128,000; and at
    most params.json's `max_seq_len`. Raises EngineError where params.json cannot be read.
    """
    params = read_params(folder)
    positions = _count(params.get("max_position_embeddings"))
    if positions is None:
        try:
            written = _read_object(folder / "config.json") or {}
        except EngineError:
            written = {}  # vLLM goes on without it, too
        text = written.get("text_config")
        nested = _count(text.get("max_position_embeddings")) if isinstance(text, dict) else None
        positions = nested or _count(written.get("max_position_embeddings"))
    sequence = _count(params.get("max_seq_len"))
    if sequence is None:
        return positions
    return min(sequence, positions or VLLM_CONTEXT)


def has_vision(params: dict[str, Any]) -> bool:
    """Whether a model with these params.json has an encoder for images; Pixtral's first release names it otherwise."""
    older = params.get("multimodal")
    return bool(params.get("vision_encoder") or (isinstance(older, dict) and older.get("vision_encoder_args")))


def weight_bytes(folder: Path) -> int:
    """Bytes of the model's weights on disk; on a GPU they take as much of its memory."""
    return sum(file.stat().st_size for file in folder.glob("consolidated*.safetensors"))


def kv_bytes_per_token(params: dict[str, Any], width: int = 2) -> int:
    """Bytes of keys and values for one token, in numbers of `width` bytes, by Mistral's params.json."""
    layers = int(params["n_layers"])
    heads = int(params.get("n_kv_heads") or params["n_heads"])
    head_dim = int(params.get("head_dim") or params["dim"] // params["n_heads"])
    return 2 * width * layers * heads * head_dim


def _read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no such file. Raises EngineError where it holds no object."""
    try:
        # Mistral's files are UTF-8, whatever the locale; some editors put a byte order mark before it.
        written = json.loads(read_file(path, MAX_PARAMS).decode("utf-8-sig"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path}: cannot be read: {error}") from None
    if not isinstance(written, dict):
        raise EngineError(f"{path}: expected a JSON object")
    return written


def _without_effect(
    values: Mapping[str, Any], flags: Collection[str], model: str, device: str, *, eager: bool, supports_images: bool
) -> list[str]:
    """A line for each reason why flags on the command line have no effect on this model and device."""
    given = {name: f"--{name.replace('_', '-')}" for name, value in values.items() if value and name in flags}
    reasons: dict[str, list[str]] = {}
    for name, flag in given.items():
        if name == "text_only":
            if not supports_images:
                reasons.setdefault(f"{model} has no image encoder", []).append(flag)
        elif device == "cpu":
            reasons.setdefault("the engine runs on the CPU", []).append(flag)
        elif name == "fast_start" and eager:
            reasons.setdefault(f"{model} is never compiled", []).append(flag)
    return [
        f"{' and '.join(ignored)} {'has' if len(ignored) == 1 else 'have'} no effect: {reason}"
        for reason, ignored in reasons.items()
    ]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _cpu_memory(
    model: str, folder: Path, params: dict[str, Any], context: int, asked: int | None, dtype: str | None
) -> tuple[str, int, str]:
    """The number format, the bytes of the KV cache, and what is to be said of them ("" for nothing)."""
    if dtype is not None or params.get("quantization"):
        # A quantised model computes in the format that its weights were made for.
        chosen = dtype or "auto"
        return chosen, _cpu_kv_cache(model, folder, params, context, asked, chosen), ""
    suited = by_flags(cpu_flags())
    if suited == "auto":
        return suited, _cpu_kv_cache(model, folder, params, context, asked, suited), ""
    try:
        return suited, _cpu_kv_cache(model, folder, params, context, asked, suited), ""
    except EngineError:
        # Slow is better than not at all; where bfloat16 does not fit either, its numbers are the ones to tell.
        kv_bytes = _cpu_kv_cache(model, folder, params, context, asked, "bfloat16")
    return (
        "bfloat16",
        kv_bytes,
        f"the memory does not hold {model} in float32: it runs in bfloat16, "
        + ("which this CPU may be slow at" if suited == MEASURED else "which is slow on this CPU"),
    )


def _cpu_kv_cache(model: str, folder: Path, params: dict[str, Any], context: int, asked: int | None, dtype: str) -> int:
    # vLLM's own default on a CPU claims 92 % of the memory, or fails where so much is not free.
    wide = dtype in ("float32", MEASURED)
    try:
        per_token = kv_bytes_per_token(params, 4 if wide else 2)
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
    # More than the context, so that another request does not push a whole conversation's prefix out. Not twice as
    # much: the engine writes zeros into all of it at its start (1 s for 380 MB where the kernel's pages are small).
    wanted = asked if asked is not None else whole + whole // 4
    # Weights on disk have 16 bits a number.
    weights = weight_bytes(folder) * (2 if wide else 1)
    free = granted_memory()
    if weights + whole + CPU_HEADROOM <= free < weights + wanted + CPU_HEADROOM and asked is None:
        wanted = whole
    if weights + wanted + CPU_HEADROOM > free:
        raise EngineError(
            f"not enough memory for {model}: {weights / GIB:.1f} GiB of weights and {wanted / GIB:.2f} GiB of KV cache "
            f"for {context} tokens, but {free / GIB:.1f} GiB are free; close other programs, or lower "
            f"{'--kv-cache' if asked is not None else '--context'}"
        )
    return wanted

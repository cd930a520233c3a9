"""Plans how a model is loaded: context, memory, threads. Decided before the worker starts, to fail early."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from toolchat.engine.cgroups import granted_cores, granted_memory
from toolchat.engine.gpu import GIB, Gpu
from toolchat.engine.memory import (
    FP8_CAPABILITY,
    MOST,
    ONE_CHAT,
    OVERHEAD,
    VISION_ENCODER,
    Need,
    check_fits,
    embedding_bytes,
    little_left,
    loaded_bytes,
)
from toolchat.engine.number_format import MEASURED, by_flags, cpu_flags
from toolchat.engine.params import (
    Format,
    context_window,
    format_of,
    has_vision,
    kv_bytes_per_token,
    quantized_by,
    read_object,
    read_params,
    weight_bytes,
)
from toolchat.engine.vllm_options import Lora, check_lora, check_quantization
from toolchat.wire.errors import EngineError, UsageError

CPU_CONTEXT = 8192
"""Tokens of context on a CPU where none is asked for: a longer one costs memory and minutes of prefill."""
CPU_HEADROOM = 1.5 * GIB
"""What torch, vLLM and activations of a small model take beside weights and KV cache (measured: 1.2 GiB)."""
BLOCK = 32
"""Tokens of one prefix-cache block on a CPU; vLLM's default there, 128, leaves most of a short chat uncached."""
FP8_CACHE_CPU = frozenset({"avx512f", "amx_tile"})
"""Linux's flags of CPUs with either of which vLLM keeps keys and values in FP8 (0.32, `cpu_attn.py`)."""
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
        return read_object(path) or {}
    except EngineError:
        return {}


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
    max_num_seqs: int = 8
    """Requests that are generated for at once, of all clients; others wait. On two cores and with the demo model twelve
    answers took 3.1 s at 2, 1.7 at 4, 1.4 at 8 and 1.6 at 16, and one alone as long at each (benchmarks/warm_ask.py).
    On a GPU each width has CUDA graphs to capture, more of them for a larger one."""
    threads: int = 1
    load_threads: int = 1
    """While the model is loaded, when nothing else of toolchat needs a core."""
    format: str = Format.MISTRAL
    """How the model's files are laid out."""
    quantization: str | None = None
    """vLLM's name of the method; None for that of the model's files, if any."""
    lora: Lora | None = None
    engine_args: Mapping[str, Any] = field(default_factory=dict)
    """What the user adds to vLLM's `EngineArgs`, by their names."""
    need: Need | None = None
    """What it takes of the memory; None where that is not known."""
    debug: bool = False
    """Whether vLLM logs more, and how the model was loaded is told."""
    notes: tuple[str, ...] = ()
    """What the user is to be told of these choices."""

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made of one."""
        parts: dict[str, Any] = {"sampling": Sampling(**written["sampling"]), "notes": tuple(written["notes"])}
        for name, kind in (("lora", Lora), ("need", Need)):
            parts[name] = kind(**written[name]) if written.get(name) is not None else None
        return cls(**{**written, **parts})


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
    enforce_eager: bool = False,
    quantization: str | None = None,
    lora: Lora | None = None,
    engine_args: Mapping[str, Any] | None = None,
    sampling: Sampling | None = None,
    card: Gpu | None = None,
    smaller: str = "",
    flags: Collection[str] = (),
    debug: bool = False,
) -> EngineConfig:
    """Decide how `folder` is loaded on `device`.

    `context` is in tokens, `kv_cache_gib` in GiB, `gpu_memory` as in `EngineConfig`; None means the default. `eager`
    is for a model that is loaded sooner than compiled. `engine_args` are those of `vllm_options.read_engine_args`.
    `card` is the engine's GPU, where it is known, and `smaller` a quantised repository of the same model. `flags` are
    the parameters that were given on the command line: a note says which of them have no effect. Raises UsageError
    where the context asked for is longer than the model's, or options contradict each other, EngineError where the
    memory of the machine, or of its GPU, cannot hold the model.
    """
    engine_args = engine_args or {}
    params = read_params(folder)
    longest = context_window(folder)
    asked, context = context, least_context(model, folder, device, context)
    if quantization is not None:
        check_quantization(quantization, quantized_by(params))
    if lora is not None:
        check_lora(lora, model, params)
    if fast_start and "compilation_config" in engine_args:
        raise UsageError("--fast-start sets vLLM's compilation_config; leave it or --engine-arg compilation_config out")
    kv_bytes = int(kv_cache_gib * GIB) if kv_cache_gib is not None else None
    notes = _without_effect(
        {"gpu_memory": gpu_memory, "fast_start": fast_start, "enforce_eager": enforce_eager, "text_only": text_only},
        flags,
        model,
        device,
        eager=eager,
        supports_images=has_vision(params),
    )
    window = None
    kind = format_of(folder)
    if has_vision(params) and kind is Format.HF and not text_only:
        # vLLM's class of it wants transformers' tokenizer for its images, and toolchat's calls Mistral's own.
        text_only = True
        notes.append(f"{model} is loaded without its image encoder: images take a model in Mistral's format")
    text_only = text_only and has_vision(params)
    weights = loaded_bytes(weight_bytes(folder), quantization, params) + (lora.bytes if lora is not None else 0)
    cached_in_8_bits = str(engine_args.get("kv_cache_dtype", "")).startswith("fp8")
    need: Need | None = None
    if device == "cpu":
        assert context is not None
        plain = quantization is None and not params.get("quantization")
        memory = _CpuMemory(
            model, folder, params, weights, context, kv_bytes, smaller, engine_args.get("block_size"), cached_in_8_bits
        )
        dtype, kv_bytes, note = memory.settle(dtype if plain or dtype is not None else "auto")
        notes += [note] if note else []
    else:
        need = gpu_need(
            params,
            weights,
            context,
            longest,
            card.capability if card is not None else None,
            text_only=text_only,
            quantized=quantization is not None,
            cached_in_8_bits=cached_in_8_bits,
            smaller=smaller,
        )
        if card is not None and card.total is not None:
            # Found here rather than after the imports; what is free counts too, and is measured when CUDA is there.
            check_fits(model, need, MOST, card.total, card.total)
            if told := little_left(model, need, card.total):
                notes.append(told)
    if device == "cuda" and not params.get("max_position_embeddings"):
        window = longest or asked or ASSUMED_CONTEXT
        if longest is None and asked is None:
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
        eager=eager or enforce_eager or device == "cpu",
        fast_start=fast_start,
        text_only=text_only,
        sampling=sampling or Sampling(),
        # One core is left for the terminal and the rest of the machine: with all of them, OpenMP's busy
        # waiting made tokens three to ten times slower whenever another process ran.
        threads=max(1, math.ceil(cores) - 1),
        # While weights are laid out there are few barriers to wait at: 1.3 times as fast with the second of two cores,
        # and no slower beside a busy process.
        load_threads=max(1, int(cores)),
        format=kind,
        quantization=quantization,
        lora=lora,
        engine_args=engine_args,
        need=need,
        debug=debug,
        notes=tuple(notes),
    )


def least_context(model: str, folder: Path, device: str, asked: int | None) -> int | None:
    """The tokens of context that a chat is to have; None for what the GPU's memory holds.

    Raises UsageError where more are asked for than the model knows, EngineError where its params.json cannot be read.
    """
    longest = context_window(folder)
    if asked is not None and longest is not None and asked > longest:
        raise UsageError(
            f"--context {asked}: the model {model} knows at most {longest} tokens; ask for {longest} or fewer"
        )
    if asked is None and device == "cpu":
        return min(longest or CPU_CONTEXT, CPU_CONTEXT)
    return asked


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
        elif name in ("fast_start", "enforce_eager") and eager:
            reasons.setdefault(f"{model} is never compiled", []).append(flag)
    return [
        f"{' and '.join(ignored)} {'has' if len(ignored) == 1 else 'have'} no effect: {reason}"
        for reason, ignored in reasons.items()
    ]


def gpu_need(
    params: dict[str, Any],
    weights: int,
    context: int | None,
    longest: int | None,
    capability: tuple[int, int] | None,
    *,
    text_only: bool = False,
    quantized: bool = False,
    cached_in_8_bits: bool = False,
    smaller: str = "",
) -> Need:
    """What a model with `weights` bytes and one chat take of a GPU of that compute capability.

    `context` is the one asked for, `longest` the model's. `quantized` is whether the weights are quantised while they
    are loaded.
    """
    sees = has_vision(params)
    fp8 = capability is not None and capability >= FP8_CAPABILITY
    try:
        # Keys and values of a window slide out of the cache: the whole context is no measure of it.
        per_token = 0 if params.get("sliding_window") else kv_bytes_per_token(params, 1 if cached_in_8_bits else 2)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        per_token = 0  # vLLM may make something of it
    plain = not quantized and not params.get("quantization")
    return Need(
        max(0, weights - (VISION_ENCODER if text_only else 0)),
        per_token,
        context if context is not None else min(longest or ONE_CHAT, ONE_CHAT),
        context_asked=context is not None,
        other=OVERHEAD,
        encoder=VISION_ENCODER if sees and not text_only else 0,
        unquantized=max(0, weights - embedding_bytes(params)) if plain and fp8 else 0,
        fp8_cache=fp8 and not cached_in_8_bits,
        smaller=smaller,
    )


@dataclass(frozen=True, slots=True)
class _CpuMemory:
    """Number format and KV cache of a model on a CPU, by the memory that is free."""

    model: str
    folder: Path
    params: dict[str, Any]
    weights: int
    """Bytes, in numbers of 16 bits or as they are quantised."""
    context: int
    asked: int | None
    """Bytes of --kv-cache."""
    smaller: str
    block: int | None
    """Tokens of a block of the cache, where the user sets it."""
    cached_in_8_bits: bool

    def settle(self, dtype: str | None) -> tuple[str, int, str]:
        """The number format, the bytes of the KV cache, and what is to be said of them ("" for nothing).

        `dtype` is the format that was asked for, or that quantised weights were made for. Raises EngineError where the
        memory does not suffice.
        """
        suited = dtype or by_flags(cpu_flags())
        if dtype is not None or suited == "auto":
            return suited, self._kv_cache(suited), ""
        try:
            return suited, self._kv_cache(suited), ""
        except EngineError:
            # Slow is better than not at all; where bfloat16 does not fit either, its numbers are the ones to tell.
            kv_bytes = self._kv_cache("bfloat16")
        return (
            "bfloat16",
            kv_bytes,
            f"the memory does not hold {self.model} in float32: it runs in bfloat16, "
            + ("which this CPU may be slow at" if suited == MEASURED else "which is slow on this CPU"),
        )

    def _kv_cache(self, dtype: str) -> int:
        # vLLM's own default on a CPU claims 92 % of the memory, or fails where so much is not free.
        wide = dtype in ("float32", MEASURED)
        try:
            per_token = kv_bytes_per_token(self.params, 1 if self.cached_in_8_bits else 4 if wide else 2)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            file = "config.json" if format_of(self.folder) is Format.HF else "params.json"
            raise EngineError(
                f"{self.folder / file}: the KV cache cannot be sized from it ({type(error).__name__}: {error}); "
                "expected n_layers, n_heads and head_dim (or dim), each a number"
            ) from None
        whole = (self.context + (self.block or BLOCK)) * per_token
        if self.asked is not None and self.asked < whole:
            raise EngineError(
                f"--kv-cache {self.asked / GIB:.3g}: too small for a context of {self.context} tokens of {self.model}, "
                f"which takes {whole / GIB:.2f} GiB; give at least that, or a smaller --context"
            )
        # More than the context, so that another request does not push a whole conversation's prefix out. Not twice as
        # much: the engine writes zeros into all of it at its start (1 s for 380 MB where the kernel's pages are small).
        wanted = self.asked if self.asked is not None else whole + whole // 4
        weights = self.weights * (2 if wide else 1)
        free = granted_memory()
        if weights + whole + CPU_HEADROOM <= free < weights + wanted + CPU_HEADROOM and self.asked is None:
            wanted = whole
        if weights + wanted + CPU_HEADROOM > free:
            need = Need(
                weights,
                per_token,
                self.context,
                context_asked=True,
                other=int(CPU_HEADROOM),
                fp8_cache=not wide and not self.cached_in_8_bits and bool(cpu_flags() & FP8_CACHE_CPU),
                smaller=self.smaller,
            )
            enough = self.asked is not None and weights + whole + CPU_HEADROOM <= free
            raise EngineError(
                f"not enough memory for {self.model}: {weights / GIB:.1f} GiB of weights and {wanted / GIB:.2f} GiB of "
                f"KV cache for {self.context} tokens, but {free / GIB:.1f} GiB are free; close other programs, "
                f"or {f'lower --kv-cache: {whole / GIB:.2f} would do' if enough else need.remedy(free)}"
            )
        return wanted

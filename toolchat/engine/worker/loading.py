"""Loads vLLM as an `EngineConfig` says: its arguments, absent modules, model classes, threads, a worker with stages.

vLLM and torch are imported within functions alone: the arguments are also those of vLLM's own server, whose command is
planned where neither is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchat.engine.config import BLOCK, EngineConfig
from toolchat.engine.memory import MOST
from toolchat.engine.params import Format, architectures, format_of, has_vision, read_params

BASES = {"cpu": "vllm.v1.worker.cpu_worker.CPUWorker", "cuda": "vllm.v1.worker.gpu_worker.Worker"}
"""What vLLM's platforms put in place of "auto" (vllm/platforms/cpu.py and cuda.py, `check_and_update_config`)."""
WORKER_CLASS = "toolchat.engine.worker.loading.StagedWorker"


def engine_arguments(config: EngineConfig, *, tekken: bool, vision: bool, share: float | None = None) -> dict[str, Any]:
    """The arguments of `vllm.EngineArgs`.

    `tekken` is whether the tokenizer is one (else SentencePiece), `vision` whether the model has an encoder for images,
    `share` the part of the GPU's memory that may be used (see memory.budget).
    """
    arguments: dict[str, Any] = {
        "model": config.folder,
        "served_model_name": config.model,
        # Of either format: toolchat's parser and grammars stand on mistral_common's tokenizer.
        "tokenizer_mode": "mistral",
        "config_format": str(config.format),
        "load_format": "mistral" if config.format == Format.MISTRAL else "safetensors",
        "dtype": config.dtype,
        # -1 has vLLM fit the context to the memory that the GPU has left. A context that was asked for is kept to by
        # the worker itself there: as an argument it would be a part of the compiled code's key.
        "max_model_len": config.context if config.device == "cpu" else -1,
        "max_num_seqs": config.max_num_seqs,
        "disable_log_stats": True,
        # Tells of the stages of loading as they are reached.
        "worker_cls": WORKER_CLASS,
        # One backend serves an engine for life: guidance knows tekken's special tokens and refuses
        # SentencePiece, xgrammar the other way round.
        "structured_outputs_config": {
            "backend": "guidance" if tekken else "xgrammar",
            "disable_any_whitespace": True,
        },
    }
    if config.kv_cache_bytes is not None:
        arguments["kv_cache_memory_bytes"] = config.kv_cache_bytes
    if config.window is not None:
        known = {"max_position_embeddings": config.window}
        # Around the model of the language, where there is an encoder for images.
        arguments["hf_overrides"] = {"text_config": known} if vision else known
    if config.eager:
        arguments["enforce_eager"] = True
    elif config.fast_start:
        # Without Inductor, which compiles for long at the first start; with graphs for decoding, without which each
        # token waits for Python.
        arguments["compilation_config"] = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
    if config.text_only:
        arguments["language_model_only"] = True
    if config.quantization is not None:
        arguments["quantization"] = config.quantization
    if config.lora is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": config.lora.rank}
    if config.device == "cpu":
        arguments["block_size"] = BLOCK
    elif share is not None:
        arguments["gpu_memory_utilization"] = share
    return {**arguments, **config.engine_args}


def startup_plan(config: EngineConfig, share: float | None) -> bool:
    """Whether vLLM may reuse the memory profile of an earlier start (VLLM_ENABLE_STARTUP_PLAN).

    Only with vLLM's own share of the card, which is not a part of the plan's key: else the plan of a busy card would
    keep the context short for good, and --gpu-memory would be ignored. The context is a part of the key, and vLLM looks
    the plan up before it fits the context to the memory and writes it afterwards (0.33, tests/cuda): a plan is found
    again only if the memory holds the model's whole context.
    """
    return config.device == "cuda" and config.gpu_memory is None and share == MOST


def hide_unloadable_modules(*, supports_images: bool = False) -> None:
    """Make absent what is installed but cannot load, before transformers looks for it.

    PyPI's torchvision, torchaudio and torchcodec are built for another torch than the CPU build of it; importing
    them raises ("operator torchvision::nms does not exist"), and transformers imports them wherever it finds them.
    With `supports_images`, torchvision is kept: vLLM's classes of models that take images need it.
    """
    if supports_images:
        make_torchvision_loadable()
    for name in ("torchvision", "torchaudio", "torchcodec"):
        try:
            __import__(name)
        except Exception:
            sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail


def make_torchvision_loadable() -> None:
    """Let PyPI's torchvision be imported beside the CPU build of torch, where its compiled part cannot be loaded.

    Its Python part stops at two operators that the compiled part would have declared. Declared here, without a body,
    they are enough: what is used of it (`torchvision.transforms.v2.functional`) is Python throughout.
    """
    try:
        __import__("torchvision")
    except ImportError:
        return
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        declare_torchvision_operators()


def declare_torchvision_operators() -> None:
    """See `make_torchvision_loadable`; vLLM's server has its own processes call it (engine/server_site)."""
    import torch

    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float threshold) -> Tensor")


def register_model(folder: Path) -> None:
    """Have vLLM inspect the model's class in this process.

    It would otherwise start a second interpreter to look at the class (to keep CUDA out of this one), which takes
    seconds and knows nothing of the modules hidden here. The name is what vLLM makes of a params.json, by its
    transformers_utils/configs/mistral.py. That second interpreter also begins in the folder the user is in.
    """
    from vllm import ModelRegistry

    if format_of(folder) is Format.HF:
        # A model that sees is loaded as its language model (`plan`), whose class is looked up in its turn.
        known = ModelRegistry.models
        for name in dict.fromkeys((*architectures(folder), "MistralForCausalLM")):
            if name in known:  # what it does not know vLLM refuses itself, with the name
                ModelRegistry.register_model(name, known[name].load_model_cls())
        return
    params = read_params(folder)
    match params.get("moe"):
        case {"num_shared_experts": int(shared)} if shared > 0:
            names = ["MistralLarge3ForCausalLM"]
        case dict(moe) if moe:
            names = ["MixtralForCausalLM"]
        case _:
            names = ["MistralForCausalLM"]
    if has_vision(params):
        # Around the model of the language, which is looked up in its turn.
        names.append("PixtralForConditionalGeneration")
    for name in names:
        ModelRegistry.register_model(name, ModelRegistry.models[name].load_model_cls())


@contextmanager
def loading_threads(config: EngineConfig) -> Iterator[None]:
    """Give torch `config.load_threads` threads meanwhile, on a CPU, and afterwards what the environment says."""
    import torch

    # vLLM puts a function in its place that does nothing: threads that it has bound to cores must stay as they are.
    # Here it binds none (VLLM_CPU_OMP_THREADS_BIND is for workers in processes of their own).
    set_threads = torch.set_num_threads
    before = torch.get_num_threads()
    # Another number than ours is the user's (OMP_NUM_THREADS).
    if config.device != "cpu" or before != config.threads or config.load_threads <= before:
        yield
        return
    set_threads(config.load_threads)
    try:
        yield
    finally:
        set_threads(before)


def install_staged_worker(device: str, announce: Callable[[str], None], *, compiles: bool, captures: bool) -> None:
    """Make `StagedWorker` for `device`, which vLLM looks up in this module by its name (`WORKER_CLASS`).

    It is derived from the class that the platform would have taken, and must exist before the engine does. `announce`
    is called with each stage that follows the loading of weights.
    `compiles` and `captures` say whether this engine compiles code, and whether it captures CUDA graphs.
    """
    from vllm.utils.import_utils import resolve_obj_by_qualname

    globals()["StagedWorker"] = staged(
        resolve_obj_by_qualname(BASES[device]), announce, compiles=compiles, captures=captures
    )


def staged(base: Any, announce: Callable[[str], None], *, compiles: bool, captures: bool) -> type:
    """`base`, a worker of vLLM, with its stages told."""

    class StagedWorker(base):  # type: ignore[misc]  # a class of vLLM's, known at run time only
        def determine_available_memory(self) -> int:
            # The first run of the model: whatever is compiled is compiled here.
            if compiles:
                announce("compiling")
            available: int = super().determine_available_memory()
            return available

        def compile_or_warm_up_model(self) -> Any:
            if captures:
                announce("capturing CUDA graphs")
            return super().compile_or_warm_up_model()

    return StagedWorker

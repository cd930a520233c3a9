"""Maps an `EngineConfig` to vLLM's own arguments and environment. Imports nothing of vLLM."""

from __future__ import annotations

from typing import Any

from toolchat.engine.config import BLOCK, EngineConfig
from toolchat.engine.memory import MOST
from toolchat.engine.params import Format

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

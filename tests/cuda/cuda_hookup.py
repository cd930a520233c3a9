"""The one place where these tests reach for what toolchat decides about a GPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from toolchat.engine.config import EngineConfig, has_vision, plan, read_params

DECIDES = importlib.util.find_spec("toolchat.engine.gpu_memory") is not None
"""Whether toolchat decides about a GPU's memory and a model's context; what vLLM does by itself is no test of it."""

try:
    from toolchat.engine.gpu_memory import budget
    from toolchat.engine.vllm_arguments import engine_arguments
    from toolchat.engine.worker_stages import BASES
except ModuleNotFoundError:
    # Until the worker's arguments have a module of their own: a copy of what it passes.
    BASES = {"cuda": "vllm.v1.worker.gpu_worker.Worker"}

    def budget(free: int, total: int) -> float:
        return 0.92

    def engine_arguments(
        config: EngineConfig, *, tekken: bool, vision: bool, share: float | None = None
    ) -> dict[str, Any]:
        return {
            "model": config.folder,
            "served_model_name": config.model,
            "tokenizer_mode": "mistral",
            "config_format": "mistral",
            "load_format": "mistral",
            "max_model_len": config.context if config.context is not None else -1,
            "max_num_seqs": config.max_num_seqs,
            "disable_log_stats": True,
            "structured_outputs_config": {
                "backend": "guidance" if tekken else "xgrammar",
                "disable_any_whitespace": True,
            },
            **({"kv_cache_memory_bytes": config.kv_cache_bytes} if config.kv_cache_bytes is not None else {}),
        }


def arguments_for(folder: Path, options: dict[str, Any], share: float | None) -> dict[str, Any]:
    """vLLM's arguments for the model in `folder` on a GPU, with the `options` of `plan`."""
    config = plan("m", folder, "cuda", **options)
    tekken = (folder / "tekken.json").exists()
    return engine_arguments(config, tekken=tekken, vision=has_vision(read_params(folder)), share=share)


def share_of(free: int, total: int) -> float:
    """The share of a card of `total` bytes that toolchat gives vLLM where `free` of them are free."""
    return budget(free, total)

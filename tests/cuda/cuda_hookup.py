"""The one place where these tests reach for what toolchat decides about a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolchat.engine.config import plan
from toolchat.engine.memory import budget
from toolchat.engine.params import has_vision, read_params
from toolchat.engine.worker.loading import BASES, engine_arguments

WORKER_BASE = BASES["cuda"]


def arguments_for(folder: Path, options: dict[str, Any], share: float | None) -> dict[str, Any]:
    """vLLM's arguments for the model in `folder` on a GPU, with the `options` of `plan`."""
    config = plan("m", folder, "cuda", **options)
    tekken = (folder / "tekken.json").exists()
    return engine_arguments(config, tekken=tekken, vision=has_vision(read_params(folder)), share=share)


def share_of(free: int, total: int) -> float:
    """The share of a card of `total` bytes that toolchat gives vLLM where `free` of them are free."""
    return budget(free, total)

"""The models and cards that vLLM's CUDA build is asked about, and the form of its answers."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """A model on a card."""

    model: str
    capability: tuple[int, int] = (8, 9)
    gib: float = 24
    share: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """Of `toolchat.engine.config.plan`."""


CASES = {
    "tekken": Case("tekken"),
    "sentencepiece": Case("sentencepiece"),
    "half the card": Case("tekken", share=0.5),
    "8 GiB, Turing": Case("tekken", (7, 5), 8),
    "Blackwell": Case("tekken", (12, 0), 32),
    "context": Case("tekken", options={"context": 1024}),
    "longer than the model": Case("tekken", options={"context": 4096}),
    "cache": Case("tekken", options={"kv_cache_gib": 0.5}),
    "context by config.json": Case("silent, config.json"),
    "context nowhere": Case("silent"),
    "context nowhere, asked for": Case("silent", options={"context": 8192}),
    "sees": Case("sees"),
    "sees, context nowhere": Case("sees, silent"),
    "fast start": Case("tekken", options={"fast_start": True}),
    "eager": Case("tekken", options={"eager": True}),
    "float16": Case("tekken", options={"dtype": "float16"}),
    "text only": Case("sees", options={"text_only": True}),
    "text only, context nowhere": Case("sees, silent", options={"text_only": True}),
    "fp8": Case("fp8"),
    "fp8, Turing": Case("fp8", (7, 5), 8),
}
MEMORY = [
    # GiB of the card, and how many of them a desktop or another program holds.
    *((4, 0.7), (8, 0.9), (12, 1.2), (16, 1.4), (24, 2.0), (24, 1.2), (24, 12.0)),
    *((8, 0.0), (24, 0.3), (80, 0.5)),
]


@dataclass(frozen=True)
class Answers:
    configurations: dict[str, dict[str, Any]]
    memory: list[dict[str, Any]]
    """In the order of MEMORY."""
    workers: dict[str, str]
    """The class of the worker that vLLM takes by itself, and the one that toolchat's derives from."""
    startup_plans: dict[str, int | None]
    """The bytes that the plan of a first start gives to a second one, by what the first has found."""


def pixtral() -> Any:
    """tests/e2e/tiny_pixtral.py, whose folder is not on the path here."""
    path = Path(__file__).parents[1] / "e2e" / "tiny_pixtral.py"
    spec = importlib.util.spec_from_file_location("tiny_pixtral", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

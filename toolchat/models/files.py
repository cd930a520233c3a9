"""The files of a model in Mistral's format, and whether a folder has them all."""

from __future__ import annotations

from pathlib import Path

from toolchat.wire.errors import EngineError

WEIGHTS = "consolidated*.safetensors"
TOKENIZERS = ("tekken.json", "tokenizer.model*")
NEEDED = ("params.json", WEIGHTS, "consolidated.safetensors.index.json", *TOKENIZERS)
"""Patterns of what Mistral's format needs; a repository often holds the same weights once more for transformers."""


def check_folder(folder: Path) -> None:
    """Raise EngineError, one line, where `folder` does not hold a whole model in Mistral's format."""
    if not folder.is_dir():
        raise EngineError(
            f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; expected a model's folder"
        )
    missing = []
    if not (folder / "params.json").is_file():
        missing.append("params.json")
    if not any(folder.glob(WEIGHTS)):
        missing.append(f"weights ({WEIGHTS})")
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        missing.append("a tokenizer (tekken.json or tokenizer.model.v3)")
    if missing:
        raise EngineError(f"{folder}: not a whole model in Mistral's format: it lacks {', '.join(missing)}")

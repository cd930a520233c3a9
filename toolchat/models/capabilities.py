"""Reads a model's capabilities (images, reasoning efforts) from its files before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolchat.engine.params import Format, format_of, has_vision, read_params
from toolchat.models.resolve import ModelChoice
from toolchat.private_file import read_file
from toolchat.wire.errors import EngineError

MAX_TOKENIZER = 256 * 1024**2
"""Bytes of tekken.json, of which Mistral's have up to 20 million."""


def reasoning_efforts(folder: Path) -> tuple[str, ...]:
    """What `--reasoning-effort` may be, by the tokenizer's own file (v15 and later); empty where it knows none.

    Raises EngineError where the file cannot be read.
    """
    path = folder / "tekken.json"
    if not path.is_file():
        return ()  # SentencePiece, which ends with v7
    try:
        written: Any = json.loads(read_file(path, MAX_TOKENIZER))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path}: cannot be read: {error}") from None
    match written:
        case {"model_settings_builder": {"reasoning_effort": {"values": list(values)}}}:
            return tuple(str(value) for value in values)
    return ()


def supports_images(choice: ModelChoice) -> bool | None:
    """Whether the model knows images; None where that cannot be told yet, since its files are still to be fetched.

    Raises EngineError where its params.json cannot be read.
    """
    if choice.kind == "demo":
        return False
    if choice.folder is None:
        return None
    # In the other format it is loaded without its image encoder.
    return has_vision(read_params(choice.folder)) and format_of(choice.folder) is Format.MISTRAL

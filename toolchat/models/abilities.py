"""What a model can do, read off its files before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolchat.wire.errors import EngineError


def reasoning_efforts(folder: Path) -> tuple[str, ...]:
    """What `--reasoning-effort` may be, by the tokenizer's own file (v15 and later); empty where it knows none.

    Raises EngineError where the file cannot be read.
    """
    path = folder / "tekken.json"
    if not path.is_file():
        return ()  # SentencePiece, which ends with v7
    try:
        written: Any = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise EngineError(f"{path}: cannot be read: {error}") from None
    match written:
        case {"model_settings_builder": {"reasoning_effort": {"values": list(values)}}}:
            return tuple(str(value) for value in values)
    return ()

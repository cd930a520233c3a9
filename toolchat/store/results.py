"""Whole tool results, where the model was shown only a part: one private file each, named in the part."""

from __future__ import annotations

import os
from pathlib import Path

from toolchat.wire.messages import ToolResult


def keep_result(folder: Path, result: ToolResult) -> str | None:
    """Write a result's content to `folder`; the file's path, or None where it cannot be written."""
    path = folder / f"{result.call_id}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(result.content)
    except OSError:
        return None
    return str(path)

"""The sample tools that the packaged tools.yaml points at, and where that lies."""

from __future__ import annotations

from pathlib import Path


def sample_tools_path() -> Path:
    """The tools file that is shipped with toolchat."""
    return Path(__file__).with_name("tools.yaml")

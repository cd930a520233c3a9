"""Where the tools file lies that is shipped with toolchat."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def sample_tools_path() -> Path:
    """The tools file that is shipped with toolchat."""
    return Path(str(files("toolchat.samples") / "tools.yaml"))

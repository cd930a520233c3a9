"""Where toolchat's own files are: settings, cache, state."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

APP = "toolchat"

NO_HOME = Path(os.devnull, "no-home-folder")
"""Where nothing is found and nothing can be made: for a user who has neither HOME nor an entry in passwd."""


def config_file() -> Path:
    """Where config.toml is looked for; it need not exist."""
    return _user_folder("user_config_dir", ".config") / "config.toml"


def cache_folder() -> Path:
    """What can be made again: the built demo model."""
    return _user_folder("user_cache_dir", ".cache")


def state_folder() -> Path:
    """What a user would miss: records of sessions, logs, what was trusted."""
    return _user_folder("user_state_dir", ".local/state")


def _user_folder(find: str, below_home: str) -> Path:
    """What platformdirs' `find` finds, if that is a place: without a home it may be a folder "~" in whatever folder the
    user is in.

    A relative path in an XDG variable is to be ignored, as its specification says.
    """
    import platformdirs  # --help needs no folder

    found: Callable[[str], str] = getattr(platformdirs, find)
    places: tuple[Callable[[], Path], ...] = (lambda: Path(found(APP)), lambda: Path.home() / below_home / APP)
    for place in places:
        with suppress(RuntimeError):
            if (folder := place()).is_absolute():
                return folder
    return NO_HOME / APP

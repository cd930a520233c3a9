"""Where toolchat's own files are: settings, cache, state, and system prompts that have a name."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from toolchat.wire.errors import UsageError

APP = "toolchat"
NO_HOME = Path(os.devnull, "no-home-folder")
"""Where nothing is found and nothing can be made: for a user who has neither HOME nor an entry in passwd."""
SUFFIXES = (".md", ".txt")
"""Of system prompts that have a name."""
MOST_BYTES = 64 * 1024
"""As of the prompts that come with models."""
_NAME = re.compile(r"\w[\w.-]{0,63}")
_MOST = 500
"""Files of the folder that are looked at."""


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


def prompts_folder() -> Path:
    return config_file().parent / "prompts"


def named_prompts() -> list[str]:
    """The names that there are."""
    try:
        found = [path for path, _ in zip(prompts_folder().iterdir(), range(_MOST), strict=False)]
    except OSError:
        return []
    return sorted({path.stem for path in found if path.suffix in SUFFIXES and _NAME.fullmatch(path.stem)})


def named_prompt(name: str) -> Path | None:
    """The file of the prompt of that name; None where there is none."""
    if not _NAME.fullmatch(name):
        return None
    for suffix in SUFFIXES:
        try:
            path = prompts_folder() / f"{name}{suffix}"
            if path.is_file():
                return path
        except OSError:
            continue
    return None


def prompt_text(written: str, path: Path) -> str:
    """The prompt in a file that was written so. Raises UsageError where the file is none that could be one."""
    from toolchat.private_file import UnfitFileError, read_file

    try:
        text = read_file(path, MOST_BYTES).decode("utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"{written}: expected text in UTF-8 (byte {error.start} is none)") from None
    except UnfitFileError as error:
        raise UsageError(f"{written}: {error}") from None
    except OSError as error:
        hint = "; a text that looks like a path goes into a file" if error.errno == errno.ENOENT else ""
        raise UsageError(f"{written}: cannot be read ({error.strerror}){hint}") from None
    if not text:
        raise UsageError(f"{written}: is empty; `none` removes the system prompt")
    return text

"""The state folder: made private, looked over once before a command relies on it, and its logs kept from growing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from toolchat.private_file import (
    DistrustedError,
    NotAFileError,
    distrusted,
    ignore,
    no_folder,
    open_file,
    private_folder,
)
from toolchat.wire.errors import ToolchatError

HISTORY = "history"
GRANTS = "grants.json"
TOOLS_LOG = Path("logs", "tools.log")
_BELIEVED = (GRANTS, "trusted-tools.json", "trusted-settings.json")
"""Those that let code run, or a folder's settings count."""


def open_state(folder: Path) -> Path:
    """`folder`, which exists from now on where it can be made. What is wrong with its files is told now, once.

    Raises:
        ToolchatError: something else than a file stands where one is kept, or than a folder.
    """
    for place in (folder, folder / TOOLS_LOG.parent):
        if (problem := no_folder(place)) is not None:
            raise ToolchatError(f"{place}: {problem}")
    # A state folder that cannot be had costs what would be kept there, and nothing else.
    try:
        private_folder(folder)
    except DistrustedError as error:
        ignore(folder, str(error))
        return folder
    except OSError:
        pass
    for name in (HISTORY, *_BELIEVED, TOOLS_LOG):
        path = folder / name
        try:
            if path.exists():
                check_file(path)
        except OSError:  # nothing there can be read, and so nothing is believed
            continue
        if name in _BELIEVED and (why := distrusted(path)) is not None:
            ignore(path, why)
    return folder


def check_file(path: Path) -> None:
    """Raise ToolchatError where something else than a file stands at `path`."""
    try:
        os.close(open_file(path, os.O_RDONLY))
    except NotAFileError as error:
        raise ToolchatError(f"{path}: {error.strerror}") from None
    except OSError:
        return


LARGEST = 4_000_000
"""Bytes; beyond that a log is set aside, and the one set aside before is dropped."""


def appendable(path: Path) -> Path:
    """`path`, in a private folder where there can be one, ready to be appended to."""
    with suppress(OSError):  # without a log a chat goes on
        private_folder(path.parent)
        if path.stat().st_size > LARGEST:
            path.replace(path.with_suffix(".log.1"))
    return path

"""Opens config.toml in the user's editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from toolchat.wire.errors import ToolchatError, UsageError

_EDITORS = ("sensible-editor", "editor", "nano", "vi")
"""Tried in this order where neither VISUAL nor EDITOR is set."""


def edit_config(file: Path) -> None:
    """Have the user edit `file`, which is made where it is missing, and return when the editor ends.

    Raises UsageError where there is no editor, ToolchatError where the file cannot be made or the editor fails.
    """
    editor = _editor()
    _make(file)
    try:
        code = subprocess.run([*editor, str(file)], check=False).returncode
    except OSError as error:
        raise UsageError(f"{editor[0]}: cannot be started ({error.strerror}); set EDITOR to your editor") from None
    if code:
        raise ToolchatError(f"{editor[0]} ended with the code {code}; {file} is as it left it")


def template() -> str:
    """A first config.toml: every setting, none of which counts yet."""
    from toolchat.settings import SETTINGS

    lines = ["# Settings of toolchat; docs/settings.md explains them. Remove the # before a line that is to count."]
    for name, setting in SETTINGS.items():
        lines += ["", f"# {setting.help}", f"#{name} = "]
    lines += ["", "# What stands in a profile counts with --profile work.", "#[profiles.work]", '#model = "demo"', ""]
    return "\n".join(lines)


def _editor() -> list[str]:
    for name in ("VISUAL", "EDITOR"):
        if written := os.environ.get(name, "").strip():
            try:
                return shlex.split(written)
            except ValueError as error:
                raise UsageError(f"{name}: expected a command, not {written!r} ({error})") from None
    found = next((path for name in _EDITORS if (path := shutil.which(name))), None)
    if found is None:
        raise UsageError("there is no editor; set EDITOR to one")
    return [found]


def _make(file: Path) -> None:
    from toolchat.private_file import DistrustedError, open_private, private_folder

    if file.exists():
        return
    try:
        private_folder(file.parent)
        descriptor = open_private(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except DistrustedError as error:
        raise ToolchatError(f"{file}: is not made: {error}") from None
    except OSError as error:
        raise ToolchatError(f"{file}: cannot be made ({error.strerror}); make the folder writable") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(template())

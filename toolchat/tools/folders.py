"""The folder that a tool's calls run in, as its `cwd:` says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from toolchat.tools.variables import MissingVariable, expanded


def working_folder_of(cwd: str, folder: Path, environment: Mapping[str, str]) -> tuple[Path, str | None]:
    """The folder that `cwd` means in the tools file of `folder`, and what is wrong with it, if anything is."""
    try:
        text = expanded(cwd, environment)
    except MissingVariable as missing:
        what = f"cwd needs the variable {missing.name}, which is not set; set it before toolchat starts"
        return folder, f"{what}, or write another folder"
    if text == "~" or text.startswith("~/"):
        text = f"{environment.get('HOME', '~')}{text[1:]}"
    path = folder / text
    if not path.is_dir():
        return path, f'cwd is "{cwd}", and there is no such folder; expected one; make it, or correct it'
    return path, None

"""Chooses a command's tools file and checks that it may be used: a tools file is code (DESIGN.md, decision 11)."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolchat.environment import NO_FOLDER, working_folder
from toolchat.samples import sample_tools_path
from toolchat.settings import state_folder, user_path
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError

if TYPE_CHECKING:
    from toolchat.settings import Settings
    from toolchat.tools.code import ToolsCode

FOUND = Path("tools.yaml")


def choose_tools_file(settings: Settings, *, ask: bool = True) -> Path | ToolsCode:
    """The tools file that applies: its path, where the user named it or it is the packaged one, or what was accepted.

    A file that the settings name and consent to is used as it is when its tools are loaded. One that is merely found,
    which ./tools.yaml is, is read here, once: what is returned is what was accepted. With `ask`, a user at a terminal
    may accept it now; without, as within a chat, whose terminal has another owner, it must have been accepted before.
    Without any, it is the packaged samples. Raises UsageError where the file is missing or not to be trusted.
    """
    path = FOUND
    if settings.tools is not None:
        path = user_path(settings.tools)
        if not path.is_file():
            what = "not a file" if path.exists() else f"no such file{_gone_with_its_folder(path)}"
            raise UsageError(f"{settings.tools_place} {settings.tools}: {what}")
        if settings.tools_named:
            return path
    # What reads tools files takes a while to import. The REPL's prompt waits for this function, so it is imported
    # only where there is something to read.
    if not path.is_file():
        if os.path.lexists(path):
            # A pipe, a folder, a link that leads nowhere: whoever put it there did not mean the samples.
            raise UsageError(f"./{path}: expected a file; remove it, or name a tools file with --tools")
        return sample_tools_path()
    from toolchat.tools.trust import TrustStore

    store = TrustStore(state_folder())
    code = replace(store.read(path), closed=True)
    if code.samples_only:
        return code
    accepted = store.accepted(code)
    if accepted is not None and accepted.files == code.contents():
        return replace(code, allows=accepted.allows)
    if ask and sys.stdin.isatty() and sys.stderr.isatty():
        from toolchat.cli.trust_question import ask_to_accept

        if (allows := ask_to_accept(code, accepted)) is not None:
            store.trust(code, allows=allows)
            return replace(code, allows=allows)
    what = f"{sanitize_line(str(code.real))}: this folder's tools file runs code, and you have not accepted it"
    if ask:
        raise UsageError(f"{what}; name it with --tools {path}, or accept it with: {_command(path)}")
    # Not even where the user asks for it: the model may have written what is there now.
    raise UsageError(f"{what} as it is now; accept it in another terminal with: {_command(path)}; then say /reload")


def _gone_with_its_folder(path: Path) -> str:
    return f"; {NO_FOLDER}" if not path.is_absolute() and working_folder() is None else ""


def _command(path: Path) -> str:
    return "toolchat tools trust" if path == FOUND else f"toolchat tools trust {path}"

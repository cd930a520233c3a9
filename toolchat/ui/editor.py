"""Which editor is the user's: for a question written in the chat, and for `toolchat config edit`."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping

from toolchat.wire.errors import UsageError

_USUAL = ("sensible-editor", "editor", "nano", "vi", "vim", "emacs")
"""Tried in this order where neither VISUAL nor EDITOR is set."""


def editor_of(environment: Mapping[str, str]) -> list[str]:
    """The editor's command and its arguments: VISUAL, EDITOR, or a usual one that is installed. Raises UsageError."""
    for name in ("VISUAL", "EDITOR"):
        if written := environment.get(name, "").strip():
            return _words(name, written)
    path = environment.get("PATH")
    found = next((place for name in _USUAL if (place := shutil.which(name, path=path))), None)
    if found is None:
        raise UsageError("there is no editor; set EDITOR to one, such as nano or vim")
    return [found]


def _words(name: str, written: str) -> list[str]:
    try:
        words, reason = shlex.split(written), "no program is named"
    except ValueError as error:
        words, reason = [], str(error)
    if not words or not words[0]:
        raise UsageError(f"{name}: expected a command, not {written!r} ({reason}); set it to your editor")
    return words

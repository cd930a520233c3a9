"""What a command was given: its settings, and the stored session that it goes on with. Knows nothing of typer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolchat.settings.table import SETTINGS, Setting

if TYPE_CHECKING:
    from toolchat.store.sessions import Opened


def parameter_of(setting: Setting) -> str:
    """The name of a command's parameter for a setting."""
    return setting.flag.removeprefix("--").replace("-", "_")


def settings_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that are settings, by the settings' names, None for what was not given.

    Where a .toolchat.toml of this folder has to be accepted first, a person at the terminal is asked now. Raises
    UsageError, see `_system`, and where that file cannot be read.
    """
    from toolchat.cli.project_settings import ask_to_accept

    flags = {name: given.get(parameter_of(setting)) for name, setting in SETTINGS.items()}
    flags["system"] = _system(given.get("system"), given.get("no_system", False))
    return ask_to_accept(flags)


def session_to_open(key: str | None, last: bool, store: bool, flag: str) -> Opened | None:
    """The stored session that --continue and `flag` mean. Raises ToolchatError where there is none."""
    if key is None and not last:
        return None
    # Not before: most chats begin anew, and their prompt waits for no store.
    from toolchat.settings import state_folder
    from toolchat.store.sessions import LAST, open_session_of
    from toolchat.wire.errors import UsageError

    if key is not None and last:
        raise UsageError(f"{flag} and --continue contradict each other; leave one of them out")
    if not store:
        raise UsageError(
            f"{'--continue' if last else flag} needs stored sessions, and --no-store or store = false is said"
        )
    return open_session_of(state_folder() / "sessions", LAST if key is None else key)


def _system(system: str | None, no_system: bool) -> str | None:
    """The setting that --system and --no-system come to. Raises UsageError where both are given."""
    from toolchat.settings.values import NO_SYSTEM
    from toolchat.wire.errors import UsageError

    if no_system and system is not None:
        raise UsageError("--system and --no-system contradict each other; leave one of them out")
    return NO_SYSTEM if no_system else system

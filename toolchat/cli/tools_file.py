"""Which tools file a command uses, and whether it may: a tools file is code (DESIGN.md, decision 11)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from toolchat.tools.sample_file import sample_tools_path
from toolchat.ui.sanitize import sanitize_line
from toolchat.wire.errors import UsageError

if TYPE_CHECKING:
    from toolchat.tools.trust import TrustStore

FOUND = Path("tools.yaml")


def choose_tools_file(named: str | None, *, ask: bool = True) -> Path:
    """The path of the tools file that applies.

    `named` is what the user asked for (that is consent); without it ./tools.yaml applies where it may be used, else
    the packaged samples. With `ask`, a user at a terminal may accept it now; without, as within a chat, whose terminal
    has another owner, it must have been accepted before. Raises UsageError where it is missing or not to be trusted.
    """
    if named is not None:
        path = Path(named).expanduser()
        if not path.is_file():
            raise UsageError(f"--tools {named}: {'not a file' if path.exists() else 'no such file'}")
        return path
    # What reads tools files takes a while to import. The REPL's prompt waits for this function, so it is imported
    # only where there is something to read.
    if not FOUND.is_file():
        return sample_tools_path()
    from toolchat.settings import state_folder
    from toolchat.tools.trust import TrustStore, is_samples_only

    if not is_samples_only(FOUND):
        store = TrustStore(state_folder())
        if not store.is_trusted(FOUND) and not (ask and _asked(store)):
            what = f"{FOUND.resolve()}: this folder's tools file runs code, and you have not accepted it"
            if ask:
                raise UsageError(f"{what}; name it with --tools tools.yaml, or accept it with: toolchat tools trust")
            # Not even where the user asks for it: the model may have written what is there now.
            raise UsageError(
                f"{what} as it is now; accept it in another terminal with: toolchat tools trust; then say /reload"
            )
    return FOUND


def _asked(store: TrustStore) -> bool:
    """Ask whether the file found may be used; False without a terminal to ask on."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    from toolchat.tools.trust import describe, fingerprint

    seen = fingerprint(FOUND)
    say = sys.stderr.write
    say(f"{FOUND.resolve()} is a tools file, and using it runs this folder's code:\n")
    for row in describe(FOUND):
        say(f"  {sanitize_line(row)}\n")
    say("Accept it, until it or its modules change? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        return False
    store.trust(FOUND, seen)
    return True

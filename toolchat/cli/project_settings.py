"""The question whether what a found .toolchat.toml sets may count: a folder's settings may be another's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from toolchat.settings.layers import UnacceptedError, unaccepted
from toolchat.settings.table import SETTINGS, variable

if TYPE_CHECKING:
    from toolchat.settings.files import Project

_LONG = 400
"""Characters of a value; of a longer one it is said how many it has: who sees its end knows how far up it begins."""


def ask_to_accept(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags as they count: where a person at the terminal does not accept this folder's settings, without them.

    Raises UsageError where a .toolchat.toml has to be accepted and nobody can be asked.
    """
    if (project := unaccepted(flags)) is None:
        return dict(flags)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UnacceptedError(project)
    from toolchat.cli.approval import confirm, terminal_width
    from toolchat.cli.signals import run_async
    from toolchat.ui.text.sanitize import sanitize_line
    from toolchat.ui.text.wrapping import hanging

    first = f"{sanitize_line(str(project.file))} has settings for this folder:"
    for row in (first, *describe(project)):
        sys.stderr.write("\n".join(hanging(row, terminal_width())) + "\n")
    if run_async(lambda _: confirm("Use them here, until the file changes? [y/N] ")):
        project.accept()
        return dict(flags)
    return {**flags, "project": False}


def describe(project: Project) -> Iterator[str]:
    """What is to be accepted, in rows that are safe to show."""
    from toolchat.ui.text.sanitize import look_alikes, sanitize_line

    for name in project.asks_for:
        shown = "(a key, not shown)" if name == "api_key" else sanitize_line(str(project.values[name]))
        if len(shown) > _LONG:
            yield f"  The next value has {len(shown):,} characters:"
        yield f"  {name} = {shown}"
        if name not in ("api_key", "system"):
            yield from (f"  Mind its letters: {mark}." for mark in look_alikes(str(project.values[name])))
    if "server" in project.values and os.environ.get(variable("api_key")):
        yield f"  Your {variable('api_key')} goes to that server."
    if "tools" in project.values:
        yield "  The code of that tools file is asked about apart from this."
    if harmless := [name for name in project.values if name in SETTINGS and SETTINGS[name].harmless]:
        yield f"  It also sets {', '.join(harmless)}, which needs no question."

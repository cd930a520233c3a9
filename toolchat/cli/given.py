"""What a command was given: its settings, and the session or cassette that its flags name. Knows nothing of typer.

The settings of a folder may be another's: whether those of a found .toolchat.toml count is asked here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from toolchat.settings.layers import UnacceptedError, unaccepted
from toolchat.settings.table import SETTINGS, Setting, variable

if TYPE_CHECKING:
    from toolchat.session.startup import Plan
    from toolchat.settings.files import Project
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Cassette
    from toolchat.store.sessions import Opened

_LONG = 400
"""Characters of a value; of a longer one it is said how many it has: who sees its end knows how far up it begins."""


def parameter_of(setting: Setting) -> str:
    """The name of a command's parameter for a setting."""
    return setting.flag.removeprefix("--").replace("-", "_")


def settings_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a command's parameters that are settings, by the settings' names, None for what was not given.

    Where a .toolchat.toml of this folder has to be accepted first, a person at the terminal is asked now. Raises
    UsageError, see `_system`, and where that file cannot be read.
    """
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


def ask_to_accept(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags as they count: where a person at the terminal does not accept this folder's settings, without them.

    Raises UsageError where a .toolchat.toml has to be accepted and nobody can be asked.
    """
    if (project := unaccepted(flags)) is None:
        return dict(flags)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UnacceptedError(project)
    from toolchat.cli.approval import confirm, terminal_width
    from toolchat.cli.running import run_async
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


def cassette_to_replay(replay: str | None, recorded_results: bool, flags: Mapping[str, Any]) -> Cassette | None:
    """The cassette that --replay names. Raises UsageError where it cannot be read, or contradicts other flags."""
    from toolchat.wire.errors import UsageError

    if replay is None:
        if recorded_results:
            raise UsageError("--recorded-results: is for the cassette of --replay FILE; name one")
        return None
    for name in ("model", "server"):
        if flags[name] is not None:
            raise UsageError(f"--replay and --{name} do not go together: a cassette answers, and no model")
    from toolchat.settings import user_path
    from toolchat.store.cassettes import read_cassette

    return read_cassette(user_path(replay))


def check_record(record: str | None) -> None:
    """Raise UsageError where --record names what is there already: nothing is to be loaded for that."""
    if record is None:
        return
    from toolchat.settings import user_path
    from toolchat.wire.errors import UsageError

    if os.path.lexists(user_path(record)):
        raise UsageError(f"--record {record}: is there already; remove it, or name another file")


def tape_for(record: str | None, command: str, plan: Plan) -> CassetteWriter | None:
    """The cassette that --record names, a new file. Raises UsageError where it cannot be written."""
    if record is None:
        return None
    import time

    import toolchat
    from toolchat.settings import user_path
    from toolchat.settings.check import keys
    from toolchat.store.cassette_writer import CassetteWriter
    from toolchat.store.cassettes import Header
    from toolchat.store.redaction import Redaction

    header = Header(f"toolchat {toolchat.__version__}", command, plan.model, round(time.time(), 3))
    known = dict.fromkeys((*([plan.settings.api_key] if plan.settings.api_key else []), *keys()))
    more = {f"API_KEY{number or ''}": key for number, key in enumerate(known)}
    return CassetteWriter(user_path(record), header, Redaction.here(more=more))


def recorded_tools(cassette: Cassette | None) -> dict[str, Any]:
    """What `open_session` is given to have the recorded results of calls; nothing where tools run."""
    if cassette is None:
        return {}
    from toolchat.session.replaying import RecordedRunner

    runner = RecordedRunner(cassette)

    async def start() -> RecordedRunner:
        return runner

    return {"start_tools": start, "decide": runner.decide}

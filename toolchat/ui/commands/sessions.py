"""Commands about stored sessions: name this one, list them, go on with another, copy, export."""

from __future__ import annotations

import shlex
from pathlib import Path

from toolchat.settings import user_path
from toolchat.ui.commands.base import QUIET, Completion, Context, Outcome, say, told
from toolchat.ui.tables import hit_row, session_row, when
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import ToolchatError, UsageError

LISTED = 10
_SUFFIXES = {".md": "md", ".markdown": "md", ".json": "json", ".html": "html", ".htm": "html"}


async def save(context: Context, argument: str) -> Outcome:
    context.chat.storage.save(argument)
    name = sanitize_line(argument)
    return told(f"This session is {name} now; toolchat repl --resume {shlex.quote(name)} goes on with it.", style=QUIET)


async def sessions(context: Context, argument: str) -> Outcome:
    with context.chat.storage.sessions() as store:
        if argument:
            rows = [hit_row(hit) for hit in store.search(argument, LISTED)]
            return Outcome(tuple(rows)) if rows else told("Nothing is found.", style=QUIET)
        found = store.latest(LISTED)
    here = context.chat.record.session
    rows = [session_row(one, mark="● " if one.id == here else "  ") for one in found]
    hint = "/resume NAME goes on with one of them; /sessions TEXT searches them." if rows else "None is stored yet."
    return Outcome((*rows, say(hint, QUIET)))


async def resume(context: Context, argument: str) -> Outcome:
    if not argument:
        raise UsageError("expected /resume NAME; /sessions lists them")
    handle = context.chat.storage.resume(argument)
    return told(f"This is {sanitize_line(handle)} from here on.", style=QUIET)


async def fork(context: Context, argument: str) -> Outcome:
    handle = context.chat.storage.fork(argument or None)
    return told(f"This is a copy from here on, {sanitize_line(handle)}; the session stays as it was.", style=QUIET)


async def export(context: Context, argument: str) -> Outcome:
    from toolchat.ui.export import ExportFormat
    from toolchat.ui.export import export as exported

    path = user_path(argument)
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{argument}: expected a file's name that ends in .md, .json or .html")
    if not context.chat.transcript.turn_count:
        return told("There is nothing to export yet.", style=QUIET)
    _write(path, exported(context.chat.transcript, ExportFormat(form)))
    return told(f"{sanitize_line(str(path))} is written.", style=QUIET)


def complete_session(context: Context, text: str) -> list[Completion]:
    try:
        with context.chat.storage.sessions() as store:
            found = store.latest(LISTED, begins=text)
    except ToolchatError:
        return []
    here = context.chat.record.session
    return [
        Completion(one.handle, f"{when(one.updated)}  {sanitize_line(one.title)}", len(text))
        for one in found
        if one.id != here
    ]


def _write(path: Path, text: str) -> None:
    from toolchat.environment import refused

    try:
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path}: is there already; remove it, or write elsewhere") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {refused(error) or error}") from None

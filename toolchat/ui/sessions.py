"""Shows stored sessions and what was found in them: as tables on the terminal, as rows in the chat."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from rich.text import Text

from toolchat.store.sessions import Hit, StoredSession
from toolchat.ui.tables import console, new_table
from toolchat.ui.text.sanitize import sanitize_line

_DAY = 86400


def print_sessions(sessions: Sequence[StoredSession]) -> None:
    out = console()
    if not sessions:
        out.print(Text("No session is stored yet.", style="dim"))
        return
    rows = new_table("Session", "Used", "Turns", "Model", "Title")
    for one in sessions:
        name = Text(sanitize_line(one.handle), style="bold")
        rows.add_row(name, when(one.updated), str(one.turns), sanitize_line(one.model), sanitize_line(one.title))
    out.print(rows)


def print_hits(hits: Sequence[Hit]) -> None:
    out = console()
    if not hits:
        out.print(Text("Nothing is found.", style="dim"))
    for hit in hits:
        out.print(hit_row(hit), soft_wrap=not out.on_screen)


def session_row(session: StoredSession, *, mark: str = "  ") -> Text:
    """One line of a list in the chat."""
    turns = "1 turn" if session.turns == 1 else f"{session.turns} turns"
    about = f"  {when(session.updated)}, {turns}  {sanitize_line(session.title)}"
    return Text.assemble((mark, "bold"), (sanitize_line(session.handle), "bold"), (about.rstrip(), "dim"))


def hit_row(hit: Hit) -> Text:
    where = f"  turn {hit.turn}, {hit.kind}: "
    return Text.assemble((sanitize_line(hit.session.handle), "bold"), (where, "dim"), sanitize_line(hit.excerpt))


def when(seconds: float, now: float | None = None) -> str:
    """A local time, as short as it can be told: "14:05" for today, "23 Nov", "2025-11-23"."""
    there, here = datetime.fromtimestamp(seconds), datetime.fromtimestamp(time.time() if now is None else now)
    if there.date() == here.date():
        return f"{there:%H:%M}"
    return f"{there.day} {there:%b}" if 0 <= (here - there).total_seconds() < 300 * _DAY else f"{there:%Y-%m-%d}"

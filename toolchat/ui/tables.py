"""Prints tables of tools, models, engines, sessions: fitted to the terminal, plain text in a pipe.

A stored session, and what was found in one, is a row of the chat too.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toolchat.tools.rules import NO_RULES, Grant
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.ui.text.sanitize import look_alikes, sanitize, sanitize_line

if TYPE_CHECKING:
    from toolchat.store.sessions import Hit, StoredSession

PIPE_WIDTH = 200
"""Columns where there is no terminal to ask: wide enough that a grep finds whole lines."""
_DAY = 86400


class OwnConsole(Console):
    """A console that knows a terminal from a file into which colours are to go, as FORCE_COLOR has it."""

    @property
    def on_screen(self) -> bool:
        """Whether a person sees it now, so that it may be drawn over, and has a width."""
        return self.file.isatty()

    def on_broken_pipe(self) -> None:
        # rich's own exits with 1; the command line answers with the code of a broken pipe.
        raise BrokenPipeError(errno.EPIPE, "the reader has gone")


def console(*, stderr: bool = False) -> OwnConsole:
    """A console that never reads markup or highlights in what it is given."""
    made = OwnConsole(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not made.on_screen:
        made = OwnConsole(stderr=stderr, markup=False, highlight=False, emoji=False, width=PIPE_WIDTH)
    return made


def print_tools(toolbox: Toolbox) -> None:
    out = console()
    if out.on_screen and out.width < 70:
        # Four columns would be a word wide each.
        for tool in toolbox.tools:
            out.print(Text(sanitize_line(tool.signature), style="bold"))
            out.print(Text("  " + sanitize(tool.description)))
            out.print(Text(f"  {_calls(tool)}  {sanitize_line(tool.callable_ref)}", style="dim"))
    else:
        table = new_table("Name", "Signature", "Description", "Calls", "From")
        for tool in toolbox.tools:
            table.add_row(
                Text(tool.name, style="bold"),
                sanitize_line(tool.signature.removeprefix(tool.name)),
                sanitize(tool.description),
                _calls(tool),
                Text(sanitize_line(tool.callable_ref), style="dim"),
            )
        out.print(table)
    for tool in toolbox.tools:
        if changed := changes(tool):
            out.print(Text(sanitize_line(f"{tool.name}: the file sets {'; '.join(changed)}"), style="dim"))
    for mark in dict.fromkeys(mark for tool in toolbox.tools for mark in look_alikes(tool.callable_ref)):
        out.print(Text(f"Mind the names: {mark}", style="yellow"))
    for line in toolbox.broken:
        out.print(Text(sanitize_line(line), style="red"))
    for notice in toolbox.notices:
        out.print(Text(sanitize_line(notice), style="dim"))
    if toolbox.path is not None:
        out.print(Text(f"{_tools(len(toolbox.tools))} in {sanitize_line(str(toolbox.path))}", style="dim"))


def print_grants(grants: Sequence[Grant]) -> None:
    out = console()
    if not grants:
        out.print(Text("No calls are allowed for good.", style="dim"))
        return
    table = new_table("Tool", "Calls", "From")
    for grant in grants:
        calls = "all" if grant.arguments is None else sanitize_line(_granted(grant))
        table.add_row(
            Text(sanitize_line(grant.tool), style="bold"), calls, Text(sanitize_line(grant.callable_ref), style="dim")
        )
    out.print(table)


def _calls(tool: Tool) -> str:
    rules = tool.options.rules != NO_RULES
    return f"{tool.options.approval}, by rules" if rules else str(tool.options.approval)


def _granted(grant: Grant) -> str:
    likeness = grant.likeness
    return f"like {likeness.text()}" if likeness is not None else grant.arguments or ""


def changes(tool: Tool) -> list[str]:
    """What the tools file says of each parameter: "city: description, enum"."""
    return [f"{parameter}: {', '.join(keywords)}" for parameter, keywords in tool.from_file.items()]


def _tools(number: int) -> str:
    return "1 tool" if number == 1 else f"{number} tools"


@dataclass(frozen=True, slots=True)
class ServerRow:
    """An MCP server; all of it for people."""

    name: str
    state: str
    is_: str
    """The name and the version that it gives itself."""
    protocol: str
    offers: str
    tools: str
    where: str
    """What is started, or its address."""
    why: str = ""
    """Why it is not there."""


def print_servers(rows: Sequence[ServerRow]) -> None:
    out = console()
    if not rows:
        out.print(Text("The tools file names no MCP servers.", style="dim"))
        return
    if out.on_screen and out.width < 100:
        for row in rows:
            out.print(Text(row.name, style="bold") + Text(f" ({row.state})"))
            facts = filter(None, (sanitize_line(row.is_), row.protocol, row.offers, row.tools))
            out.print(Text(f"  {', '.join(facts)}") if row.is_ else Text(f"  {sanitize_line(row.where)}"))
    else:
        table = new_table("Server", "State", "Is", "Protocol", "Offers", "Tools", "From")
        for row in rows:
            told = (row.state, sanitize_line(row.is_), row.protocol, sanitize_line(row.offers), row.tools)
            table.add_row(Text(row.name, style="bold"), *told, Text(sanitize_line(row.where), style="dim"))
        out.print(table)
    for row in rows:
        if row.why:
            out.print(Text(sanitize_line(f"{row.name}: {row.why}"), style="red"))


@dataclass(frozen=True, slots=True)
class ModelRow:
    name: str
    folder: Path | None
    source: str
    default: bool
    size: str = ""
    context: str = ""
    """Tokens that it knows."""
    sampling: str = ""
    """How it is sampled where nobody says otherwise, and by whose word."""
    lacks: str = ""
    """What is missing of it; empty where it is whole."""

    @property
    def place(self) -> str:
        if self.folder is None:
            return "not here yet (models pull)"
        if self.lacks:
            return f"incomplete (models pull goes on): {sanitize_line(self.lacks)}"
        return sanitize_line(str(self.folder))


def print_models(rows: Sequence[ModelRow]) -> None:
    out = console()
    if out.on_screen and out.width < 110:
        # Seven columns would be a few letters wide each.
        for row in rows:
            name = Text(sanitize_line(row.name), style="bold")
            out.print(name + Text(" (default)") if row.default else name)
            context = f"context {row.context}" if row.context else ""
            facts = ", ".join(filter(None, (row.source, row.size, context, row.sampling)))
            out.print(Text(f"  {facts}") if facts else Text(""), end="\n" if facts else "")
            out.print(Text(f"  {row.place}", style="dim"))
        return
    if not out.on_screen:
        out.width *= 2  # so that no folder is broken
    table = new_table("Name", "", "Source", "Size", "Context", "Sampling", "Folder")
    for row in rows:
        table.add_row(
            Text(sanitize_line(row.name), style="bold"),
            "default" if row.default else "",
            row.source,
            row.size,
            row.context,
            row.sampling,
            row.place,
        )
    out.print(table)


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An engine that stays loaded; all but its number for people."""

    model: str
    pid: int
    device: str
    context: str
    memory: str
    clients: str
    idle: str
    ends: str


def print_engines(rows: Sequence[EngineRow]) -> None:
    out = console()
    if out.on_screen and out.width < 100:
        for row in rows:
            out.print(Text(sanitize_line(row.model), style="bold") + Text(f" (process {row.pid}, {row.device})"))
            idle = f"idle for {row.idle}" if row.idle else f"{row.clients or '?'} using it"
            out.print(Text(f"  {', '.join(filter(None, (row.memory, idle)))}; ends {row.ends}", style="dim"))
        return
    table = new_table("Model", "Process", "Device", "Context", "Memory", "Clients", "Idle", "Ends")
    for row in rows:
        table.add_row(
            Text(sanitize_line(row.model), style="bold"),
            str(row.pid),
            sanitize_line(row.device),
            row.context,
            sanitize_line(row.memory),
            row.clients,
            row.idle,
            row.ends,
        )
    out.print(table)


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


def new_table(*columns: str) -> Table:
    """An empty table of these columns, fitted to what it is printed on."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table

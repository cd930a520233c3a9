"""The question whether a tools file that was found may be used, and the one whether its calls may run without asking.

Two answers, because they are two permissions: to run the folder's code when the tools are loaded, and to run it when
the model says so.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import SOURCE_SUFFIXES

from toolchat.cli.approval import confirm, terminal_width
from toolchat.cli.running import run_async
from toolchat.tools.code import ToolsCode
from toolchat.tools.entry import ToolEntry
from toolchat.tools.mcp.entry import McpServer, allows, unpinned
from toolchat.tools.rules import Rules
from toolchat.tools.toolbox import Approval, Privileges
from toolchat.tools.trust import Accepted
from toolchat.ui.text.cells import width_of
from toolchat.ui.text.sanitize import look_alikes, sanitize_line
from toolchat.ui.text.wrapping import hanging

_MOST_FILES = 20
"""Of source, that are named where nothing is known to have changed."""
_MOST_CELLS = 60
"""Of a callable's name that is followed by its mark in one row."""
_CALLS = {Approval.ALLOW: "runs without asking", Approval.ASK: "asks before it runs", Approval.DENY: "never runs"}


_RULES = {"allow": "runs without asking", "ask": "asks", "deny": "never runs"}


def ask_to_accept(code: ToolsCode, before: Accepted | None) -> bool | None:
    """Ask on the terminal whether `code` may be used; None for no, else whether its `approval: allow` counts.

    `before` is what was accepted of the same file earlier. Raises UsageError where the file is no tools file.
    """
    width = terminal_width()
    first = f"{sanitize_line(str(code.real))} is a tools file, and using it runs this folder's code:"
    for row in (first, *describe(code, before)):
        sys.stderr.write("\n".join(hanging(row, width)) + "\n")
    if not run_async(lambda _: confirm("Accept it, until it or its modules change? [y/N] ")):
        return None
    return ask_to_allow(code)


def ask_to_allow(code: ToolsCode) -> bool:
    """Ask on the terminal whether the file's own `approval: allow` counts; not where it has none."""
    names = [sanitize_line(_name(one)) for one in allowed(code)]
    if not names:
        return False
    told = f"The file says that the calls of {', '.join(names)} run without asking you."
    sys.stderr.write("\n".join(hanging(told, terminal_width())) + "\n")
    return run_async(lambda _: confirm("May they? Otherwise each call is asked about. [y/N] "))


def allowed(code: ToolsCode) -> list[ToolEntry | McpServer]:
    """The entries, samples left out, and MCP servers, whose calls the file would have run without asking."""
    entries = [entry for entry in code.entries() if _allows(entry) and not entry.is_sample]
    return [*entries, *(server for server in code.servers() if server.allows)]


def _allows(entry: ToolEntry) -> bool:
    return _allows_some(entry.options.approval, entry.options.rules) or bool(_allowed_methods(entry))


def _allowed_methods(entry: ToolEntry) -> list[str]:
    return [
        name
        for name, one in entry.settings.items()
        if "approval" in one.options and _allows_some(one.options["approval"], one.options["rules"])
    ]


def _allows_some(approval: Approval, rules: Rules) -> bool:
    return approval is Approval.ALLOW or bool(rules.allow)


def describe(code: ToolsCode, before: Accepted | None = None) -> Iterator[str]:
    """What is to be accepted, in rows that are safe to show: each callable, what becomes of its calls, and the files.

    Raises:
        UsageError: the file is not a tools file.
    """
    entries = code.entries()
    names = [sanitize_line(entry.callable_ref) for entry in entries]
    # A name that is longer has a row of its own: it moves no other's mark to where nobody looks for it.
    longest = max((width_of(name) for name in names if width_of(name) <= _MOST_CELLS), default=0)
    for entry, name in zip(entries, names, strict=True):
        marks = [_CALLS[entry.options.approval], *look_alikes(entry.callable_ref)]
        marks += [f"{_RULES[word]} where {sanitize_line(text)}" for word, text in entry.options.rules.texts()]
        if entry.options.env:
            marks.append(f"sees {', '.join(entry.options.env)}")
        if entry.options.sets:
            marks.append(f"sets {', '.join(name for name, _ in entry.options.sets)}")
        if entry.options.given:
            marks.append(f"is given {', '.join(entry.options.given)}")
        if methods := [name for name in _allowed_methods(entry) if entry.options.approval is not Approval.ALLOW]:
            marks.append(f"{', '.join(methods)} without asking")
        if entry.package is not None:
            marks.append(f"of the package {sanitize_line(entry.package)}")
        if entry.options.privileges is Privileges.KEEP:
            marks.append("keeps your privileges (sudo, signals, terminals)")
        if width_of(name) > _MOST_CELLS:
            yield f"  {name}"
            yield f"    The above {'; '.join(marks)}"
        else:
            yield f"  {name}{' ' * (longest - width_of(name))}  {'; '.join(marks)}"
    for server in code.servers():
        yield from _server_rows(server)
    programs = {file for entry in entries if entry.command is not None for file in code.reach[entry.target.where]}
    programs |= {file for server in code.servers() for file in code.reach.get(server.reach, ())}
    compiled = [file for file in code.files if not file.endswith(tuple(SOURCE_SUFFIXES)) and file not in programs]
    files = [sanitize_line(code.shown(file)) for file in code.files if file not in compiled]
    if files:
        more = f" and {len(files) - _MOST_FILES} more" if len(files) > _MOST_FILES else ""
        yield f"Its code: {', '.join(files[:_MOST_FILES])}{more}."
    if compiled:
        yield f"Compiled code, which cannot be read: {', '.join(sanitize_line(code.shown(file)) for file in compiled)}."
    if before is not None:
        now = code.contents()
        # All of them: whoever wants one overlooked could change many.
        changed = [file for file in {**before.files, **now} if before.files.get(file) != now.get(file)]
        if changed:
            shown = ", ".join(sanitize_line(code.shown(file)) for file in sorted(changed))
            yield f"Changed since you accepted it: {shown}."
    elsewhere = [mark for file in code.files for mark in look_alikes(code.shown(file))]
    yield from (f"Mind the names of files: {mark}" for mark in dict.fromkeys(elsewhere))


def _server_rows(server: McpServer) -> Iterator[str]:
    """An MCP server: what is started, or where what the model writes goes."""
    what = "is started: " if server.command else "is sent what the model writes: "
    yield f"  The MCP server {server.name} {what}{sanitize_line(server.shown)}"
    marks = [_CALLS[server.approval], *look_alikes(server.shown)]
    marks += [f"{_RULES[word]} where {sanitize_line(text)}" for word, text in server.rules.texts()]
    if some := [pattern for pattern, one in server.tools.items() if allows(one)]:
        marks.append(f"{sanitize_line(', '.join(some))} without asking")
    if server.env:
        marks.append(f"sees {', '.join(server.env)}")
    if server.sets:
        marks.append(f"sets {', '.join(name for name, _ in server.sets)}")
    if server.given:
        marks.append(f"is given {', '.join(server.given)}")
    if server.keeps_privileges:
        marks.append("keeps your privileges (sudo, signals, terminals)")
    if (package := unpinned(server.command)) is not None:
        marks.append(f"runs whatever version of {sanitize_line(package)} is the newest")
    yield f"    It {'; '.join(marks)}"


def _name(entry: ToolEntry | McpServer) -> str:
    if isinstance(entry, McpServer):
        return f"the MCP server {entry.name}"
    return entry.name or entry.target.attribute

"""The registry of commands, in the order in which help and completion show them."""

from __future__ import annotations

from difflib import get_close_matches

from rich.text import Text

from toolchat.ui.commands import history, model, room, sessions, tools
from toolchat.ui.commands.base import QUIET, Command, Context, Outcome, Waits

WIDE = 60
"""Columns from which on /help shows how each command is written in full."""

KEYS: tuple[tuple[str, str], ...] = (
    ("Enter", "send"),
    ("Alt-Enter", "new line; Ctrl-J or \\ too"),
    ("Tab", "complete"),
    ("@path", "attach a file or an image"),
    ("!command", "run it, offer its output"),
    ("Ctrl-G", "write in your $EDITOR"),
    ("Ctrl-R", "search what was typed before"),
    ("Ctrl-C", "stop; twice: leave"),
    ("Ctrl-D", "leave"),
    ("//text", "ask with a slash in front"),
)
"""What /help says of keys: at most 28 characters each."""


async def help_(context: Context, _: str) -> Outcome:
    wide = context.width() >= WIDE
    commands = [(command.usage if wide else f"/{command.name}", command.help) for command in COMMANDS]
    column = max(len(name) for name, _ in (*commands, *KEYS)) + 2
    rows = [Text.assemble((f"{name:<{column}}", "bold"), help_) for name, help_ in commands]
    rows += [Text.assemble((f"{name:<{column}}", QUIET), (help_, QUIET)) for name, help_ in KEYS]
    return Outcome(tuple(rows))


async def quit_(_: Context, __: str) -> Outcome:
    return Outcome(quit=True)


COMMANDS: tuple[Command, ...] = (
    Command("help", "list commands and keys", help_),
    Command("tools", "list the tools", tools.tools),
    Command(
        "tool",
        "show or switch a tool",
        tools.tool,
        "NAME [on|off]",
        complete=tools.complete_tool,
    ),
    Command("reload", "read tools and code again", tools.reload, waits=Waits.ALWAYS),
    Command(
        "model", "list models, or load one", model.model, "[NAME]", Waits.WITH_ARGUMENT, complete=model.complete_model
    ),
    Command(
        "system",
        "show or set system prompt",
        model.system,
        "[TEXT|FILE]",
        Waits.WITH_ARGUMENT,
        complete=model.complete_system,
    ),
    Command(
        "set",
        "show or set how it answers",
        model.set_,
        "[NAME VALUE]",
        Waits.WITH_ARGUMENT,
        complete=model.complete_set,
    ),
    Command("undo", "take back what came last", history.undo, waits=Waits.ALWAYS),
    Command("retry", "ask the last question again", history.retry, waits=Waits.ALWAYS),
    Command(
        "branch",
        "go to an earlier turn",
        history.branch,
        "[TURN]",
        Waits.ALWAYS,
        complete=history.complete_branch,
    ),
    Command("context", "show what fills the context", room.context),
    Command("compact", "sum the older turns up", room.compact, "[WORDS]", Waits.ALWAYS),
    Command("summary", "edit the summary", room.summary, "[TEXT]", Waits.ALWAYS),
    Command("keep", "sum a turn up last", room.keep, "[TURN [off]]", Waits.ALWAYS, complete=room.complete_keep),
    Command("trim", "drop or shorten a result", room.trim, "[RESULT [TOKENS]]", Waits.ALWAYS, room.complete_trim),
    Command("last", "show last results in full", history.last),
    Command("clear", "forget the conversation", history.clear, waits=Waits.ALWAYS),
    Command("think", "show the last thinking", history.think, "[on|off]", complete=history.complete_think),
    Command("copy", "copy the answer, or a block", history.copy, "[NUMBER]", complete=history.complete_copy),
    Command("image", "attach an image", history.image, "FILE|URL", Waits.ALWAYS, complete=history.complete_image),
    Command("edit", "write in your $EDITOR", history.edit, "[TEXT]"),
    Command("save", "name this session", sessions.save, "NAME", Waits.ALWAYS),
    Command("sessions", "list sessions, or search", sessions.sessions, "[TEXT]"),
    Command(
        "resume",
        "go on with another session",
        sessions.resume,
        "NAME",
        Waits.ALWAYS,
        complete=sessions.complete_session,
    ),
    Command("fork", "go on in a copy", sessions.fork, "[NAME]", Waits.ALWAYS),
    Command("export", "write .md, .json or .html", sessions.export, "FILE", Waits.ALWAYS),
    Command("quit", "leave", quit_),
)

_OTHER_NAMES = {"exit": "quit", "bye": "quit", "q": "quit"}
"""What other programs call the same; understood, and not listed."""


def find(name: str) -> Command | None:
    """The command of that name, in whatever case."""
    name = _OTHER_NAMES.get(name.lower(), name.lower())
    return next((command for command in COMMANDS if command.name == name), None)


def nearest(name: str) -> Command | None:
    """The command that was probably meant by a name that there is not."""
    name = name.lower()
    names = [command.name for command in COMMANDS]
    # Letters in the wrong order are the likeliest slip, and difflib rates a missing one better.
    swapped = [other for other in names if sorted(other) == sorted(name)]
    near = swapped or get_close_matches(name, names, n=1)
    return find(near[0]) if near else None

"""The commands there are: the table in the order of help and completion, and the prompts of MCP servers.

`Commands` dispatches a line to one of them: completion, whether it must wait for the turn, and its outcome. A prompt is
`/server:prompt`, completed with its arguments. What servers have besides, resources, is completed behind `@`.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from rich.text import Text

from toolchat.images.returned import received
from toolchat.ui.commands import history, model, room, sessions, tools
from toolchat.ui.commands.base import (
    FAILURE,
    QUIET,
    WARNING,
    Command,
    Completion,
    Context,
    Outcome,
    Waits,
    as_line,
    is_command,
    say,
    split,
)
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import ToolchatError, UsageError

if TYPE_CHECKING:
    from toolchat.models.choice import LocalModel
    from toolchat.session.session import Session

WIDE = 60
"""Columns from which on /help shows how each command is written in full."""

REMEMBERED_SECONDS = 60.0

NAME_SHOWN = 40
"""Characters of a name that there is not: a whole path may have been pasted."""

_MOST_OFFERED = 50
"""Resources in one completion."""

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


class Commands:
    """The commands of one chat."""

    def __init__(
        self,
        chat: Session,
        *,
        width: Callable[[], int] | None = None,
        models: Callable[[], Sequence[LocalModel]] | None = None,
    ) -> None:
        """`width` gives the terminal's columns, `models` the models that are on this machine."""
        default = Context(chat)
        self._context = Context(chat, width or default.width, models or default.models)
        self._completing = replace(self._context, models=_Remembered(self._context.models))

    def complete(self, text: str) -> list[Completion]:
        """What the command line `text`, which ends at the cursor, may go on with; nothing where it is none.

        Reads folders, and now and then the Hugging Face hub's cache: call it where that holds nothing up.
        """
        name, space, argument = text.partition(" ")
        if not space:
            if not text.startswith("/") or "\n" in text:
                return []
            found = [
                Completion(f"/{command.name}{' ' if _needs_more(command.takes) else ''}", command.help, len(text))
                for command in COMMANDS
                if command.name.startswith(text[1:].lower())
            ]
            return [*found, *_complete_prompts(self._context, text)]
        if ":" in name:
            return _complete_prompts(self._context, text)
        command = find(name[1:]) if is_command(text) else None
        return command.complete(self._completing, argument.lstrip()) if command is not None else []

    def mentions(self, begun: str) -> list[Completion]:
        """What a mention that begins so, without its @, may become of what MCP servers have."""
        return _complete_resources(self._completing, begun)

    def at_once(self, line: str) -> bool:
        """True where a command need not wait for the turn under way: most of those only show something."""
        name, argument = split(line)
        command = find(name)
        if command is None:
            return not _is_prompt(self._context, name)
        return command.waits is Waits.NEVER or (command.waits is Waits.WITH_ARGUMENT and not argument)

    async def run(self, line: str) -> Outcome:
        """Do what a line says for which `is_command` is true. What is wrong with it is told by the outcome."""
        name, argument = split(line)
        command = find(name)
        if command is None and not _is_prompt(self._context, name):
            return _unknown(line, name)
        try:
            if command is None:
                return await _run_prompt(self._context, name, argument)
            if argument and not command.takes:
                raise UsageError(f"expected {command.usage} and nothing after it; a space before it asks the model")
            return await command.run(self._context, argument)
        except UsageError as error:
            # What was written, or is to be written, behind the name is kept; the name alone would only be in the way.
            keep = argument or command is None or _needs_more(command.takes)
            return Outcome(_failure(error), put=line if keep else None)
        except ToolchatError as error:
            return Outcome(_failure(error))


class _Remembered:
    """The models as they were a little before: scanning the hub's cache takes longer than a key press may."""

    def __init__(self, models: Callable[[], Sequence[LocalModel]]) -> None:
        self._models = models
        self._found: Sequence[LocalModel] = ()
        self._until = 0.0

    def __call__(self) -> Sequence[LocalModel]:
        if time.monotonic() > self._until:
            self._found = self._models()
            self._until = time.monotonic() + REMEMBERED_SECONDS
        return self._found


def _needs_more(takes: str) -> bool:
    return bool(takes) and not takes.startswith("[")


def _failure(error: ToolchatError) -> tuple[Text, ...]:
    # A tools file has a line for each problem.
    return tuple(say(f"toolchat: {row}", FAILURE) for row in str(error).splitlines())


def _unknown(line: str, name: str) -> Outcome:
    """Nothing of the line is lost: it was perhaps a path that was pasted, and a question.

    A bare word is no question, and would only stand before what is typed next; Up brings it back.
    """
    bare = line.strip() == f"/{name}"
    shown = name if len(name) <= NAME_SHOWN else f"{name[:NAME_SHOWN]}…"
    if (meant := nearest(name)) is not None:
        what = f"There is no command /{shown}; did you mean /{meant.name}? A space before it asks the model."
        return Outcome((say(what, WARNING),), put=None if bare else line)
    if bare:
        return Outcome((say(f"There is no command /{shown}; /help lists them.", WARNING),))
    what = f"There is no command /{shown}; /help lists them. With the space before it, Enter asks the model."
    return Outcome((say(what, WARNING),), put=as_line(line))


def _is_prompt(context: Context, name: str) -> bool:
    """Whether a command's name is that of a server's prompt."""
    return name in context.chat.tools.prompts


async def _run_prompt(context: Context, name: str, words: str) -> Outcome:
    """Ask what the server makes of the prompt. Raises UsageError where its arguments are wrong, and ToolchatError."""
    prompt = context.chat.tools.prompts[name]
    arguments = _prompt_arguments(name, prompt.get("arguments") or [], words)
    text, files = await context.chat.tools.prompt(name, arguments)
    if not text.strip():
        raise UsageError(f"/{name}: the server's prompt is empty")
    return Outcome(ask=text, images=received(files, name) or ())


def _complete_prompts(context: Context, text: str) -> list[Completion]:
    """What a line that begins with the name of a prompt, or with a part of one, may go on with."""
    name, space, rest = text.removeprefix("/").partition(" ")
    prompts = context.chat.tools.prompts
    if not space:
        return [
            Completion(f"/{found}{' ' if prompt.get('arguments') else ''}", _prompt_help(prompt), len(text))
            for found, prompt in prompts.items()
            if found.lower().startswith(name.lower())
        ]
    if name not in prompts:
        return []
    word = rest.rpartition(" ")[2]
    return [
        Completion(f"{argument}=", _prompt_help(about), len(word))
        for argument, about in _known(prompts[name].get("arguments") or []).items()
        if argument.startswith(word) and f"{argument}=" not in rest
    ]


def _complete_resources(context: Context, begun: str) -> list[Completion]:
    """What a mention that begins so, without its @, may become: a server that has resources, or one of them.

    What servers have told is looked through; none is asked.
    """
    server, colon, word = begun.partition(":")
    resources = context.chat.tools.resources
    if not colon:
        names = sorted(name for name in resources if name.lower().startswith(begun.lower()))
        return [Completion(f"@{name}:", "resources of the server", len(begun) + 1) for name in names]
    wanted = word.lower()
    ranked = [
        (not uri.lower().startswith(wanted), uri, about)
        for uri, about in resources.get(server, {}).items()
        if wanted in uri.lower() or wanted in about.lower()
    ]
    found = sorted(ranked)[:_MOST_OFFERED]
    return [Completion(f"@{server}:{uri}", sanitize_line(about), len(begun) + 1) for _, uri, about in found]


def _prompt_arguments(name: str, known: Sequence[Any], words: str) -> dict[str, str]:
    """`what=this other="two words"`; of a prompt with one argument, all words are its value."""
    arguments = _known(known)
    given: dict[str, str] = {}
    if len(arguments) == 1 and words and not words.startswith(f"{next(iter(arguments))}="):
        given = {next(iter(arguments)): words}
    elif words:
        try:
            parts = shlex.split(words)
        except ValueError as error:
            raise UsageError(f"/{name}: the arguments cannot be read ({error}); write name=value for each") from None
        for part in parts:
            key, sign, value = part.partition("=")
            if not sign or key not in arguments:
                expected = ", ".join(map(sanitize_line, arguments)) or "none"
                raise UsageError(f"/{name}: {part}: expected name=value, of {expected}")
            given[key] = value
    missing = [key for key, about in arguments.items() if about.get("required") and key not in given]
    if missing:
        raise UsageError(f"/{name}: {', '.join(map(sanitize_line, missing))} is missing; write {missing[0]}=value")
    return given


def _known(arguments: Sequence[Any]) -> dict[str, dict[str, Any]]:
    return {str(one["name"]): one for one in arguments if isinstance(one, dict) and "name" in one}


def _prompt_help(about: Mapping[str, Any]) -> str:
    first = str(about.get("description") or about.get("title") or "").strip().splitlines()
    return sanitize_line(first[0]) if first else ""

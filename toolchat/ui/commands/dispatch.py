"""Dispatches an input line to its command: completion, whether it must wait for the turn, and its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from toolchat.ui.commands.base import FAILURE, WARNING, Completion, Context, Outcome, Waits, say
from toolchat.ui.commands.line import as_line, is_command, split
from toolchat.ui.commands.registry import COMMANDS, find, nearest
from toolchat.ui.commands.servers import complete_prompts, is_prompt, run_prompt
from toolchat.wire.errors import ToolchatError, UsageError

if TYPE_CHECKING:
    from toolchat.models.choice import LocalModel
    from toolchat.session.session import Session

REMEMBERED_SECONDS = 60.0

NAME_SHOWN = 40
"""Characters of a name that there is not: a whole path may have been pasted."""


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
            return [*found, *complete_prompts(self._context, text)]
        if ":" in name:
            return complete_prompts(self._context, text)
        command = find(name[1:]) if is_command(text) else None
        return command.complete(self._completing, argument.lstrip()) if command is not None else []

    def at_once(self, line: str) -> bool:
        """True where a command need not wait for the turn under way: most of those only show something."""
        name, argument = split(line)
        command = find(name)
        if command is None:
            return not is_prompt(self._context, name)
        return command.waits is Waits.NEVER or (command.waits is Waits.WITH_ARGUMENT and not argument)

    async def run(self, line: str) -> Outcome:
        """Do what a line says for which `is_command` is true. What is wrong with it is told by the outcome."""
        name, argument = split(line)
        command = find(name)
        if command is None and not is_prompt(self._context, name):
            return _unknown(line, name)
        try:
            if command is None:
                return await run_prompt(self._context, name, argument)
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

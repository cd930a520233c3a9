"""The command /set: shows and changes how the model generates from the next turn on."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from toolchat.settings import SETTINGS, parsed
from toolchat.ui.commands.base import QUIET, Completion, Context, Outcome, say, told
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError

DEFAULT = "default"
"""What is written in the place of a value for the one that the chat began with."""

NAMES = tuple(name for name, setting in SETTINGS.items() if setting.per_turn)


async def set_(context: Context, argument: str) -> Outcome:
    written, _, value = argument.partition(" ")
    if not written:
        rows = [_row(context, name) for name in NAMES]
        return Outcome((*rows, say(f"/set NAME VALUE changes one; {DEFAULT} takes it back.", QUIET)))
    name = written.lower().replace("-", "_")
    if name not in NAMES:
        raise UsageError(f"/set {written}: expected one of {', '.join(NAMES)}")
    if not value.strip():
        return Outcome((_row(context, name),))
    wanted = None
    if value.strip().lower() != DEFAULT:
        wanted = parsed(SETTINGS[name], f"/set {name}", value.strip())
    try:
        context.chat.set_for_turns(name, wanted)
    except UsageError as error:
        # At the command line it is a flag that is wrong.
        raise UsageError(str(error).replace(f"{SETTINGS[name].flag} ", f"/set {name} ", 1)) from None
    return told(f"{name} is {_shown(context, name)}, from the next turn on.", style=QUIET)


def complete_set(context: Context, text: str) -> list[Completion]:
    name, space, value = text.partition(" ")
    if not space:
        begun = name.lower().replace("-", "_")
        return [Completion(f"{one} ", _shown(context, one), len(name)) for one in NAMES if one.startswith(begun)]
    word = value.lstrip()
    values = _values(context, name.lower().replace("-", "_"))
    return [Completion(one, help_, len(word)) for one, help_ in values if one.startswith(word)]


def _values(context: Context, name: str) -> list[tuple[str, str]]:
    if name not in NAMES:
        return []
    found: list[tuple[str, str]] = []
    match name:
        case "tool_choice":
            found = [("auto", "the model decides"), ("none", "it calls nothing"), ("required", "it calls something")]
            found += [(tool, "it calls this tool") for tool in context.chat.tools.toolbox.names]
        case "parallel_calls":
            found = [("true", "several calls at once"), ("false", "one call at once")]
        case "reasoning_effort":
            info = context.chat.info
            found = [(effort, "") for effort in info.reasoning_efforts] if info is not None else []
    return [*found, (DEFAULT, "as the chat began")]


def _row(context: Context, name: str) -> Text:
    longest = max(map(len, NAMES))
    return Text.assemble((f"{name:<{longest}}  ", "bold"), _shown(context, name))


def _shown(context: Context, name: str) -> str:
    """A value as a person writes it, safe to show."""
    value: Any = context.chat.turn_settings[name]
    if value is None:
        return SETTINGS[name].default or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else sanitize_line(str(value))

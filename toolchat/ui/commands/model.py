"""Commands about the model: which it is, its system prompt, and how it generates from the next turn on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from toolchat.settings import SETTINGS, parsed, user_path
from toolchat.settings.folders import SUFFIXES, named_prompt, named_prompts, prompt_text
from toolchat.ui.commands.base import QUIET, Completion, Context, Outcome, matching, say, told
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError

if TYPE_CHECKING:
    from toolchat.engine.base import EngineInfo
    from toolchat.models.choice import LocalModel

NONE = "none"
"""What is said to /system to have no system prompt."""

FOLDERS = 50
"""Folders that are offered at most: a home may hold thousands."""


async def model(context: Context, argument: str) -> Outcome:
    chat = context.chat
    if not argument and chat.info is not None and chat.info.server:
        return Outcome(tuple(_server_rows(chat.model, chat.info)))
    if not argument:
        # Scanning the hub's cache, and importing its library, take too long for the event loop.
        return Outcome(tuple(_rows(context, await asyncio.to_thread(context.models))))
    if argument == chat.model and chat.info is not None:
        return told(f"{argument} is loaded already.", style=QUIET)
    try:
        await chat.change_model(argument)
    except UsageError as error:
        # At the command line it is a flag that is wrong.
        raise UsageError(str(error).replace("--model ", "/model ", 1)) from None
    return told(f"{chat.model} is loading; the conversation is kept.", style=QUIET)


async def system(context: Context, argument: str) -> Outcome:
    chat = context.chat
    if not argument:
        names = named_prompts()
        named = [say(f"/system NAME takes one of: {', '.join(names)}.", QUIET)] if names else []
        if not chat.conversation.system:
            return Outcome((say("There is no system prompt; /system TEXT sets one.", QUIET), *named))
        return Outcome((say(chat.conversation.system), say(f"/system {NONE} removes it.", QUIET), *named))
    if argument.lower() == NONE:
        was = chat.conversation.system
        # Also where there is none yet: the next model's own is not wanted, either.
        chat.system_prompt.set(None)
        if not was:
            return told("There is no system prompt.", style=QUIET)
        return told("The system prompt is removed, from the next turn on.", style=QUIET)
    file = _prompt_file(argument)
    if file is not None:
        text = await asyncio.to_thread(prompt_text, argument, file)
        chat.system_prompt.set(text)
        return told(
            f"The system prompt is that of {argument} ({len(text):,} characters), from the next turn on.", style=QUIET
        )
    chat.system_prompt.set(argument)
    return told("The system prompt is set, from the next turn on.", style=QUIET)


def complete_model(context: Context, text: str) -> list[Completion]:
    info = context.chat.info
    if info is not None and info.server:
        return [
            Completion(name, "now in use" if name == info.model else info.server, len(text))
            for name in matching(text, info.models)
        ]
    if text.startswith((".", "/", "~")):
        return list(islice(_folders(text), FOLDERS))
    sources = {item.name: item.source for item in context.models()}
    return [
        Completion(name, "now in use" if name == context.chat.model else sources[name], len(text))
        for name in matching(text, tuple(sources))
    ]


def complete_system(context: Context, text: str) -> list[Completion]:
    if text.startswith(_PATHS):
        return list(islice(_files(text), FOLDERS))
    named = [Completion(name, "a prompt of yours", len(text)) for name in named_prompts() if name.startswith(text)]
    if context.chat.conversation.system and NONE.startswith(text.lower()):
        named.append(Completion(NONE, "remove the system prompt", len(text)))
    return named


_PATHS = ("./", "../", "/", "~/")


def _prompt_file(argument: str) -> Path | None:
    """The file that an argument names; None where it is a text.

    A word may be the name of a prompt. A path begins as in a shell, or is one word that ends in .txt or .md.
    """
    if "\n" in argument:
        return None
    word = len(argument.split()) == 1
    if word and (named := named_prompt(argument)) is not None:
        return named
    if (word and argument.lower().endswith(SUFFIXES)) or (word and argument.startswith(_PATHS)):
        return user_path(argument)
    if argument.startswith(_PATHS):
        with suppress(OSError):  # too long for a name, or in a folder that is closed: then it is a text
            if (path := user_path(argument)).is_file():
                return path
    return None


def _rows(context: Context, models: Sequence[LocalModel]) -> Iterator[Text]:
    current = context.chat.model
    rows = [(item.name, _state(item)) for item in models]
    if current not in {name for name, _ in rows}:
        rows.append((current, "a folder" if user_path(current).is_dir() else ""))
    for name, source in rows:
        mark = "● " if name == current else "  "
        yield Text.assemble((mark, "bold"), (sanitize_line(name), "bold"), (f"  {source}".rstrip(), QUIET))
    yield say("/model NAME loads another: one of these, a Hugging Face id, or a folder.", QUIET)


def _server_rows(current: str, info: EngineInfo) -> Iterator[Text]:
    for name in info.models or (current,):
        mark = "● " if name == current else "  "
        yield Text.assemble((mark, "bold"), (sanitize_line(name), "bold"))
    yield say(f"/model NAME has {sanitize_line(info.server)} use another of its models.", QUIET)


def _state(item: LocalModel) -> str:
    if item.lacks:
        return f"{item.source}, incomplete"
    return item.source if item.folder else f"{item.source}, not made yet"


def _files(text: str) -> Iterator[Completion]:
    """The files and folders that a path begun in `text` may go on with."""
    begun, slash, word = text.rpartition("/")
    try:
        found = sorted(path for path in user_path(begun + slash).iterdir() if path.name.startswith(word))
    except (OSError, UsageError):
        return
    for path in found:
        if (word or not path.name.startswith(".")) and path.name.isprintable():
            with suppress(OSError):
                yield Completion(f"{path.name}{'/' if path.is_dir() else ''}", "", len(word))


def _folders(text: str) -> Iterator[Completion]:
    """The folders that a path begun in `text` may go on with."""
    begun, slash, word = text.rpartition("/")
    if not slash:
        # "." and "~" are whole already; what they hold comes after a slash.
        yield Completion(f"{text}/", "", len(text))
        return
    try:
        found = sorted(path for path in user_path(begun + slash).iterdir() if path.name.startswith(word))
    except (OSError, UsageError):
        return
    for path in found:
        if path.name.startswith(".") and not word:
            continue
        try:
            is_model = (path / "params.json").is_file()
            if path.is_dir():
                yield Completion(f"{path.name}{'' if is_model else '/'}", "a model" if is_model else "", len(word))
        except OSError:
            continue


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

"""Prompts of MCP servers as commands: `/server:prompt`, completed with their arguments."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from toolchat.images.returned import received
from toolchat.ui.commands.base import Completion, Context, Outcome
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError


def is_prompt(context: Context, name: str) -> bool:
    """Whether a command's name is that of a server's prompt."""
    return name in context.chat.tools.prompts


async def run_prompt(context: Context, name: str, words: str) -> Outcome:
    """Ask what the server makes of the prompt. Raises UsageError where its arguments are wrong, and ToolchatError."""
    prompt = context.chat.tools.prompts[name]
    arguments = _arguments(name, prompt.get("arguments") or [], words)
    text, files = await context.chat.tools.prompt(name, arguments)
    if not text.strip():
        raise UsageError(f"/{name}: the server's prompt is empty")
    return Outcome(ask=text, images=received(files, name) or ())


def complete_prompts(context: Context, text: str) -> list[Completion]:
    """What a line that begins with the name of a prompt, or with a part of one, may go on with."""
    name, space, rest = text.removeprefix("/").partition(" ")
    prompts = context.chat.tools.prompts
    if not space:
        return [
            Completion(f"/{found}{' ' if prompt.get('arguments') else ''}", _help(prompt), len(text))
            for found, prompt in prompts.items()
            if found.lower().startswith(name.lower())
        ]
    if name not in prompts:
        return []
    word = rest.rpartition(" ")[2]
    return [
        Completion(f"{argument}=", _help(about), len(word))
        for argument, about in _known(prompts[name].get("arguments") or []).items()
        if argument.startswith(word) and f"{argument}=" not in rest
    ]


def _arguments(name: str, known: Sequence[Any], words: str) -> dict[str, str]:
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


def _help(about: Mapping[str, Any]) -> str:
    first = str(about.get("description") or about.get("title") or "").strip().splitlines()
    return sanitize_line(first[0]) if first else ""

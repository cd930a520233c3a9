"""Reads a plain command line of `ask` as typer reads it, in a tenth of the time; whatever is not plain is typer's.

typer and the pydantic models that it makes of every option took 40 % of what a warm `ask` did before its first request.
What is read here is what `ask_command` would have been given: tests compare the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolchat.cli.given import parameter_of
from toolchat.settings.table import SETTINGS

TEXT, LIST, SWITCH = "text", "list", "switch"
_OWN: Mapping[str, tuple[str, Any, tuple[str, ...]]] = {
    "file": (LIST, None, ("--file", "-f")),
    "no_tools": (SWITCH, False, ("--no-tools",)),
    "tool": (LIST, None, ("--tool",)),
    "yes": (SWITCH, False, ("--yes", "-y")),
    "allow": (LIST, None, ("--allow",)),
    "deny": (LIST, None, ("--deny",)),
    "image": (LIST, None, ("--image", "-i")),
    "session": (TEXT, None, ("--session",)),
    "continue_": (SWITCH, False, ("--continue", "-c")),
    "record": (TEXT, None, ("--record",)),
    "replay": (TEXT, None, ("--replay",)),
    "recorded_results": (SWITCH, False, ("--recorded-results",)),
    "offline": (SWITCH, False, ("--offline",)),
    "schema": (TEXT, None, ("--schema",)),
    "as_json": (SWITCH, False, ("--json",)),
    "stream_json": (SWITCH, False, ("--stream-json",)),
    "quiet": (SWITCH, False, ("--quiet", "-q")),
    "batch": (TEXT, None, ("--batch",)),
    "output": (TEXT, None, ("--output", "-o")),
    "no_stdin": (SWITCH, False, ("--no-stdin",)),
    "no_system": (SWITCH, False, ("--no-system",)),
}
"""By parameter: what it takes, what it is where it is not given, and how it is written. A flag that is missing here is
left to typer."""


def read(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The parameters of `ask` for these arguments of the program; None for what typer is to read, and to refuse."""
    if arguments[:1] != ["ask"]:
        return None
    flags, given = _flags(), {"question": None, "n": 1} | {name: default for name, (_, default, _) in _OWN.items()}
    given |= {parameter_of(setting): None for setting in SETTINGS.values() if not setting.of_screen}
    questions: list[str] = []
    pending = list(arguments[:0:-1])
    while pending:
        argument = pending.pop()
        if argument == "--":
            questions += reversed(pending)
            break
        if not argument.startswith("-"):
            questions.append(argument)
            continue
        written, joined, value = argument.partition("=") if argument.startswith("--") else (argument, "", "")
        if (found := flags.get(written)) is None:
            return None
        name, kind, constant = found
        if kind == SWITCH:
            if joined:
                return None
            given[name] = constant
            continue
        if not joined:
            if not pending or pending[-1].startswith("-"):
                return None
            value = pending.pop()
        given[name] = [*(given[name] or ()), value] if kind == LIST else value
    if len(questions) > 1:
        return None
    given["question"] = questions[0] if questions else None
    return given


def _flags() -> dict[str, tuple[str, str, bool]]:
    """By how a flag is written: its parameter, what it takes, and what a switch sets."""
    flags = {one: (name, kind, True) for name, (kind, _, written) in _OWN.items() for one in written}
    for setting in SETTINGS.values():
        if setting.of_screen:
            continue
        name = parameter_of(setting)
        kind = SWITCH if setting.is_switch else LIST if setting.repeated else TEXT
        flags |= {one: (name, kind, True) for one in (setting.flag, setting.short) if one}
        if setting.is_switch:
            flags[f"--no-{setting.flag.removeprefix('--')}"] = (name, kind, False)
    return flags

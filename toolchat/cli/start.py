"""Where the program starts. A plain command line of `ask` or `repl` is read here; any other is typer's, in `main`.

typer and the pydantic models that it makes of every option took 40 % of what a warm `ask` did before its first request,
and as much of what `repl` did before its prompt; this takes a tenth of the time. What is read here is what the command
would have been given by typer: tests compare the two, and that neither command has a flag that is not considered here.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Never

TEXT, LIST, SWITCH = "text", "list", "switch"
Own = Mapping[str, tuple[str, tuple[str, ...]]]
"""Flags that are no settings: by parameter, what it takes and how it is written."""
_BOTH: Own = {
    "no_tools": (SWITCH, ("--no-tools",)),
    "yes": (SWITCH, ("--yes", "-y")),
    "allow": (LIST, ("--allow",)),
    "deny": (LIST, ("--deny",)),
    "continue_": (SWITCH, ("--continue", "-c")),
    "record": (TEXT, ("--record",)),
    "replay": (TEXT, ("--replay",)),
    "recorded_results": (SWITCH, ("--recorded-results",)),
    "offline": (SWITCH, ("--offline",)),
    "no_system": (SWITCH, ("--no-system",)),
}
_OWN: Mapping[str, Own] = {
    "ask": {
        **_BOTH,
        "file": (LIST, ("--file", "-f")),
        "tool": (LIST, ("--tool",)),
        "image": (LIST, ("--image", "-i")),
        "session": (TEXT, ("--session",)),
        "schema": (TEXT, ("--schema",)),
        "as_json": (SWITCH, ("--json",)),
        "stream_json": (SWITCH, ("--stream-json",)),
        "quiet": (SWITCH, ("--quiet", "-q")),
        "batch": (TEXT, ("--batch",)),
        "output": (TEXT, ("--output", "-o")),
        "no_stdin": (SWITCH, ("--no-stdin",)),
    },
    "repl": {
        **_BOTH,
        "resume": (TEXT, ("--resume", "-r")),
        "name": (TEXT, ("--name",)),
        "plain": (SWITCH, ("--plain",)),
        "no_history": (SWITCH, ("--no-history",)),
    },
}
"""By command. A flag that is missing here is left to typer."""
_ARGUMENT = {"ask": "question"}
"""By command: the parameter of its one argument, which may be left out."""
_LEFT_OUT: Mapping[str, Mapping[str, Any]] = {"ask": {"n": 1}}
"""By command: the parameters whose flags typer reads, and what they are without these."""


def run(arguments: list[str] | None = None) -> Never:
    """Run the command line, that of this process unless told otherwise, and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Modules are no garbage, and the collector's rounds over them take time; `ask` and `repl` have it look again later.
    gc.disable()
    called = read(arguments) if "_TOOLCHAT_COMPLETE" not in os.environ else None
    if called is None:
        gc.enable()
        from toolchat.cli import main

        main.run(arguments)
    from toolchat.cli import running

    command, given = called
    if command == "ask":
        from toolchat.cli.ask import answer as work
    else:
        from toolchat.cli.repl import chat as work
    running.run(lambda: work(given))


def read(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """The command that the arguments of the program call, and its parameters; None for what typer reads or refuses."""
    command = arguments[0] if arguments else ""
    if (own := _OWN.get(command)) is None:
        return None
    flags = _flags(own, screen=command == "repl")
    given: dict[str, Any] = {name: False if kind == SWITCH else None for name, (kind, _) in own.items()}
    given |= {name: None for name, _, _ in flags.values() if name not in own} | dict(_LEFT_OUT.get(command, {}))
    values: list[str] = []
    pending = with_value(arguments)[:0:-1]
    while pending:
        argument = pending.pop()
        if argument == "--":
            values += reversed(pending)
            break
        if not argument.startswith("-"):
            values.append(argument)
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
    argument_name = _ARGUMENT.get(command)
    if len(values) > (argument_name is not None):
        return None
    if argument_name is not None:
        given[argument_name] = values[0] if values else None
    return command, given


def with_value(arguments: Sequence[str]) -> list[str]:
    """The arguments of the program, in which `--resume` without a value says "last": typer knows no optional values."""
    made = list(arguments)
    for at in reversed(range(len(made))):
        if made[at] == "--resume" and (at + 1 == len(made) or made[at + 1].startswith("-")) and "--" not in made[:at]:
            made.insert(at + 1, "last")
    return made


def _flags(own: Own, *, screen: bool) -> dict[str, tuple[str, str, bool]]:
    """By how a flag is written: its parameter, what it takes, and what a switch sets. `screen`: those of the screen."""
    from toolchat.cli.given import parameter_of
    from toolchat.settings.table import SETTINGS

    flags = {one: (name, kind, True) for name, (kind, written) in own.items() for one in written}
    for setting in SETTINGS.values():
        if setting.of_screen and not screen:
            continue
        name = parameter_of(setting)
        kind = SWITCH if setting.is_switch else LIST if setting.repeated else TEXT
        flags |= {one: (name, kind, True) for one in (setting.flag, setting.short) if one}
        if setting.is_switch:
            flags[f"--no-{setting.flag.removeprefix('--')}"] = (name, kind, False)
    return flags

"""The command line of `toolchat repl`, as typer reads it. Plain ones are read by `quick`, which must agree."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from toolchat.cli import completion, options
from toolchat.cli.repl import chat

Plain = Annotated[bool, typer.Option("--plain", help="Line by line, without live rows, colours or escape sequences.")]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        "-r",
        help="Go on with a session: its name, its id, or last, which may be left out.",
        metavar="[SESSION]",
        autocompletion=completion.sessions,
    ),
]
NoHistory = Annotated[bool, typer.Option("--no-history", help="Neither read nor keep what is typed.")]


@options.takes_settings(screen=True)
def repl(
    no_tools: options.NoTools = False,
    yes: options.Yes = False,
    allow: options.Allow = None,
    deny: options.Deny = None,
    resume: Resume = None,
    continue_: options.Continue = False,
    name: options.Name = None,
    record: options.Record = None,
    replay: options.Replay = None,
    recorded_results: options.RecordedResults = False,
    offline: options.Offline = False,
    plain: Plain = False,
    no_history: NoHistory = False,
    **settings: Any,
) -> int:
    """Chat with the model. Ctrl-C stops an answer, Ctrl-D leaves."""
    return chat({**locals(), **settings})

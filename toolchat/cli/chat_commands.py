"""The commands `ask` and `repl`, as typer reads them. Plain command lines are read by `start`, which must agree."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from toolchat.cli import completion, options
from toolchat.cli.ask import MOST_ANSWERS, answer
from toolchat.cli.repl import chat

Files = Annotated[
    list[str] | None,
    typer.Option("--file", "-f", help="A text file or image to send with the question; repeatable.", metavar="PATH"),
]
OnlyTools = Annotated[
    list[str] | None,
    typer.Option(
        "--tool",
        help="Offer this tool, and no others that are not named; repeatable.",
        metavar="NAME",
        autocompletion=completion.tools,
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        help="Hold the answer to a JSON Schema: a file, JSON, or module:Model, which is imported.",
        metavar="SCHEMA",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object: answer, calls, usage, exit code.")]
StreamJson = Annotated[bool, typer.Option("--stream-json", help="Print each event as a line of JSON as it comes.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only what went wrong on stderr.")]
Answers = Annotated[
    int,
    typer.Option("--n", min=1, max=MOST_ANSWERS, help="So many answers; with --temperature.", metavar="K"),
]
BatchFile = Annotated[
    str | None,
    typer.Option(
        "--batch", help='Answer every row of a file, one JSON object a line: {"question": "…"}.', metavar="FILE"
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="Where --batch writes; what is there is not asked again.", metavar="FILE"),
]
NoStdin = Annotated[bool, typer.Option("--no-stdin", help="Leave standard input alone, as in a loop that reads it.")]


@options.takes_settings()
def ask(
    question: Annotated[
        str | None,
        typer.Argument(help="What to ask; standard input is added to it, or is it.", show_default=False),
    ] = None,
    file: Files = None,
    no_tools: options.NoTools = False,
    tool: OnlyTools = None,
    yes: options.Yes = False,
    allow: options.Allow = None,
    deny: options.Deny = None,
    image: options.Images = None,
    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            help="Go on with this session: its name, id, or: last.",
            metavar="SESSION",
            autocompletion=completion.sessions,
        ),
    ] = None,
    continue_: options.Continue = False,
    record: options.Record = None,
    replay: options.Replay = None,
    recorded_results: options.RecordedResults = False,
    offline: options.Offline = False,
    schema: Schema = None,
    as_json: AsJson = False,
    stream_json: StreamJson = False,
    quiet: Quiet = False,
    n: Answers = 1,
    batch: BatchFile = None,
    output: Output = None,
    no_stdin: NoStdin = False,
    **settings: Any,
) -> int:
    """Ask one question. The answer goes to stdout; tool calls and their results go to stderr."""
    return answer({**locals(), **settings})


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

"""The `toolchat` program as typer reads it: its commands, of which `ask` and `repl` are declared here, and wrong usage.

Plain command lines of these two are read by `start`, which must agree. Imports nothing heavy.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Never

import typer
from typer.exceptions import TyperException

import toolchat
from toolchat.cli import (
    completion,
    config,
    doctor,
    engines,
    models,
    options,
    report,
    running,
    serve,
    sessions,
    tools,
)
from toolchat.cli.ask import MOST_ANSWERS, answer
from toolchat.cli.repl import chat
from toolchat.cli.start import with_value
from toolchat.wire.errors import ExitCode

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

EPILOG = """
Examples:\n
\b
  toolchat ask "What is 17 * 24?"
  toolchat ask --tools my-tools.yaml "List the files in src"
  git diff | toolchat ask "Write a commit message"
  toolchat repl --model mistralai/Mistral-7B-Instruct-v0.3
  toolchat tools list
"""

app = typer.Typer(
    name="toolchat",
    help="Chat in the terminal with a local Mistral model that can call your Python functions.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    plain: options.Plain = False,
    no_history: NoHistory = False,
    **settings: Any,
) -> int:
    """Chat with the model. Ctrl-C stops an answer, Ctrl-D leaves."""
    return chat({**locals(), **settings})


app.command("ask")(ask)
app.command("repl")(repl)
app.command("replay")(report.replay)
app.command("doctor")(doctor.doctor)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("ps")(engines.ps)
app.command("stop")(engines.stop)
app.add_typer(tools.app, name="tools")
app.add_typer(models.app, name="models")
app.add_typer(sessions.app, name="sessions")
app.add_typer(config.app, name="config")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"toolchat {toolchat.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and have the engine log more.")] = False,
) -> None:
    if debug:
        os.environ["TOOLCHAT_DEBUG"] = "1"


def run(arguments: list[str] | None = None) -> Never:
    """Run the command line and exit with its code; failures become one line on stderr."""

    def work() -> Any:
        given = with_value(sys.argv[1:] if arguments is None else arguments)
        try:
            return _app_for(given)(args=given, prog_name="toolchat", standalone_mode=False)
        except typer.Exit as error:
            return error.exit_code
        except TyperException as error:
            return _usage(error)
        except typer.Abort:
            return ExitCode.INTERRUPTED

    running.run(work)


def _app_for(arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that is called alone, if one is.

    typer builds the options of every command before it runs one: with all of them a prompt came 40 ms later.
    """
    before = list(itertools.takewhile(lambda argument: argument.startswith("-"), arguments))
    # --help before a command is that of the program.
    called = None if {"-h", "--help"}.intersection(before) else next(iter(arguments[len(before) :]), None)
    commands = [command for command in app.registered_commands if command.name == called]
    groups = [group for group in app.registered_groups if group.name == called]
    if (not commands and not groups) or "_TOOLCHAT_COMPLETE" in os.environ:
        return app
    one = copy.copy(app)
    one.registered_commands, one.registered_groups = commands, groups
    return one


def _usage(error: TyperException) -> int:
    message = error.format_message()
    if message.startswith("Usage:"):  # a group without its command: its help
        print(message, file=sys.stderr)
        return ExitCode.USAGE
    # Only usage errors know where they happened, and typer does not export their class.
    context = vars(error).get("ctx")
    command = context.command_path if context is not None else "toolchat"
    message = " ".join(message.split()).rstrip(".?")
    unknown = str(vars(error).get("option_name") or "--")
    if context is not None and context.command.name == "ask" and not re.fullmatch(r"--([A-Za-z][\w-]*)?", unknown):
        # "-5 + 3" is a question too, and so is "--all of them?".
        message += '; a question that begins with "-" stands behind --: toolchat ask -- "-…"'
    if context is not None and context.command.name == "serve" and "o such option" in message:
        message += "; vLLM's own flags stand behind --: toolchat serve MODEL -- --tensor-parallel-size 2"
    print(f"toolchat: {message}; see {command} --help", file=sys.stderr)
    return ExitCode.USAGE

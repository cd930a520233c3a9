"""The commands of `toolchat tools`, with `tools mcp`: tools and servers of a file, listed, tried and trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli import completion
from toolchat.cli.given import settings_flags
from toolchat.cli.options import Allow, Deny, Yes, takes_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from toolchat.store.grants import GrantStore
    from toolchat.tools.code import ToolsCode
    from toolchat.tools.toolbox import Toolbox

app = typer.Typer(help="The Python functions that the model may call.", no_args_is_help=True, rich_markup_mode=None)
mcp_app = typer.Typer(
    help="Start the MCP servers of the tools file, and show each: its state, version, protocol and what it offers.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(mcp_app, name="mcp")

ToolName = Annotated[str, typer.Argument(help="The tool's name.", metavar="NAME", autocompletion=completion.tools)]
ServerName = Annotated[str, typer.Argument(help="The server's name in the tools file.", metavar="NAME")]
OF_TOOLS = ("tools", "profile", "project")
"""The settings that say which tools file applies."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("list")
@takes_settings(*OF_TOOLS)
def list_(as_json: AsJson = False, **given: Any) -> None:
    """List the tools, with signatures and origins."""
    from toolchat.ui.tables import print_tools

    toolbox = _load(chosen_tools(given))
    if as_json:
        from toolchat.ui.tool_description import tool_json

        print_json(
            {
                "tools": [tool_json(tool) for tool in toolbox.tools],
                "notes": list(toolbox.notices),
                "broken": list(toolbox.broken),
            }
        )
    else:
        print_tools(toolbox)


@app.command()
@takes_settings(*OF_TOOLS)
def serve(yes: Yes = False, allow: Allow = None, deny: Deny = None, **given: Any) -> None:
    """Offer the tools as an MCP server on standard input and output, for other programs.

    Calls are checked and isolated as in a chat. One that is to be asked about is put to the other program's user.
    """
    from toolchat.cli.tools_mcp import serve_tools

    serve_tools(chosen_tools(given), yes=yes, allow=allow, deny=deny)


@app.command()
@takes_settings("profile", "project")
def check(
    file: Annotated[
        str | None,
        typer.Argument(help="The tools file [default: ./tools.yaml, else the samples].", show_default=False),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Notes are problems, too.")] = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Check a tools file: every problem, and what would help a model. Exit code 2 where something is wrong."""
    from toolchat.cli.tool_check import check_file
    from toolchat.settings import user_path
    from toolchat.wire.errors import ExitCode, UsageError

    if file is not None and not user_path(file).is_file():
        raise UsageError(f"{file}: no such file")
    checked = check_file(chosen_tools({**given, "tools": file}))
    if as_json:
        print_json(checked.json())
    else:
        typer.echo(checked.text())
    if checked.problems or (strict and checked.notes):
        raise typer.Exit(ExitCode.USAGE)


@app.command()
@takes_settings(*OF_TOOLS)
def show(
    name: ToolName,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            help="Show the prompt and count exactly with this: v3, v13 …, or a model that is here.",
            metavar="VERSION|MODEL",
        ),
    ] = None,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Show a tool as the model is told of it: schema, tokens, what the grammar holds, and the prompt."""
    from toolchat.cli.tool_call import named_tool
    from toolchat.models.tokenizers import estimated_tool_tokens, tool_prompt
    from toolchat.settings import cache_folder
    from toolchat.ui.tables import console
    from toolchat.ui.tool_description import Cost, description, held, tool_json

    tool = named_tool(_load(chosen_tools(given)), name)
    prompt = tool_prompt(tokenizer, tool.spec, cache_folder()) if tokenizer is not None else None
    if prompt is None:
        estimate = "estimated; --tokenizer v3, or a model's name, counts exactly"
        cost = Cost(estimated_tool_tokens(tool.spec), False, estimate)
    else:
        cost = Cost(prompt.tokens, True, f"by the tokenizer of {prompt.source} (v{prompt.version})")
    grammar = held(tool, tekken=prompt is None or prompt.tekken)
    if as_json:
        tokens = {"tokens": cost.tokens, "exact": cost.exact, "prompt": prompt.text if prompt is not None else None}
        checked_only = {parameter: list(words) for parameter, words in grammar.checked_only.items()}
        holds = {"backend": grammar.backend, "whole": grammar.whole, "checked_only": checked_only}
        print_json({**tool_json(tool), **tokens, "grammar": holds})
        return
    shown = (f"Prompt, tokenizer v{prompt.version}", prompt.text) if prompt is not None else None
    out = console()
    for row in description(tool, cost, grammar, prompt=shown):
        out.print(row, soft_wrap=True)


@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog="A parameter named like one of these flags goes behind --: toolchat tools call NAME -- --times 3",
)
@takes_settings(*OF_TOOLS)
def call(
    name: ToolName,
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Its arguments: --city Dallas --limit 3 --loud.", metavar="[--PARAMETER VALUE]..."),
    ] = None,
    json_text: Annotated[
        str | None,
        typer.Option("--json", help='The arguments: \'{"city": "Dallas"}\', or - for standard input.', metavar="JSON"),
    ] = None,
    times: Annotated[
        int | None, typer.Option("--times", help="Call it so often, and time it.", min=1, max=100_000, metavar="N")
    ] = None,
    images: Annotated[
        str | None, typer.Option("--images", help="Keep the images that it returns there.", metavar="FOLDER")
    ] = None,
    **given: Any,
) -> None:
    """Call a tool by hand, as a chat would: with the same checks and limits. Exit code 1 if the tool fails."""
    from toolchat.cli.input_text import piped_text
    from toolchat.cli.tool_call import call_tool
    from toolchat.settings import user_path
    from toolchat.wire.errors import UsageError

    if name.startswith("-"):
        raise UsageError(f"{name}: expected the tool's name first, and its arguments behind it")
    flags = {**given, "json": json_text, "times": times, "images": images}
    written = [flag for flag, value in flags.items() if value is not None]
    folder = user_path(images) if images is not None else None
    code = call_tool(
        chosen_tools(given),
        name,
        words or [],
        flags=written,
        json_text=json_text,
        piped=piped_text,
        times=times or 1,
        images=folder,
    )
    if code:
        raise typer.Exit(code)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the function and the tool are called.", metavar="NAME")],
    tools: Annotated[
        str, typer.Option("--tools", "-t", help="The tools file that gets its entry.", metavar="FILE")
    ] = "tools.yaml",
) -> None:
    """Begin a tool: a typed, documented function in NAME.py and its entry, ready to edit. Never overwrites."""
    from toolchat.cli.tool_new import new_tool
    from toolchat.settings import user_path
    from toolchat.ui.text.sanitize import sanitize_line

    made = new_tool(name, user_path(tools))
    file = sanitize_line(str(made.file))
    typer.echo(f"{sanitize_line(str(made.source))}: the function, for you to edit")
    typer.echo(f"{file}: {'a tools file with' if made.is_new else 'has now'} its entry")
    typer.echo(f"Next: toolchat tools check {file}")
    typer.echo(f"      toolchat tools call {name} --tools {file} --text hello")


def chosen_tools(given: Mapping[str, Any]) -> Path | ToolsCode:
    """The tools file that applies with these flags, which may run: see `choose_tools_file`."""
    from toolchat.cli.tools_file import choose_tools_file
    from toolchat.settings import resolve, state_folder
    from toolchat.store.state import open_state

    open_state(state_folder())
    return choose_tools_file(resolve(settings_flags(given)))


def _load(chosen: Path | ToolsCode) -> Toolbox:
    from toolchat.tools.run import load_toolbox
    from toolchat.tools.trust import refusals_noted

    with refusals_noted(chosen):
        return load_toolbox(chosen)


def print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


@app.command()
def trust(
    file: Annotated[str, typer.Argument(help="The tools file.", metavar="[FILE]")] = "tools.yaml",
    allow: Annotated[
        bool | None,
        typer.Option(
            "--allow/--no-allow",
            help="Whether tools of which the file says approval: allow run without asking [default: asks, else no].",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Accept a tools file, until it changes.

    It is then used without --tools; a change of its local modules counts too.
    """
    import sys

    from toolchat.cli.approval import terminal_width
    from toolchat.cli.trust_question import allowed, ask_to_allow, describe
    from toolchat.settings import state_folder, user_path
    from toolchat.tools.trust import TrustStore
    from toolchat.ui.text.sanitize import sanitize_line
    from toolchat.ui.text.wrapping import hanging
    from toolchat.wire.errors import UsageError

    path = user_path(file)
    if not path.is_file():
        raise UsageError(f"{file}: no such file")
    store = TrustStore(state_folder())
    code = store.read(path)
    for row in describe(code, store.accepted(code)):
        typer.echo("\n".join(hanging(row, terminal_width())) if sys.stdout.isatty() else row)
    if allow is None:
        allow = sys.stdin.isatty() and sys.stderr.isatty() and ask_to_allow(code)
    store.trust(code, allows=allow)
    typer.echo(f"{sanitize_line(str(code.real))} is accepted until it or its modules change.")
    if not allow and allowed(code):
        typer.echo("Its calls are asked about all the same; --allow has those run that say approval: allow.")


@app.command()
def grants() -> None:
    """List the tools whose calls you have allowed for good."""
    from toolchat.settings import state_folder
    from toolchat.store.grants import GrantStore
    from toolchat.ui.tables import print_grants

    print_grants(GrantStore(state_folder()).granted())


@app.command()
@takes_settings(*OF_TOOLS)
def revoke(
    tool: Annotated[
        str | None,
        typer.Argument(
            help="The tool's name; left out, all of them.",
            metavar="[NAME]",
            show_default=False,
            autocompletion=completion.granted,
        ),
    ] = None,
    **given: Any,
) -> None:
    """Take back what you have allowed for good: its calls ask again."""
    from toolchat.settings import state_folder
    from toolchat.store.grants import GrantStore
    from toolchat.tools.problems import did_you_mean
    from toolchat.wire.errors import UsageError

    store = GrantStore(state_folder())
    revoked = store.revoke(tool, _named(tool, given, store) if tool is not None else ())
    if tool is not None and not revoked:
        hint = did_you_mean(tool, (grant.tool for grant in store.granted()), "toolchat tools grants lists them")
        raise UsageError(f"{tool}: nothing is granted to a tool of that name; {hint}")
    typer.echo(f"{len(revoked)} {'grant' if len(revoked) == 1 else 'grants'} revoked.")


def _named(tool: str, given: Mapping[str, Any], store: GrantStore) -> list[str]:
    """The granted callables that are called `tool` now in the tools file that applies. Nothing of it runs."""
    from toolchat.cli.tools_file import FOUND
    from toolchat.settings import resolve, user_path
    from toolchat.tools.tools_file import read_tools_file
    from toolchat.wire.errors import UsageError

    path = user_path(resolve(settings_flags(given)).tools or str(FOUND))
    try:
        entries = read_tools_file(path).entries
    except UsageError:
        return []
    granted = {grant.callable_ref for grant in store.granted()}
    return [reference for entry in entries for reference in granted if entry.name_of(reference) == tool]


@app.command()
def schema() -> None:
    """Print the JSON Schema of a tools file, for an editor to complete and check it with."""
    import json

    from toolchat.tools.file_schema import file_schema

    typer.echo(json.dumps(file_schema(), indent=2, ensure_ascii=False))


@mcp_app.callback()
@takes_settings(*OF_TOOLS)
def show_servers(context: typer.Context, as_json: AsJson = False, **given: Any) -> None:
    """Start the MCP servers of the tools file, and show each: its state, version, protocol and what it offers."""
    from toolchat.wire.errors import UsageError

    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError(f"tools mcp {context.invoked_subcommand} prints no JSON; leave --json out")
        context.obj = given
        return
    from toolchat.cli.tools_mcp import server_json, server_row, started_servers
    from toolchat.ui.tables import print_servers

    states = started_servers(chosen_tools(given))
    if as_json:
        print_json({"servers": [server_json(state) for state in states]})
    else:
        print_servers([server_row(state) for state in states])
    if any(state.state != "ready" for state in states):
        raise typer.Exit(1)


@mcp_app.command()
@takes_settings(*OF_TOOLS)
def login(
    context: typer.Context,
    name: ServerName,
    scope: Annotated[
        str | None,
        typer.Option("--scope", help="What it is to cover [default: what the server asks for].", metavar="WORDS"),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page for it.")] = True,
    **given: Any,
) -> None:
    """Log in at a server (OAuth): a page opens, and its address is shown for a browser elsewhere.

    The tokens are kept in the state folder, for you alone, and are sent to that server only.
    """
    from toolchat.cli.tools_mcp import log_in_at

    log_in_at(chosen_tools(_merged(context, given)), name, scope=scope, browser=browser)


@mcp_app.command()
@takes_settings(*OF_TOOLS)
def logout(context: typer.Context, name: ServerName, **given: Any) -> None:
    """End the login at a server, there where it can be told, and here."""
    from toolchat.cli.tools_mcp import log_out_at

    log_out_at(chosen_tools(_merged(context, given)), name)


def _merged(context: typer.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Flags may stand before the command's name, too."""
    before = context.obj if isinstance(context.obj, dict) else {}
    return {name: before.get(name) if value is None else value for name, value in given.items()}

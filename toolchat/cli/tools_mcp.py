"""`toolchat tools mcp`: shows the MCP servers of a tools file, and logs in and out at them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from toolchat.cli.options import takes_settings
from toolchat.wire.errors import UsageError

app = typer.Typer(
    help="Start the MCP servers of the tools file, and show each: its state, version, protocol and what it offers.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
OF_TOOLS = ("tools", "profile", "project")

ServerName = Annotated[str, typer.Argument(help="The server's name in the tools file.", metavar="NAME")]


@app.callback()
@takes_settings(*OF_TOOLS)
def show(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    **given: Any,
) -> None:
    """Start the MCP servers of the tools file, and show each: its state, version, protocol and what it offers."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise UsageError(f"tools mcp {context.invoked_subcommand} prints no JSON; leave --json out")
        context.obj = given
        return
    from toolchat.cli.tool_servers import server_json, server_row, started_servers
    from toolchat.cli.tools import chosen_tools, print_json
    from toolchat.ui.tables import print_servers

    states = started_servers(chosen_tools(given))
    if as_json:
        print_json({"servers": [server_json(state) for state in states]})
    else:
        print_servers([server_row(state) for state in states])
    if any(state.state != "ready" for state in states):
        raise typer.Exit(1)


@app.command()
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
    from toolchat.cli.tool_login import log_in_at
    from toolchat.cli.tools import chosen_tools

    log_in_at(chosen_tools(_merged(context, given)), name, scope=scope, browser=browser)


@app.command()
@takes_settings(*OF_TOOLS)
def logout(context: typer.Context, name: ServerName, **given: Any) -> None:
    """End the login at a server, there where it can be told, and here."""
    from toolchat.cli.tool_login import log_out_at
    from toolchat.cli.tools import chosen_tools

    log_out_at(chosen_tools(_merged(context, given)), name)


def _merged(context: typer.Context, given: dict[str, Any]) -> dict[str, Any]:
    """Flags may stand before the command's name, too."""
    before = context.obj if isinstance(context.obj, dict) else {}
    return {name: before.get(name) if value is None else value for name, value in given.items()}

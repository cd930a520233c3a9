"""`toolchat tools`: lists, describes and trusts the tools of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from toolchat.cli.options import Tools

if TYPE_CHECKING:
    from toolchat.store.grants import GrantStore

app = typer.Typer(help="The Python functions that the model may call.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(tools: Tools = None) -> None:
    """List the tools, with signatures and origins."""
    from toolchat.cli.tools_file import choose_tools_file
    from toolchat.settings import resolve, state_folder
    from toolchat.store.state import open_state
    from toolchat.tools.run import load_toolbox
    from toolchat.tools.trust import refusals_noted
    from toolchat.ui.tables import print_tools

    open_state(state_folder())
    chosen = choose_tools_file(resolve({"tools": tools}))
    with refusals_noted(chosen):
        toolbox = load_toolbox(chosen)
    print_tools(toolbox)


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
def revoke(
    tool: Annotated[
        str | None, typer.Argument(help="The tool's name; left out, all of them.", metavar="[NAME]", show_default=False)
    ] = None,
    tools: Tools = None,
) -> None:
    """Take back what you have allowed for good: its calls ask again."""
    from toolchat.settings import state_folder
    from toolchat.store.grants import GrantStore
    from toolchat.tools.problems import did_you_mean
    from toolchat.wire.errors import UsageError

    store = GrantStore(state_folder())
    revoked = store.revoke(tool, _named(tool, tools, store) if tool is not None else ())
    if tool is not None and not revoked:
        hint = did_you_mean(tool, (grant.tool for grant in store.granted()), "toolchat tools grants lists them")
        raise UsageError(f"{tool}: nothing is granted to a tool of that name; {hint}")
    typer.echo(f"{len(revoked)} {'grant' if len(revoked) == 1 else 'grants'} revoked.")


def _named(tool: str, tools: str | None, store: GrantStore) -> list[str]:
    """The granted callables that are called `tool` now in the tools file that applies. Nothing of it runs."""
    from toolchat.cli.tools_file import FOUND
    from toolchat.settings import resolve, user_path
    from toolchat.tools.spec import read_tools_file
    from toolchat.wire.errors import UsageError

    path = user_path(resolve({"tools": tools}).tools or str(FOUND))
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

"""`toolchat tools`: what the model may call."""

from __future__ import annotations

from typing import Annotated

import typer

from toolchat.cli.options import Tools

app = typer.Typer(help="The Python functions that the model may call.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(tools: Tools = None) -> None:
    """List the tools, with signatures and origins."""
    from toolchat.cli.tools_file import choose_tools_file
    from toolchat.settings import resolve, state_folder
    from toolchat.store.state import open_state
    from toolchat.tools.run import load_toolbox
    from toolchat.ui.tables import print_tools

    open_state(state_folder())
    print_tools(load_toolbox(choose_tools_file(resolve({"tools": tools}).tools)))


@app.command()
def trust(
    file: Annotated[str, typer.Argument(help="The tools file.", metavar="[FILE]")] = "tools.yaml",
) -> None:
    """Accept a tools file, until it changes.

    It is then used without --tools; a change of its local modules counts too.
    """
    from pathlib import Path

    from toolchat.settings import state_folder
    from toolchat.tools.trust import TrustStore, describe, fingerprint
    from toolchat.ui.sanitize import sanitize_line
    from toolchat.wire.errors import UsageError

    path = Path(file).expanduser()
    if not path.is_file():
        raise UsageError(f"{file}: no such file")
    seen = fingerprint(path)
    for row in describe(path):
        typer.echo(sanitize_line(row))
    TrustStore(state_folder()).trust(path, seen)
    typer.echo(f"{path.resolve()} is accepted until it or its modules change.")


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
) -> None:
    """Take back what you have allowed for good: its calls ask again."""
    from toolchat.settings import state_folder
    from toolchat.store.grants import GrantStore
    from toolchat.tools.problems import did_you_mean
    from toolchat.wire.errors import UsageError

    store = GrantStore(state_folder())
    revoked = store.revoke(tool)
    if tool is not None and not revoked:
        hint = did_you_mean(tool, (grant.tool for grant in store.granted()), "toolchat tools grants lists them")
        raise UsageError(f"{tool}: nothing is granted to a tool of that name; {hint}")
    typer.echo(f"{len(revoked)} {'grant' if len(revoked) == 1 else 'grants'} revoked.")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a tools file, for an editor to complete and check it with."""
    import json

    from toolchat.tools.file_schema import file_schema

    typer.echo(json.dumps(file_schema(), indent=2, ensure_ascii=False))

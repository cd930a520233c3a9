"""`toolchat models`: the models on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="The models on this machine.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="demo, or a Hugging Face id.", metavar="NAME")]


@app.command("list")
def list_() -> None:
    """List the models that are here, and the one used where none is named."""
    from toolchat.models.listing import local_models
    from toolchat.models.resolve import default_model
    from toolchat.settings import cache_folder, resolve
    from toolchat.ui.tables import ModelRow, print_models

    default = resolve({}).model or default_model()
    found = local_models(cache_folder())
    rows = [ModelRow(model.name, model.folder, model.source, model.name == default) for model in found]
    if default not in {row.name for row in rows}:
        rows.append(ModelRow(default, None, "", True))
    print_models(rows)


@app.command()
def pull(name: Name) -> None:
    """Fetch a model, or build the demo model, so that it can be used offline."""
    from toolchat.cli.plan import obtain_with_progress
    from toolchat.models.resolve import choose_model
    from toolchat.settings import cache_folder

    typer.echo(obtain_with_progress(choose_model(name, cache_folder())))


@app.command()
def path(name: Name) -> None:
    """Print the folder of a model that is here."""
    from toolchat.models.resolve import choose_model
    from toolchat.settings import cache_folder
    from toolchat.wire.errors import EngineError

    choice = choose_model(name, cache_folder())
    if choice.folder is None:
        raise EngineError(f"{name} is not on this machine; fetch it with: toolchat models pull {name}")
    typer.echo(choice.folder)


@app.command()
def remove(name: Name) -> None:
    """Delete a model's files from this machine."""
    from toolchat.models import demo, hub
    from toolchat.models.resolve import DEMO
    from toolchat.settings import cache_folder
    from toolchat.wire.errors import UsageError

    removed = demo.remove(cache_folder()) if name == DEMO else hub.remove(name)
    if not removed:
        raise UsageError(f"{name}: there is nothing of it on this machine to remove")
    typer.echo(f"{name} is removed.")

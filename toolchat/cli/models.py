"""`toolchat models`: the models on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli import completion
from toolchat.cli.given import settings_flags
from toolchat.cli.options import Offline, takes_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from toolchat.models.choice import LocalModel, ModelChoice
    from toolchat.models.hub import RemoteSize
    from toolchat.ui.tables import ModelRow

app = typer.Typer(help="The models on this machine.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[
    str, typer.Argument(help="demo, or a Hugging Face id.", metavar="NAME", autocompletion=completion.models)
]


@app.command("list")
@takes_settings("profile", "project")
def list_(**given: Any) -> None:
    """List the models that are here, what they know of themselves, and the one used where none is named."""
    from toolchat.models.choice import default_model, local_models
    from toolchat.settings import cache_folder, resolve
    from toolchat.ui.tables import ModelRow, print_models

    default = resolve(settings_flags(given)).model or default_model()
    rows = [_row(model, model.name == default) for model in local_models(cache_folder())]
    if default not in {row.name for row in rows}:
        rows.append(ModelRow(default, None, "", True))
    print_models(rows)


def _row(model: LocalModel, default: bool) -> ModelRow:
    from toolchat.engine.params import context_window
    from toolchat.images.image import size_text
    from toolchat.models.card import sampling
    from toolchat.ui.tables import ModelRow
    from toolchat.wire.errors import EngineError

    size = size_text(model.bytes) if model.bytes else ""
    if model.folder is None or model.lacks:
        return ModelRow(model.name, model.folder, model.source, default, size, lacks=model.lacks)
    try:
        longest = context_window(model.folder)
    except EngineError as error:
        return ModelRow(model.name, model.folder, model.source, default, size, lacks=str(error))
    found = sampling(model.folder, model.name)
    context = f"{longest:,}" if longest is not None else "unknown"
    return ModelRow(model.name, model.folder, model.source, default, size, context, f"{found} ({found.source})")


@app.command()
@takes_settings("revision")
def pull(name: Name, offline: Offline = False, **given: Any) -> None:
    """Fetch a model, or build the demo model, so that it can be used offline."""
    from toolchat.models.choice import choose_model
    from toolchat.settings import cache_folder

    typer.echo(obtain_with_progress(choose_model(name, cache_folder(), given["revision"]), _fits))


def _fits(size: RemoteSize) -> str:
    """What is to be said of a model and this machine's GPU. It may be fetched for another machine all the same."""
    from toolchat.models.hardware import fit_warning, installed_vllm
    from toolchat.wire.errors import EngineError

    try:
        return fit_warning(size.name, size.weights, installed_vllm() or "cpu")
    except EngineError as error:
        return str(error)


@app.command()
@takes_settings("revision")
def path(name: Name, **given: Any) -> None:
    """Print the folder of a model that is here."""
    from toolchat.models import hub_cache
    from toolchat.models.choice import choose_model
    from toolchat.settings import cache_folder
    from toolchat.wire.errors import EngineError

    revision: str | None = given["revision"]
    choice = choose_model(name, cache_folder(), revision)
    # A model that is whole may still have small files to ask the hub for, when it is used.
    folder = choice.folder or (hub_cache.whole(name, revision) if choice.kind == "hub" else None)
    if folder is None:
        part = hub_cache.snapshot(name, revision) if choice.kind == "hub" else None
        lacks = f"only a part of {name} is on this machine (missing: {hub_cache.missing_of(part)})" if part else ""
        raise EngineError(f"{lacks or f'{name} is not on this machine'}; fetch it with: toolchat models pull {name}")
    typer.echo(folder)


@app.command()
def remove(name: Name) -> None:
    """Delete a model's files from this machine."""
    from toolchat.models import hub
    from toolchat.models.choice import DEMO
    from toolchat.models.demo import build as demo
    from toolchat.settings import cache_folder
    from toolchat.wire.errors import UsageError

    removed = demo.remove(cache_folder()) if name == DEMO else hub.remove(name)
    if not removed:
        raise UsageError(f"{name}: there is nothing of it on this machine to remove")
    typer.echo(f"{name} is removed.")


def obtain_with_progress(choice: ModelChoice, fits: Callable[[RemoteSize], str]) -> Path:
    """The model's folder; what has to be built or fetched first is shown as a bar on stderr, and its size before.

    `fits` is asked before the first byte of a download: see `Plan.fits`.
    """
    if choice.folder is not None:
        return choice.folder
    from toolchat.models.choice import obtain
    from toolchat.settings import cache_folder
    from toolchat.ui.progress import progress

    with progress("building the demo model" if choice.kind == "demo" else choice.name) as shown:

        def announce(size: RemoteSize) -> None:
            for line in (fits(size), f"{choice.name}: {size}"):
                if line:
                    shown.note(line)

        return obtain(choice, cache_folder(), shown.report, announce)

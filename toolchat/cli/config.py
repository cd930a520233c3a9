"""`toolchat config`: shows, checks and edits the settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolchat.cli.given import settings_flags
from toolchat.cli.options import takes_settings
from toolchat.wire.errors import ToolchatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from toolchat.settings import Resolved, Settings

app = typer.Typer(help="The settings, and where they come from.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
@takes_settings("model", "profile", "project")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False, **given: Any
) -> None:
    """Show every setting as it counts here, and where it comes from. Keys are not shown."""
    from toolchat.settings import trace

    flags = settings_flags(given)
    found = trace(flags)
    own = _of_model(found.settings)
    found = trace(flags, model_defaults={name: value for name, (value, _) in own.items()})
    _print_json(found, own) if as_json else _print(found, own)


@app.command()
def path() -> None:
    """Print where config.toml is looked for."""
    from toolchat.settings import config_file

    typer.echo(config_file())


@app.command()
def edit() -> None:
    """Open config.toml in your editor ($VISUAL, $EDITOR), and check it afterwards."""
    from toolchat.settings import config_file

    file = config_file()
    edit_config(file)
    _report()


@app.command()
def check() -> None:
    """Check config.toml, its profiles, .toolchat.toml and TOOLCHAT_ variables. Exit code 2 where something is wrong."""
    _report()


@app.command()
def trust() -> None:
    """Accept the .toolchat.toml of this folder, until it changes."""
    from toolchat.cli.given import describe
    from toolchat.settings import PROJECT_NAME, read_project
    from toolchat.settings.layers import project_file
    from toolchat.ui.text.sanitize import sanitize_line
    from toolchat.wire.errors import UsageError

    project = read_project(project_file())
    if project is None:
        raise UsageError(f"there is no {PROJECT_NAME} in this folder; change to the folder that has it")
    for problem in project.problems():
        raise UsageError(problem)
    for row in describe(project):
        typer.echo(row)
    project.accept()
    typer.echo(f"{sanitize_line(str(project.file))} is accepted until it changes.")


def _of_model(settings: Settings) -> Mapping[str, tuple[Any, str]]:
    """What the model that counts says itself, as far as its files are here, each with its source: "" for toolchat."""
    from toolchat.engine.config import Sampling
    from toolchat.models.card import sampling
    from toolchat.models.choice import choose_model
    from toolchat.settings import cache_folder
    from toolchat.wire.errors import ToolchatError

    if settings.server:
        return {}
    try:
        choice = choose_model(settings.model, cache_folder(), settings.revision)
        own: dict[str, tuple[Any, str]] = {name: (value, choice.name) for name, value in choice.defaults.items()}
        if choice.folder is not None:
            by = sampling(choice.folder, choice.name, settings.reasoning_effort)
            whose = "" if by.source == Sampling().source else by.source
            own |= {"temperature": (by.temperature, whose), "top_p": (by.top_p, whose)}
    except ToolchatError:
        return {}  # the commands that need it say why
    return own


def _rows(found: Resolved, own: Mapping[str, tuple[Any, str]]) -> Iterator[tuple[str, Any, str, str]]:
    """Name, value as it may be shown, origin, and the place."""
    from toolchat.settings import SETTINGS, Origin

    for name, setting in SETTINGS.items():
        origin, where = found.origins[name]
        value = getattr(found.settings, name)
        if origin is Origin.MODEL:
            where = own[name][1]
            origin = origin if where else Origin.BUILT_IN
        yield name, setting.shown(value) if value is not None else None, origin, where


def _print(found: Resolved, own: Mapping[str, tuple[Any, str]]) -> None:
    from rich.text import Text

    from toolchat.settings import SETTINGS, Origin
    from toolchat.ui.tables import console
    from toolchat.ui.text.sanitize import sanitize_line

    rows = []
    for name, value, origin, where in _rows(found, own):
        shown = _text(value) if value not in (None, ()) else SETTINGS[name].default or "none"
        words = f"{origin}: {where}" if origin is Origin.MODEL else where or origin
        rows.append((name, sanitize_line(shown), sanitize_line(words), origin))
    named, valued = (max(len(row[at]) for row in rows if len(row[at]) <= 40) for at in (0, 1))
    out = console()
    for name, shown, words, origin in rows:
        quiet = "dim" if origin in (Origin.BUILT_IN, Origin.MODEL) else ""
        out.print(Text.assemble((f"{name:<{named}}  ", "bold"), (f"{shown:<{valued}}  ", quiet), (words, "dim")))
    for file, is_there in ((found.config.file, found.config.file.is_file()), (_project_file(found), True)):
        if file is not None:
            out.print(Text(sanitize_line(f"{file}{'' if is_there else ' is not there'}"), style="dim"), soft_wrap=True)


def _project_file(found: Resolved) -> Any:
    return found.project.file if found.project is not None else None


def _text(value: Any) -> str:
    """As config.toml has it, but without quotes."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(map(str, value))
        case float():
            return f"{value:g}"
        case "":
            return "none"
    return str(value)


def _print_json(found: Resolved, own: Mapping[str, tuple[Any, str]]) -> None:
    import json

    settings = {
        name: {"value": value, "origin": str(origin), "where": where or None}
        for name, value, origin, where in _rows(found, own)
    }
    files = {
        "config": str(found.config.file),
        "project": str(_project_file(found)) if found.project is not None else None,
    }
    typer.echo(json.dumps({"version": 1, "files": files, "settings": settings}, indent=2, ensure_ascii=False))


def _report() -> None:
    """Print every problem of the settings, or that there is none."""
    from toolchat.settings.check import problems
    from toolchat.ui.text.sanitize import sanitize_line
    from toolchat.wire.errors import ExitCode

    found = problems()
    for problem in found.problems:
        typer.echo(sanitize_line(problem))
    for note in found.notes:
        typer.echo(sanitize_line(note))
    if found.problems:
        raise typer.Exit(ExitCode.USAGE)
    typer.echo("The settings are right.")


def edit_config(file: Path) -> None:
    """Have the user edit `file`, which is made where it is missing, and return when the editor ends.

    Raises UsageError where there is no editor, ToolchatError where the file cannot be made or the editor fails.
    """
    import os
    import subprocess

    from toolchat.ui.editor import editor_of, ending

    editor = editor_of(os.environ)
    _make(file)
    try:
        code = subprocess.run([*editor, str(file)], check=False).returncode
    except OSError as error:
        raise UsageError(f"{editor[0]} cannot be started ({error.strerror}); set EDITOR to your editor") from None
    if code:
        raise ToolchatError(f"{editor[0]} {ending(code)}; {file} is as it left it")


def template() -> str:
    """A first config.toml: every setting, none of which counts yet."""
    from toolchat.settings import SETTINGS

    lines = ["# Settings of toolchat; docs/settings.md explains them. Remove the # before a line that is to count."]
    for name, setting in SETTINGS.items():
        lines += ["", f"# {setting.help}", f"#{name} = "]
    lines += ["", "# What stands in a profile counts with --profile work.", "#[profiles.work]", '#model = "demo"', ""]
    return "\n".join(lines)


def _make(file: Path) -> None:
    import os

    from toolchat.private_file import DistrustedError, open_private, private_folder

    if file.exists():
        return
    try:
        private_folder(file.parent)
        descriptor = open_private(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except DistrustedError as error:
        raise ToolchatError(f"{file}: is not made: {error}") from None
    except OSError as error:
        raise ToolchatError(f"{file}: cannot be made ({error.strerror}); make the folder writable") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(template())

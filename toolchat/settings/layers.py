"""Resolves settings, in one place: flags > TOOLCHAT_* variables > .toolchat.toml > a profile > config.toml > the
model's own defaults > built-in.

A value that is wrong is a UsageError that names where it stands: the flag, the variable, or the file and key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from toolchat.settings.files import PROFILES, PROJECT_NAME, Config, Project, read_config, read_project
from toolchat.settings.folders import config_file
from toolchat.settings.table import MODEL_BOUND, SETTINGS, Setting, Settings, variable
from toolchat.settings.values import user_path
from toolchat.wire.errors import UsageError


class Origin(StrEnum):
    """Where a value comes from, the strongest first."""

    FLAG = "flag"
    VARIABLE = "variable"
    PROJECT = "project"
    PROFILE = "profile"
    FILE = "config.toml"
    MODEL = "model"
    BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one place, as they are written there."""

    origin: Origin
    values: Mapping[str, Any]
    file: Path | None = None
    section: str = ""

    def where(self, name: str) -> str:
        """How errors and `config show` name the place of a setting."""
        match self.origin:
            case Origin.FLAG:
                return SETTINGS[name].flag
            case Origin.VARIABLE:
                return variable(name)
        return f"{self.file}: {self.section}{name}"

    def value(self, name: str) -> Any:
        """None where it says nothing."""
        written = self.values.get(name)
        return _from_file(name, written, self.file) if self.file is not None else written


@dataclass(frozen=True, slots=True)
class Resolved:
    """All settings, and where each has its value from."""

    settings: Settings
    origins: Mapping[str, tuple[Origin, str]]
    """By setting: the origin, and the place in words, empty where the origin says it."""
    config: Config
    project: Project | None
    """The .toolchat.toml that counts."""


class UnacceptedError(UsageError):
    """The .toolchat.toml of this folder has settings that count only once the user has accepted it."""

    def __init__(self, project: Project) -> None:
        names = ", ".join(project.asks_for)
        super().__init__(
            f"{project.file}: this folder's settings have {names}, and you have not accepted that; accept it with: "
            "toolchat config trust, or leave the file out with --no-project (TOOLCHAT_PROJECT=0)"
        )
        self.project = project


def resolve(
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
    project: Path | None = None,
    model_defaults: Mapping[str, Any] | None = None,
) -> Settings:
    """All settings; see `trace`."""
    found = trace(flags, environment=environment, file=file, project=project, model_defaults=model_defaults)
    return found.settings


def trace(
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
    project: Path | None = None,
    model_defaults: Mapping[str, Any] | None = None,
) -> Resolved:
    """All settings, with their origins.

    `flags` maps a setting's name to what was given, None for what was not. `file` stands for config.toml, `project` for
    .toolchat.toml of the working directory. Raises UsageError for a wrong value, for a key or profile that there is
    not, and, UnacceptedError, for a .toolchat.toml that has to be accepted first.
    """
    config, folder, layers = read_layers(flags, environment=environment, file=file, project=project)
    if folder is not None and not folder.accepted:
        raise UnacceptedError(folder)
    values: dict[str, Any] = dict(model_defaults or {})
    origins = {name: (Origin.MODEL if name in values else Origin.BUILT_IN, "") for name in SETTINGS}
    of_model, of_server = (_naming(layers, name) for name in ("model", "server"))
    for name, setting in SETTINGS.items():
        counting = layers
        if name in MODEL_BOUND:
            # Of the model that is named in the same place or in one that comes after: another has other branches.
            counting = layers[: of_model + 1]
        elif name == "api_key" and of_server < len(layers) and layers[of_server].origin is Origin.PROJECT:
            # The key that lies in config.toml is not meant for a server that some folder names.
            counting = layers[: of_server + 1]
        for layer in counting:
            if (value := layer.value(name)) is not None:
                where = layer.where(name)
                values[name] = parsed(setting, where, value)
                origins[name] = (layer.origin, where)
                break
    origin, where = origins["tools"]
    named = origin in (Origin.FLAG, Origin.BUILT_IN) or (
        origin is not Origin.PROJECT and _same_everywhere(values["tools"])
    )
    settings = Settings(**values, tools_named=named, tools_place=where or SETTINGS["tools"].flag)
    return Resolved(settings, origins, config, folder)


def read_layers(
    flags: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
    project: Path | None = None,
) -> tuple[Config, Project | None, tuple[Layer, ...]]:
    """config.toml, the .toolchat.toml that counts or would if it were accepted, and all places, the strongest first.

    Raises UsageError as `trace` does, but for values.
    """
    environment = os.environ if environment is None else environment
    config = read_config(config_file() if file is None else file)
    for problem in config.problems():
        raise UsageError(problem)
    given = (
        Layer(Origin.FLAG, flags),
        Layer(Origin.VARIABLE, {name: environment.get(variable(name)) or None for name in SETTINGS}),
    )
    own = Layer(Origin.FILE, config.values, config.file)
    found = read_project(project or project_file()) if _setting("project", (*given, own), default=True) else None
    for problem in found.problems() if found is not None else ():
        raise UsageError(problem)
    folders = (Layer(Origin.PROJECT, found.values, found.file),) if found is not None else ()
    # A file that is not accepted chooses no profile; whoever asks for values is told so.
    choosing = (*given, *(folders if found is not None and found.accepted else ()), own)
    profile = _setting("profile", choosing, default=None)
    profiles: tuple[Layer, ...] = ()
    if profile is not None:
        where = next(layer.where("profile") for layer in choosing if layer.value("profile") is not None)
        chosen = config.profile(profile, where)
        profiles = (Layer(Origin.PROFILE, chosen, config.file, f"{PROFILES}.{profile}."),)
    return config, found, (*given, *folders, *profiles, own)


def unaccepted(flags: Mapping[str, Any]) -> Project | None:
    """The .toolchat.toml that has to be accepted before these flags can be resolved. Raises UsageError."""
    _, project, _ = read_layers(flags)
    return project if project is not None and not project.accepted else None


def parsed(setting: Setting, where: str, value: Any) -> Any:
    """The value of a setting. Raises UsageError, which names `where` it stands."""
    try:
        return setting.parse(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}, not {setting.quoted(value)}") from None


def _setting(name: str, layers: tuple[Layer, ...], *, default: Any) -> Any:
    for layer in layers:
        if (value := layer.value(name)) is not None:
            return parsed(SETTINGS[name], layer.where(name), value)
    return default


def _naming(layers: tuple[Layer, ...], name: str) -> int:
    """The first place that sets `name`; the number of places where none does."""
    return next((at for at, layer in enumerate(layers) if layer.values.get(name)), len(layers))


def project_file() -> Path:
    """The working directory's, and no other above it: as with ./tools.yaml, it is plain to see which file counts."""
    try:
        return Path.cwd() / PROJECT_NAME
    except OSError:
        return Path(os.devnull, PROJECT_NAME)  # the directory has been deleted


def _same_everywhere(written: str) -> bool:
    """Whether a path leads to the same file whatever folder the user is in."""
    from toolchat.private_file import steps

    path = user_path(written)
    return path.is_absolute() and not any(
        stat.S_ISLNK(facts.st_mode) and place.is_relative_to("/proc") for place, facts in steps(path)
    )


def _of_engine(said: str, folder: Path) -> str:
    """The value of an argument of vLLM's, in which what is plainly a relative path begins in `folder`."""

    def begun(value: Any) -> Any:
        match value:
            case str() if value in (".", "..") or value.startswith(("./", "../")):
                return str(folder / value)
            case dict():
                return {name: begun(one) for name, one in value.items()}
            case list():
                return [begun(one) for one in value]
        return value

    if not said.startswith(("{", "[")):
        return str(begun(said))
    import json

    try:
        written = json.loads(said)
    except (ValueError, RecursionError):
        return said  # what is wrong with it is told where it is read
    found = begun(written)
    return said if found == written else json.dumps(found)


def _from_file(name: str, value: Any, file: Path) -> Any:
    """A path in a file of settings begins in the folder of that file, wherever the user is."""
    if name == "lora" and isinstance(value, str):
        label, equals, path = value.partition("=")
        return f"{label}={file.parent / path}" if equals and path.strip() and not path.startswith(("/", "~")) else value
    if name == "engine_arg":
        if isinstance(value, list):
            return [_from_file(name, one, file) for one in value]
        argument, equals, said = value.partition("=") if isinstance(value, str) else ("", "", "")
        return f"{argument}={_of_engine(said.strip(), file.parent)}" if equals else value
    relative = isinstance(value, str) and value.strip() and not value.startswith(("/", "~"))
    if relative and (name == "tools" or (name in ("model", "tokenizer") and value.startswith("."))):
        return str(file.parent / value)
    return value

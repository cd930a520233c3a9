"""Checks everything that settings are read from at once, and not only what a command needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from toolchat.settings.files import PROFILES, Config, Project, read_config, read_project
from toolchat.settings.folders import config_file
from toolchat.settings.layers import Layer, Origin, parsed, project_file
from toolchat.settings.table import SETTINGS, variable
from toolchat.wire.errors import UsageError

_NO_SETTINGS = frozenset(("TOOLCHAT_DEBUG", "TOOLCHAT_OFFLINE"))
"""Variables that are not settings."""


@dataclass(frozen=True, slots=True)
class Checked:
    problems: tuple[str, ...]
    """A line each, which names the place."""
    notes: tuple[str, ...]
    """What is allowed, and probably not meant."""


def keys(file: Path | None = None) -> tuple[str, ...]:
    """Every API key that a file of settings holds, in whatever profile, whether it counts here or not."""
    found: list[str] = []
    config = _told(lambda: read_config(config_file() if file is None else file), found)
    project = _told(lambda: read_project(project_file()), found)
    layers: list[Mapping[str, Any]] = []
    if isinstance(config, Config):
        layers += [config.values, *config.profiles.values()]
    if isinstance(project, Project):
        layers.append(project.values)
    said = (values.get("api_key") for values in layers)
    return tuple(dict.fromkeys(key for key in said if isinstance(key, str) and key))


def problems(environment: Mapping[str, str] | None = None, file: Path | None = None) -> Checked:
    """All that is wrong with config.toml, each of its profiles, this folder's .toolchat.toml and the variables."""
    environment = os.environ if environment is None else environment
    found: list[str] = []
    notes: list[str] = []
    config = _told(lambda: read_config(config_file() if file is None else file), found)
    project = _told(lambda: read_project(project_file()), found)
    layers = [Layer(Origin.VARIABLE, {name: environment.get(variable(name)) or None for name in SETTINGS})]
    profiles: tuple[str, ...] = ()
    if isinstance(config, Config):
        found += config.problems()
        profiles = tuple(config.profiles)
        layers.append(Layer(Origin.FILE, config.values, config.file))
        for name, values in config.profiles.items():
            layers.append(Layer(Origin.PROFILE, values, config.file, f"{PROFILES}.{name}."))
    if isinstance(project, Project):
        found += project.problems()
        layers.append(Layer(Origin.PROJECT, project.values, project.file))
        if not project.accepted:
            notes.append(f"{project.file}: is not accepted yet; toolchat config trust accepts it")
    for layer in layers:
        found += _of_values(layer, profiles)
    notes += _unknown_variables(environment)
    return Checked(tuple(found), tuple(notes))


def _told(read: Callable[[], Any], found: list[str]) -> Any:
    try:
        return read()
    except UsageError as error:
        found.append(str(error))
        return None


def _of_values(layer: Layer, profiles: tuple[str, ...]) -> Iterator[str]:
    for name in SETTINGS:
        value = layer.value(name)
        if value is None:
            continue
        try:
            value = parsed(SETTINGS[name], layer.where(name), value)
        except UsageError as error:
            yield str(error)
            continue
        if name == "profile" and value not in profiles:
            yield f"{layer.where(name)}: there is no [{PROFILES}.{value}] in config.toml"


def _unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    known = {variable(name) for name in SETTINGS} | _NO_SETTINGS
    for name in sorted(environment):
        if name.startswith("TOOLCHAT_") and name not in known:
            near = get_close_matches(name, known, n=1)
            yield f"{name}: no setting has this variable{f'; did you mean {near[0]}?' if near else ''}"

"""The settings that a session's turns are made with, and what the user has changed of them in the chat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from toolchat.chat.hooks import Hooks
from toolchat.engine.base import GenerateOptions
from toolchat.settings import SETTINGS, Settings, config_file


class TurnSettings:
    """What was changed in the chat stays with another model."""

    def __init__(self, settings: Settings) -> None:
        self._begun = settings
        self._changed: dict[str, Any] = {}

    @property
    def _now(self) -> Settings:
        return replace(self._begun, **self._changed)

    @property
    def values(self) -> dict[str, Any]:
        """What can be changed, by the settings' names, as it counts now; None for the model's own."""
        now = self._now
        return {name: getattr(now, name) for name, setting in SETTINGS.items() if setting.per_turn}

    @property
    def options(self) -> GenerateOptions:
        """How the model is asked to generate."""
        return generate_options(self._now)

    @property
    def hooks(self) -> Hooks:
        return hooks_of(self._begun)

    def leave_out_hooks(self) -> None:
        self._begun = replace(self._begun, before_tool=(), after_tool=())

    def change(self, name: str, value: Any) -> None:
        """Have this value of a setting; None: as begun."""
        self._changed.pop(name, None)
        if value is not None:
            self._changed[name] = value

    def begin_with(self, settings: Settings) -> bool:
        """Have these settings, another model's, below what was changed; whether a change had no meaning any more."""
        self._begun = settings
        # Others have other efforts.
        return self._changed.pop("reasoning_effort", None) is not None


def hooks_of(settings: Settings) -> Hooks:
    """The user's hooks. They run in the folder of config.toml, which nobody else writes in."""
    return Hooks(settings.before_tool, settings.after_tool, settings.hook_timeout, config_file().parent)


def generate_options(settings: Settings) -> GenerateOptions:
    """How the model is asked to generate, by these settings."""
    return GenerateOptions(
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        reasoning_effort=settings.reasoning_effort,
        tool_choice=settings.tool_choice,
        parallel_tool_calls=settings.parallel_calls,
    )

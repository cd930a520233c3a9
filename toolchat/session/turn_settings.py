"""What a session's turns are made with: its settings and system prompt, and what the user has changed of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from toolchat.chat.conversation import Conversation
from toolchat.chat.hooks import Hooks
from toolchat.engine.base import EngineInfo, GenerateOptions
from toolchat.models.card import OwnPrompt
from toolchat.settings import SETTINGS, Settings, config_file
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Edit, SystemChanged


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


class Chat(Protocol):
    """Whose system prompt it is: the session."""

    conversation: Conversation

    def edited(self, edit: Edit) -> None: ...
    def notify(self, text: str) -> None: ...
    def keep_state(self) -> None:
        """Whether the prompt is the user's belongs to that."""


class SystemPrompt:
    """The user's, once they have said which there is to be, or none; until then the one that comes with the model."""

    def __init__(self, chat: Chat, *, chosen: bool) -> None:
        self._chat = chat
        self._chosen = chosen
        self._stays = False
        """Whether the model's own stays as it was, with the date of then: what was sent stays."""
        self._told: set[str] = set()

    @property
    def chosen(self) -> bool:
        """Whether the user has said which there is to be, or that there is to be none."""
        return self._chosen

    def go_on(self, *, chosen: bool, stays: bool) -> None:
        """Be as it was in a session that goes on."""
        self._chosen, self._stays = chosen, stays

    def let_change(self) -> None:
        """Another model has its own."""
        self._stays = False

    def set(self, text: str | None) -> None:
        """The user says so. From the next turn on, also with another model."""
        self._chosen = True
        self._put(text)
        self._chat.keep_state()

    def use_own(self, prompt: OwnPrompt) -> None:
        """Have the one that comes with the model, unless the user has chosen one, or none."""
        if self._chosen or self._stays:
            return
        self._put(prompt.text)
        if prompt.notice and prompt.notice not in self._told:
            self._told.add(prompt.notice)
            self._chat.notify(prompt.notice)

    def _put(self, text: str | None) -> None:
        if text != self._chat.conversation.system:
            self._chat.conversation.set_system(text)
            self._chat.edited(SystemChanged(text))


def check_effort(effort: str, model: str, info: EngineInfo | None) -> None:
    """Raise UsageError where the model does not know this reasoning effort, or is not there to tell."""
    if info is None:
        raise UsageError(f"--reasoning-effort {effort}: what the model knows is known once it is loaded; wait for it")
    known = info.reasoning_efforts
    # Of a server that renders by itself nothing is known.
    if effort not in known and info.tokenizer_version:
        knows = f"knows {', '.join(known)}" if known else "has no such setting (tokenizers have it from v15 on)"
        raise UsageError(f"--reasoning-effort {effort}: the model {model} {knows}")


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

"""Where a session has other tools and another model from while it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from toolchat.engine.base import Engine
from toolchat.settings import Settings
from toolchat.tools.run import ToolRunner


class NewModel(Protocol):
    """Another model, whose files are here."""

    @property
    def model(self) -> str: ...
    @property
    def settings(self) -> Settings: ...
    def engine(self) -> Engine: ...


@dataclass(frozen=True, slots=True)
class Sources:
    tools: Callable[[], Awaitable[ToolRunner]]
    """Raises UsageError."""
    model: Callable[[str, Callable[[str], None]], Awaitable[NewModel]]
    """Given a name, and what to tell the stages of fetching it. Raises UsageError or EngineError."""

"""A session on scripted engines, and everything that it showed and recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchat.engine.scripted import ScriptedEngine
from toolchat.models.card import OwnPrompt
from toolchat.session.session import Session, Sources
from toolchat.settings import Settings
from toolchat.tools.run import ToolRunner
from toolchat.wire import events
from toolchat.wire.errors import UsageError
from toolchat.wire.events import Edit, Event, EventBody


@dataclass
class Model:
    """A model that a session may change to."""

    model: str
    scripted: ScriptedEngine = field(default_factory=ScriptedEngine)
    settings: Settings = field(default_factory=Settings)
    fails: list[Exception] = field(default_factory=list)
    """What the next attempts to make an engine come to."""
    on_engine: Callable[[], None] = lambda: None
    prompt: OwnPrompt = field(default_factory=OwnPrompt)
    notice: str = ""

    def own_prompt(self) -> OwnPrompt:
        return self.prompt

    def engine(self) -> ScriptedEngine:
        self.on_engine()
        if self.fails:
            raise self.fails.pop(0)
        return self.scripted


class Bench:
    """`new_tools` and `models` are what the session may be given while it goes on."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.engine = ScriptedEngine()
        self._recorded: list[Event] = []
        self.shown: list[Event] = []
        self.begun = asyncio.Event()
        """Some text of an answer has come."""
        self.models: dict[str, Model] = {}
        self.stages: tuple[str, ...] = ()
        self.fails_at: type[EventBody] | None = None
        """The kind of event that it cannot be shown."""
        self.new_tools: Callable[[], Awaitable[ToolRunner]] = self._no_tools
        self.session = Session(
            Settings(**settings),
            "scripted",
            self.engine,
            folder / "sessions",
            self._show,
            Sources(lambda: self.new_tools(), self._model),
        )

    def _show(self, event: Event) -> None:
        if self.fails_at is not None and isinstance(event.body, self.fails_at):
            raise BrokenPipeError
        self.shown.append(event)
        if isinstance(event.body, events.TextDelta):
            self.begun.set()

    async def _no_tools(self) -> ToolRunner:
        return ToolRunner.none()

    async def _model(self, name: str, report: Callable[[str], None]) -> Model:
        for stage in self.stages:
            report(stage)
        await asyncio.sleep(0)
        if name not in self.models:
            raise UsageError(f"--model {name}: expected a model")
        return self.models[name]

    def play(self, scene: Callable[[Session], Coroutine[Any, Any, None]], runner: Any = None) -> None:
        """Run `scene` with the session up; it is closed in any case."""

        async def run() -> None:
            self.session.equip(runner or ToolRunner.none())
            try:
                await self.session.launch()
                await self.session.ready()
                await scene(self.session)
            finally:
                self._recorded = self.session.record.events()
                await self.session.close()

        asyncio.run(asyncio.wait_for(run(), 60))

    def edits(self) -> list[Edit]:
        """What the record holds of edits since the engine was first started."""
        bodies = [event.body for event in self.recorded()]
        start = next(number for number, body in enumerate(bodies) if isinstance(body, events.EngineState))
        return [body.edit for body in bodies[start:] if isinstance(body, events.HistoryEdited)]

    def recorded(self) -> list[Event]:
        """The stored events of the session, also when it is over and was forgotten, since nothing was asked."""
        return self._recorded or self.session.record.events()

    def notices(self) -> list[str]:
        return [event.body.text for event in self.shown if isinstance(event.body, events.Notice)]

    def states(self) -> list[tuple[str, str]]:
        return [
            (event.body.state, event.body.detail) for event in self.shown if isinstance(event.body, events.EngineState)
        ]

    def sent(self) -> list[str]:
        """The contents of the messages of the last request."""
        return [message.content for message in self.engine.requests[-1].messages]


async def settled() -> None:
    """Let what was only begun come to its end."""
    for _ in range(20):
        await asyncio.sleep(0)

"""A chat on a scripted engine, for tests of the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from inprocess_tools import InProcessRunner

from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import GenerateOptions
from toolchat.engine.scripted import ScriptedEngine
from toolchat.tools.run import ToolRunner
from toolchat.wire.events import Event, Stamper


class Harness:
    """A chat on a scripted engine, and everything that happened in it."""

    def __init__(self, runner: InProcessRunner, *, tool_choice: str = "auto", **options: Any) -> None:
        self.engine = ScriptedEngine()
        self.runner = runner
        self.conversation = Conversation()
        self.events: list[Event] = []
        self.loop = ChatLoop(
            engine=self.engine,
            conversation=self.conversation,
            runner=cast(ToolRunner, runner),
            options=GenerateOptions(max_tokens=100, tool_choice=tool_choice),
            stamp=Stamper("s", time.time),
            **options,
        )

    async def ask(self, text: str, on: Callable[[Event], None] | None = None) -> Sequence[Event]:
        start = len(self.events)
        async for event in self.loop.turn(text):
            self.events.append(event)
            if on is not None:
                on(event)
        return self.events[start:]

    def kinds(self) -> list[str]:
        return [type(event.body).__name__ for event in self.events]

    def bodies(self, kind: type) -> list[Any]:
        return [event.body for event in self.events if isinstance(event.body, kind)]

    def chat(self, *texts: str) -> None:
        """Start the engine and ask these, one after the other."""

        async def play() -> None:
            async for _ in self.engine.start():
                pass
            for text in texts:
                await self.ask(text)

        asyncio.run(play())

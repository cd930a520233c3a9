"""The real engine in a test's own process, and copies of the model that cost no disk."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from toolchat.engine.local import LocalEngine
from toolchat.wire.events import EngineState

CONTEXT = 2048
"""Of the engine with the demo model that tests share."""


@dataclass
class Running:
    """An engine and the event loop that it lives on; one test at a time uses them."""

    engine: LocalEngine
    loop: asyncio.Runner
    states: list[str] = field(default_factory=list)
    """What the engine went through at its last start."""

    def start(self) -> None:
        async def states() -> list[str]:
            return [state.state async for state in self.engine.start() if isinstance(state, EngineState)]

        self.states = self.loop.run(states())


def copy_model(source: Path, target: Path) -> None:
    """Make the folder `target` with the files of `source`: hard links, where the file system allows (270 MB)."""
    target.mkdir()
    for file in source.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copy(file, target / file.name)

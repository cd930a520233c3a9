"""Keeps the engine of a session: loads it in the background, restarts, kills or replaces it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from toolchat.engine.base import Engine, SharedEngine
from toolchat.wire.errors import EngineError, ToolchatError
from toolchat.wire.events import EngineState, EventBody, Notice


class EngineKeeper:
    """One engine at a time: the memory may hold no second one."""

    def __init__(
        self, engine: Engine, emit: Callable[[EventBody], None], died: Callable[[str], None] = lambda _: None
    ) -> None:
        """`died` is called with how an engine that was ready has ended by itself."""
        self.engine = engine
        self._emit = emit
        self._died = died
        self._watching: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._killing: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        """Not set while one loading has been stopped for another that has not begun."""
        self._settled.set()

    @property
    def loading(self) -> bool:
        """True while a loading is under way; where there is no engine either, none will come by itself."""
        return not self._settled.is_set() or (self._starting is not None and not self._starting.done())

    async def launch(self) -> None:
        """Start the engine, or start it again, and go on while it loads."""
        self._settled.clear()
        try:
            await self.stop()
            self._starting = asyncio.create_task(self._start(), name="engine-start")
        finally:
            self._settled.set()
        # One turn of the event loop is enough for the engine's process to be under way.
        await asyncio.sleep(0)

    async def ready(self) -> None:
        """Wait until the engine is loaded, or the one that took its place. Raises EngineError where it cannot be."""
        while True:
            await self._settled.wait()
            starting = self._starting
            if starting is None:
                raise EngineError("the model is not loaded")
            # Not awaited itself: whoever stops waiting must not stop the loading.
            await asyncio.wait({starting})
            if not self._settled.is_set() or starting is not self._starting:
                continue
            if starting.cancelled():
                raise EngineError("the model is not loaded: its loading was stopped")
            starting.result()
            if self.engine.info is None:
                raise EngineError("the engine has ended since it was loaded")
            return

    def kill(self) -> None:
        """End the engine at once; what waits for it is told as after a crash."""
        for task in (self._starting, self._watching):
            if task is not None:
                task.cancel()
        if self._killing is None or self._killing.done():
            self._emit(Notice("the engine is ended, since it did not answer"))
            engine = self.engine
            # One that others use hangs for them as well.
            ending = engine.stop() if isinstance(engine, SharedEngine) else engine.close()
            self._killing = asyncio.create_task(ending, name="engine-end")

    async def replace(self, make: Callable[[], Engine]) -> None:
        """Have the engine that `make` makes, which is then to be launched.

        Raises what `make` does; the old engine is then as it was, or loads again.
        """
        self._settled.clear()
        try:
            await self._replace(make)
        except BaseException:
            self._settled.set()
            raise

    async def close(self) -> None:
        """End the engine, however far it is."""
        await self.stop()
        await self.engine.close()

    async def stop(self) -> None:
        """End the loading, or the killing, that may be under way; whatever ends from now on was meant to."""
        for task in (self._starting, self._watching):
            if task is not None:
                task.cancel()
        for task in (self._starting, self._watching, self._killing):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)

    async def _replace(self, make: Callable[[], Engine]) -> None:
        used = self.engine.info is not None or (self._starting is not None and not self._starting.done())
        try:
            engine = make()
        except EngineError:
            if not used:
                raise
            # The old model may take the memory that is lacking.
            await self.close()
            try:
                engine = make()
            except ToolchatError:
                await self.launch()
                raise
        await self.close()
        self.engine = engine

    async def _start(self) -> None:
        try:
            async for state in self.engine.start():
                self._emit(state)
            self._watching = asyncio.create_task(self._watch(), name="engine-watch")
        except EngineError as error:
            self._emit(EngineState("failed", str(error)))
            raise
        except OSError as error:
            # No process, no room for its log: the chat goes on, and may try again.
            where = f" ({error.filename})" if error.filename else ""
            failure = EngineError(f"the engine cannot be started: {error.strerror or error}{where}")
            self._emit(EngineState("failed", str(failure)))
            raise failure from None

    async def _watch(self) -> None:
        with contextlib.suppress(EngineError):
            self._died(await self.engine.ended())

"""What was sent and what becomes of it: turns one after the other, commands between them or at once. Draws nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from toolchat.wire import events
from toolchat.wire.errors import ToolchatError
from toolchat.wire.events import Event, TurnStatus
from toolchat.wire.messages import Image

if TYPE_CHECKING:  # commands take a while to import, and the prompt is not to wait for them
    from toolchat.session.session import Session
    from toolchat.ui.commands import Commands, Outcome

KILL_AFTER = 1.0
"""Seconds that an interrupt may take; then another one ends the engine. Two quick presses are one impatient one."""


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """A line that waits for its turn."""

    line: str
    images: tuple[Image, ...] = ()
    asks: bool = False
    """True where it is a question as it stands, whatever it looks like."""
    retries_round: bool = False
    """True where it is no question, but goes on with the last turn."""

    @property
    def is_command(self) -> bool:
        from toolchat.ui.commands import is_command

        return not self.asks and is_command(self.line)

    @property
    def question(self) -> str:
        from toolchat.ui.commands import question

        return self.line if self.asks else question(self.line)

    @property
    def typed(self) -> str:
        """The line that, entered, would ask or do the same."""
        from toolchat.ui.commands import as_line

        return as_line(self.line) if self.asks and not self.retries_round else self.line


class Front(Protocol):
    """Who sees to the screen."""

    def say(self, text: str, style: str) -> None:
        """Print a line of toolchat's own."""

    def put_back(self, lines: Sequence[str]) -> None:
        """Put what was sent into the input line again."""

    def apply(self, outcome: Outcome) -> None:
        """Do what a command's outcome says, but for its question."""

    def changed(self) -> None:
        """Something that the toolbar or the live region shows is different now."""


class Turns:
    def __init__(self, front: Front, clock: Callable[[], float]) -> None:
        self._front = front
        self._clock = clock
        self.chat: Session | None = None
        """None until the session is open."""
        self.commands: Commands | None = None
        self.waiting: list[Sent] = []
        self.engine_state = ""
        self.since: float | None = None
        """When the turn under way began; None between turns."""
        self.stopping: float | None = None
        """When it was interrupted."""
        self._woken = asyncio.Event()
        self._exclusive: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, chat: Session, commands: Commands) -> None:
        """Take what is sent, until cancelled."""
        self.chat, self.commands = chat, commands
        try:
            while True:
                while self.waiting:
                    await self._next(chat)
                self._woken.clear()
                await self._woken.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, line: str, images: tuple[Image, ...] = ()) -> None:
        """A line that was typed: a question waits for its turn, a command only where it must."""
        sent = Sent(line, images)
        commands = self.commands
        # In the order they were sent; but a model that does not load must be changeable whatever waits for it.
        free = not self.is_busy and (not self.waiting or line.split(maxsplit=1)[0].lower() == "/model")
        if commands is not None and sent.is_command and (commands.at_once(line) or free):
            self._run_now(commands, line)
            return
        self.waiting.append(sent)
        self._woken.set()
        self._front.changed()

    def see(self, event: Event) -> None:
        """Follow the engine."""
        if isinstance(event.body, events.EngineState):
            self.engine_state = event.body.state

    @property
    def is_busy(self) -> bool:
        return self.since is not None or self._exclusive is not None

    @property
    def command(self) -> str:
        """The name of the command that turns wait for, with its slash; empty while none runs."""
        return self._exclusive.get_name().split(maxsplit=1)[0] if self._exclusive is not None else ""

    @property
    def may_kill(self) -> bool:
        """True where one more interrupt ends the engine."""
        return self.stopping is not None and self._clock() - self.stopping >= KILL_AFTER

    def interrupt(self) -> None:
        """Stop the turn under way. Again, where that is without effect for a second: end the engine."""
        if self.chat is None or self.since is None:
            return
        if self.stopping is None:
            self.stopping = self._clock()
            self.chat.interrupt()
        elif self.may_kill:
            self.chat.kill()
        self._front.changed()

    def cancel_command(self) -> None:
        if self._exclusive is not None and not self._exclusive.cancelling():
            self._front.say(f"cancelled: {self._exclusive.get_name()}", "dim")
            self._exclusive.cancel()

    def take_back(self) -> None:
        """Questions that wait go back to the input line, so that nothing typed is lost; commands are only named."""
        lines = [sent.typed for sent in self.waiting if not sent.is_command]
        dropped = [sent.line for sent in self.waiting if sent.is_command]
        self.waiting.clear()
        if dropped:
            self._front.say(f"not run: {', '.join(dropped)}", "dim")
        if lines:
            self._front.put_back(lines)
        self._front.changed()

    async def _next(self, chat: Session) -> None:
        """Begin the first of what waits, and see it through."""
        first = self.waiting[0]
        if self._exclusive is not None:
            await asyncio.wait({self._exclusive})
        elif first.is_command:
            self.waiting.pop(0)
            assert self.commands is not None
            self._run_now(self.commands, first.line)
        elif chat.info is None:
            if not await self._becomes_ready(chat):
                self.take_back()
        else:
            self.waiting.pop(0)
            await self._turn(chat, first)

    async def _becomes_ready(self, chat: Session) -> bool:
        # Whoever sends something to an engine that has failed, or died unseen, wants it tried again.
        if not chat.loading:
            await chat.launch()
        try:
            await chat.ready()
        except ToolchatError as error:
            if self.engine_state != "failed":  # else its event has told
                self._front.say(str(error), "red")
            return False
        return True

    async def _turn(self, chat: Session, sent: Sent) -> None:
        self.since = self._clock()
        self._front.changed()
        interrupted = False
        try:
            finished = await (chat.retry_round() if sent.retries_round else chat.ask(sent.question, sent.images))
            interrupted = finished.status is TurnStatus.INTERRUPTED
            if interrupted:
                await chat.settled()
        except ToolchatError as error:
            self._front.say(str(error), "red")
            self._front.put_back([sent.typed])
        finally:
            self.since = self.stopping = None
            self._front.changed()
        if interrupted:
            self.take_back()
        if chat.info is None:
            self._front.say("The engine is started again; the conversation is kept.", "yellow")
            await chat.launch()

    def _run_now(self, commands: Commands, line: str) -> None:
        task = asyncio.create_task(self._run(commands, line), name=line.strip())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if not commands.at_once(line):
            self._exclusive = task
        self._front.changed()

    async def _run(self, commands: Commands, line: str) -> None:
        outcome = await commands.run(line)
        self._front.apply(outcome)
        if outcome.ask is not None:
            self.waiting.insert(0, Sent(outcome.ask, outcome.images, asks=True))
        elif outcome.retry_round:
            self.waiting.insert(0, Sent("/retry", asks=True, retries_round=True))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._exclusive is task:
            self._exclusive = None
        if not task.cancelled() and (error := task.exception()) is not None:
            # `Commands.run` raises nothing that a user could have caused.
            self._front.say(f"unexpected {type(error).__name__}: {error}", "red")
        self._woken.set()
        self._front.changed()

"""Runs what was sent: turns one after the other, and commands between them or at once. Draws nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from toolchat.environment import refused
from toolchat.wire import events
from toolchat.wire.errors import ToolchatError
from toolchat.wire.events import Event, TurnFinished, TurnStatus
from toolchat.wire.messages import Image

if TYPE_CHECKING:  # commands take a while to import, and the prompt is not to wait for them
    from toolchat.chat.approval import Ask
    from toolchat.session.session import Session
    from toolchat.ui.attached import Question, Text
    from toolchat.ui.commands.base import Outcome
    from toolchat.ui.commands.registry import Commands

Show: TypeAlias = Callable[[Event], None]
OpenChat: TypeAlias = "Callable[[Show, Ask | None, Show | None], AbstractAsyncContextManager[Session]]"
"""Opens the session whose events are shown, and whose calls are asked about; it may take a while.

The last function takes the place of the first once that has failed; None where nothing can.
"""
Taking: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Gives SIGINT to a function for the length of a `with` block."""

LEAVE_SECONDS = 1.0
"""Within these, a second Ctrl-C at an empty prompt leaves."""
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
    texts: tuple[Text, ...] = ()
    """That go along."""
    typed_words: str | None = None
    """What of the line was typed and not pasted: only files that are named there go along. None for all of it."""

    @property
    def is_command(self) -> bool:
        from toolchat.ui.commands.base import is_command

        return not self.asks and is_command(self.line)

    @property
    def is_shell(self) -> bool:
        """Whether it is a command for the user's shell."""
        from toolchat.ui.commands.base import is_shell

        return not self.asks and is_shell(self.line)

    def question(self) -> Question:
        """What is sent, with the files that are named, which are read now. Raises UsageError."""
        from toolchat.ui.attached import Question, with_files
        from toolchat.ui.commands.base import question

        if self.asks:
            return Question(self.line, self.images)
        return with_files(question(self.line), self.images, self.texts, self.typed_words)

    @property
    def typed(self) -> str:
        """The line that, entered, would ask or do the same."""
        from toolchat.ui.commands.base import as_line

        return as_line(self.line) if self.asks and not self.retries_round else self.line


@dataclass(frozen=True, slots=True)
class Say:
    """A line of toolchat's own."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class PutBack:
    """What was sent belongs into the input line again."""

    lines: tuple[str, ...]
    images: tuple[Image, ...] = ()
    """Those of all of them, in their order."""
    texts: tuple[Text, ...] = ()
    """Likewise."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that the toolbar or the live region shows is different now."""


Told: TypeAlias = "Say | PutBack | Changed | Outcome"
"""What turns tell whoever owns the screen. Of a command's outcome, all but its question is to be done."""


class OneTurn:
    """Turns of a chat, one at a time: the model is waited for, and interrupts stop the turn, then the engine."""

    def __init__(self, chat: Session, clock: Callable[[], float]) -> None:
        self._chat = chat
        self._clock = clock
        self._since: float | None = None
        self._stopping: float | None = None

    @property
    def since(self) -> float | None:
        """When the turn under way began; None between turns."""
        return self._since

    @property
    def is_stopping(self) -> bool:
        """True where the turn under way has been interrupted."""
        return self._stopping is not None

    @property
    def may_kill(self) -> bool:
        """True where one more interrupt ends the engine."""
        return self._stopping is not None and self._clock() - self._stopping >= KILL_AFTER

    def interrupt(self) -> None:
        """Stop the turn under way. Again, where that is without effect for a second: end the engine."""
        if self._since is None:
            return
        if self._stopping is None:
            self._stopping = self._clock()
            self._chat.interrupt()
        elif self.may_kill:
            self._chat.kill()

    async def ready(self, *, launch: bool = True) -> None:
        """Wait for the model; with `launch`, one that has failed, or died unseen, is tried again.

        Raises EngineError where it cannot be loaded.
        """
        if self._chat.info is None:
            if launch and not self._chat.loading:
                await self._chat.launch()
            await self._chat.ready()

    async def play(self, begin: Callable[[], Awaitable[TurnFinished]]) -> TurnFinished:
        """The turn that `begin` begins, once the engine answers again. Raises what `begin` does."""
        self._since = self._clock()
        try:
            finished = await begin()
            if finished.status is TurnStatus.INTERRUPTED:
                await self._chat.settled()
            return finished
        finally:
            self._since = self._stopping = None


class Turns:
    """The queue of what was sent to one chat. What the screen is to show is told to `tell`."""

    def __init__(
        self,
        tell: Callable[[Told], None],
        clock: Callable[[], float],
        shell: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`shell` runs a line that begins with an exclamation mark; None where such a line is a question."""
        self._tell = tell
        self._clock = clock
        self._shell = shell
        self.attached: tuple[Image | Text, ...] = ()
        """What goes along with the next question that begins."""
        self._turn: OneTurn | None = None
        self.chat: Session | None = None
        """None until the session is open."""
        self.commands: Commands | None = None
        self.waiting: list[Sent] = []
        self.engine_state = ""
        self._woken = asyncio.Event()
        self._exclusive: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, chat: Session, commands: Commands) -> None:
        """Take what is sent, until cancelled."""
        self.chat, self.commands = chat, commands
        self._turn = turn = OneTurn(chat, self._clock)
        try:
            while True:
                while self.waiting:
                    await self._next(chat, turn)
                self._woken.clear()
                await self._woken.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(
        self,
        line: str,
        images: tuple[Image, ...] = (),
        texts: tuple[Text, ...] = (),
        typed_words: str | None = None,
    ) -> None:
        """A line that was typed: a question waits for its turn, a command only where it must."""
        sent = Sent(line, images, texts=texts, typed_words=typed_words)
        commands = self.commands
        # In the order they were sent; but a model that does not load must be changeable whatever waits for it.
        free = not self.is_busy and (not self.waiting or line.split(maxsplit=1)[0].lower() == "/model")
        if commands is not None and sent.is_command and (commands.at_once(line) or free):
            self._run_now(commands, line)
            return
        self.waiting.append(sent)
        self._woken.set()
        self._tell(Changed())

    def see(self, event: Event) -> None:
        """Follow the engine."""
        if isinstance(event.body, events.EngineState):
            self.engine_state = event.body.state

    @property
    def since(self) -> float | None:
        """When the turn under way began; None between turns."""
        return self._turn.since if self._turn is not None else None

    @property
    def is_stopping(self) -> bool:
        """True where the turn under way has been interrupted."""
        return self._turn is not None and self._turn.is_stopping

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
        return self._turn is not None and self._turn.may_kill

    def interrupt(self) -> None:
        """Stop the turn under way, if there is one, see `OneTurn.interrupt`."""
        if self._turn is not None:
            self._turn.interrupt()
            self._tell(Changed())

    def cancel_command(self) -> None:
        if self._exclusive is not None and not self._exclusive.cancelling():
            self._tell(Say(f"cancelled: {self._exclusive.get_name()}", "dim"))
            self._exclusive.cancel()

    def take_back(self) -> None:
        """Questions that wait go back to the input line, so that nothing typed is lost; commands are only named."""
        runs = {sent for sent in self.waiting if sent.is_command or (self._shell is not None and sent.is_shell)}
        questions = [sent for sent in self.waiting if sent not in runs]
        dropped = [sent.line for sent in self.waiting if sent in runs]
        self.waiting.clear()
        if dropped:
            self._tell(Say(f"not run: {', '.join(dropped)}", "dim"))
        if questions:
            self._tell(_put_back(*questions))
        self._tell(Changed())

    async def _next(self, chat: Session, turn: OneTurn) -> None:
        """Begin the first of what waits, and see it through."""
        first = self.waiting[0]
        if self._exclusive is not None:
            await asyncio.wait({self._exclusive})
        elif first.is_command:
            self.waiting.pop(0)
            assert self.commands is not None
            self._run_now(self.commands, first.line)
        elif self._shell is not None and first.is_shell:
            self.waiting.pop(0)
            self._begin(self._shell(first.line), first.line, exclusive=True)
        elif chat.info is None:
            if not await self._becomes_ready(turn):
                self.take_back()
        else:
            self.waiting.pop(0)
            await self._see_through(chat, turn, first)

    async def _becomes_ready(self, turn: OneTurn) -> bool:
        try:
            await turn.ready()
        except ToolchatError as error:
            if self.engine_state != "failed":  # else its event has told
                self._tell(Say(str(error), "red"))
            return False
        return True

    async def _see_through(self, chat: Session, turn: OneTurn, sent: Sent) -> None:
        if not sent.asks and self.attached:
            attached, self.attached = self.attached, ()
            images = tuple(one for one in attached if isinstance(one, Image))
            texts = tuple(one for one in attached if not isinstance(one, Image))
            sent = replace(sent, images=(*sent.images, *images), texts=(*sent.texts, *texts))

        async def begin() -> TurnFinished:
            self._tell(Changed())
            if sent.retries_round:
                return await chat.retry_round()
            # Files may lie on a slow disk; the turn has begun all the same, and what is sent meanwhile waits for it.
            question = await asyncio.to_thread(sent.question) if "@" in sent.line else sent.question()
            for note in question.notes:
                self._tell(Say(note, "dim"))
            if turn.is_stopping:
                from toolchat.session.room import Stopped

                raise Stopped("stopped before the question was asked")
            return await chat.ask(question.text, question.images, typed=question.typed)

        interrupted = False
        try:
            interrupted = (await turn.play(begin)).status is TurnStatus.INTERRUPTED
        except ToolchatError as error:
            # At the command line it is a flag that is wrong.
            self._tell(Say(str(error).removeprefix("--image: "), "red"))
            self._tell(_put_back(sent))
        finally:
            self._tell(Changed())
        if interrupted:
            self.take_back()
        if chat.info is None:
            self._tell(Say("The engine is started again; the conversation is kept.", "yellow"))
            await chat.launch()

    def _run_now(self, commands: Commands, line: str) -> None:
        self._begin(self._run(commands, line), line, exclusive=not commands.at_once(line))

    def _begin(self, work: Awaitable[None], line: str, *, exclusive: bool) -> None:
        task = asyncio.create_task(_awaited(work), name=line.strip())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if exclusive:
            self._exclusive = task
        self._tell(Changed())

    async def _run(self, commands: Commands, line: str) -> None:
        outcome = await commands.run(line)
        self._tell(outcome)
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
            self._tell(Say(refused(error) or f"unexpected {type(error).__name__}: {error}", "red"))
        self._woken.set()
        self._tell(Changed())


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _put_back(*questions: Sent) -> PutBack:
    return PutBack(
        tuple(sent.typed for sent in questions),
        tuple(image for sent in questions for image in sent.images),
        tuple(text for sent in questions for text in sent.texts),
    )

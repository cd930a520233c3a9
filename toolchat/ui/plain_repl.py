"""The chat line by line: for dumb terminals, screen readers and pipes. Nothing is drawn twice, nothing moves."""

from __future__ import annotations

import asyncio
import codecs
import os
import queue
import termios
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, TextIO

from toolchat.chat.approval import PendingCall, Reply
from toolchat.session.room import Fullness
from toolchat.standard_streams import read_some
from toolchat.ui.approval_lines import TOO_SOON, Stops, ask_by_lines, read_awake, screen_size
from toolchat.ui.attached import shown, with_files
from toolchat.ui.calls import image_line
from toolchat.ui.commands.base import Outcome, is_command, question
from toolchat.ui.commands.registry import Commands
from toolchat.ui.dialogs import full_text
from toolchat.ui.plain_lines import PlainLines
from toolchat.ui.text.sanitize import sanitize
from toolchat.ui.turns import LEAVE_SECONDS, OneTurn, OpenChat, Taking
from toolchat.wire.errors import ExitCode, ToolchatError
from toolchat.wire.events import Event, QuestionAsked, TurnFinished
from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from toolchat.session.session import Session

PROMPT = "> "


class PlainRepl:
    """Reads a line, shows what comes of it, reads the next. `to_person`: a terminal is at both ends."""

    def __init__(
        self,
        out: TextIO,
        *,
        to_person: bool,
        reader: LineReader | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._to_person = to_person
        self._reader = reader or LineReader()
        self._clock = clock
        self._one_turn: OneTurn | None = None
        """Plays the turns, once the session is open."""
        self._lines = PlainLines(self._line, clock, to_person=to_person)
        self._shows_again = False
        self._prompted = ""
        """The prompt at which a line is being typed, if one is."""
        self._declined = False
        self._hinted = -LEAVE_SECONDS
        # After `fg` the shell's own rows stand below the prompt.
        self._stops = Stops(lambda: self._write(self._prompted), clock)
        self._waiting: asyncio.Task[None] | asyncio.Task[Outcome] | None = None
        """What Ctrl-C stops between turns: waiting for the model, or a command."""
        self._main: asyncio.Task[int] | None = None
        self._code: int | None = None

    async def run(self, open_chat: OpenChat, taking: Taking) -> int:
        """Chat until the input ends or the user leaves; the exit code.

        Raises what opening the chat raises, and, where nobody is there to help it, EngineError of a failed load.
        """
        with taking(self._interrupt), self._stops.watched() if self._to_person else nullcontext():
            self._main = asyncio.create_task(self._run(open_chat), name="plain-repl")
            try:
                return await self._main
            except asyncio.CancelledError:
                if self._code is None:
                    self._main.cancel()
                    await asyncio.gather(self._main, return_exceptions=True)
                    raise
                return self._code

    def show(self, event: Event) -> None:
        """Consume an event of the session."""
        match event.body:
            case QuestionAsked(text) if self._one_turn is None or self._one_turn.since is None:
                # Not typed just now: a session that goes on shows its last turns.
                for number, row in enumerate(sanitize(shown(text)).split("\n")):
                    self._line(f"{PROMPT if not number else '  '}{row}")
        self._lines.show(event)

    def end(self) -> None:
        """Show what is left of a turn that has no end."""
        self._lines.end_turn()

    def _show_again(self, event: Event) -> None:
        """Show an event at which the lines have failed, and those after it, with new ones."""
        if not self._shows_again:
            self._shows_again = True
            state, self._lines = self._lines.state, PlainLines(self._line, self._clock, to_person=self._to_person)
            self._lines.state = state
        self._lines.show(event)

    async def _run(self, open_chat: OpenChat) -> int:
        async with open_chat(self.show, self._ask if self._to_person else None, self._show_again) as chat:
            self._one_turn = turn = OneTurn(chat, self._clock)
            if self._to_person:
                chat.room.asks(self._ask_room)
            commands = Commands(chat, width=lambda: 80)
            attached: tuple[Image, ...] = ()
            while (line := await self._next_line()) is not None:
                if not line.strip():
                    continue
                if is_command(line):
                    outcome = await self._command(commands, line)
                    self._say_outcome(line, outcome)
                    attached += outcome.attach
                    if outcome.quit:
                        break
                    if outcome.ask is not None:
                        await self._turn(turn, partial(chat.ask, outcome.ask, outcome.images))
                    elif outcome.retry_round:
                        await self._turn(turn, chat.retry_round)
                else:
                    if await self._turn(turn, partial(self._question, chat, question(line), attached)):
                        attached = ()
                    elif attached:
                        self._line("toolchat: what was attached goes along with the next question")
            # A person has seen it; a script is told.
            return ExitCode.DECLINED if self._declined and not self._to_person else ExitCode.OK

    async def _question(self, chat: Session, text: str, images: tuple[Image, ...]) -> TurnFinished:
        if not self._to_person:
            # What comes through a pipe may be anybody's words: no file goes along for them.
            return await chat.ask(text, images)
        asked = await asyncio.to_thread(with_files, text, images)
        for note in asked.notes:
            self._line(f"toolchat: {sanitize(note)}")
        return await chat.ask(asked.text, asked.images, typed=asked.typed)

    async def _next_line(self) -> str | None:
        """The next line; on a terminal after a prompt, else shown as if it had been typed at one."""
        if self._to_person:
            self._prompt()
        line = await self._reader.line()
        self._prompted = ""
        if not self._to_person and line is not None and line.strip():
            self._line(f"{PROMPT}{sanitize(line)}")
        elif line is None and self._to_person:
            self._line("")
        return line

    async def _command(self, commands: Commands, line: str) -> Outcome:
        self._waiting = running = asyncio.create_task(commands.run(line), name="command")
        try:
            await asyncio.wait({running})
            if not running.cancelled():
                return running.result()
            self._line(f"cancelled: {sanitize(line.strip())}")
            return Outcome()
        finally:
            running.cancel()
            self._waiting = None

    async def _turn(self, turn: OneTurn, begin: Callable[[], Awaitable[TurnFinished]]) -> bool:
        """Whether it came to a turn."""
        try:
            # Where nobody is there to mend it, a load that failed is not tried again.
            launch = self._to_person or self._lines.state != "failed"
            self._waiting = asyncio.create_task(turn.ready(launch=launch))
            await asyncio.wait({self._waiting})
            if self._waiting.cancelled():
                self._line("cancelled")
                return False
            self._waiting.result()
            finished = await turn.play(begin)
            self._declined = self._declined or finished.declined
            return True
        except ToolchatError as error:
            if not self._to_person:
                raise
            self._line(f"toolchat: {sanitize(str(error))}")
            return False
        finally:
            self._waiting = None
            self._lines.end_turn()

    async def _ask(self, pending: PendingCall) -> Reply:
        self._lines.end_text()
        prompt = partial(read_awake, self._answer, self._stops, TOO_SOON)
        return await ask_by_lines(pending, prompt, lambda: screen_size(self._out))

    async def _ask_room(self, full: Fullness) -> bool:
        question = f"{full_text(full)} [y/N] "
        line = await read_awake(self._answer, self._stops, question, question)
        return line is not None and line.strip().lower() in ("y", "yes")

    async def _answer(self, text: str) -> str | None:
        """A line that answers a question."""
        self._reader.drop_pending()
        self._write(text)
        # Of a question that stands above it the last row.
        self._prompted = text.rpartition("\n")[2]
        try:
            return await self._reader.line()
        except asyncio.CancelledError:
            self._write("\n")
            raise
        finally:
            self._prompted = ""

    def _interrupt(self) -> None:
        now = self._clock()
        if not self._to_person:
            self._leave(ExitCode.INTERRUPTED)
        elif self._one_turn is not None and self._one_turn.since is not None:
            self._one_turn.interrupt()
        elif self._waiting is not None:
            self._waiting.cancel()
        elif now - self._hinted < LEAVE_SECONDS:
            self._leave(ExitCode.INTERRUPTED)
        else:
            self._hinted = now
            self._line("Ctrl-C again or Ctrl-D leaves")
            if not self._prompted:
                self._prompt()

    def _leave(self, code: int) -> None:
        self._code = code
        if self._prompted:
            self._write("\n")
        if self._main is not None:
            self._main.cancel()

    def _say_outcome(self, line: str, outcome: Outcome) -> None:
        if outcome.write:
            self._line("toolchat: nothing is copied: in plain mode no control sequence is written")
            return
        if outcome.edit is not None:
            self._line("toolchat: no editor is opened in plain mode")
            return
        if outcome.folds_thinking is not None:
            self._line("toolchat: in plain mode thinking is not shown as it comes; /think shows the last")
            return
        for text in outcome.lines:
            self._line(text.plain)
        if outcome.put is not None and outcome.put != line:
            self._line(f"It was: {sanitize(outcome.put)}")
            for image in outcome.images:
                self._line(image_line(image, image.source))

    def _prompt(self, text: str = PROMPT) -> None:
        self._write(text)
        self._prompted = text

    def _line(self, text: str) -> None:
        again, self._prompted = self._prompted, ""
        self._write(f"\n{text}\n" if again else f"{text}\n")
        if again:
            self._prompt(again)

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class LineReader:
    """Reads lines of standard input (terminal, pipe or file) without blocking the event loop.

    It reads in a thread, and only when it is asked: what nobody asked for stays where it is. The thread
    reads the file descriptor itself: one that is stuck in `sys.stdin.readline` when the program ends makes the
    interpreter abort.
    """

    def __init__(self, fd: int = 0) -> None:
        self._fd = fd
        self._asked: queue.SimpleQueue[asyncio.Future[str | None]] = queue.SimpleQueue()
        self._pending: asyncio.Future[str | None] | None = None
        self._thread: threading.Thread | None = None
        self._rest = ""
        self._ended = False
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")

    async def line(self) -> str | None:
        """The next line without its newline; None at the end. Where this is cancelled, the next call gets that line."""
        if self._pending is None:
            self._pending = asyncio.get_running_loop().create_future()
            self._asked.put(self._pending)
            if self._thread is None:
                self._thread = threading.Thread(target=self._read, name="standard-input", daemon=True)
                self._thread.start()
        line = await asyncio.shield(self._pending)
        self._pending = None
        return line

    def drop_pending(self) -> None:
        """Forget what was typed and not yet read, where this is a terminal."""
        with suppress(termios.error):
            termios.tcflush(self._fd, termios.TCIFLUSH)
            self._rest = ""

    def _read(self) -> None:
        while True:
            future = self._asked.get()
            line = self._next()

            def answer(future: asyncio.Future[str | None] = future, line: str | None = line) -> None:
                if not future.done():
                    future.set_result(line)

            # The loop may have been closed meanwhile.
            with suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(answer)

    def _next(self) -> str | None:
        while "\n" not in self._rest and not self._ended:
            try:
                data = read_some(self._fd)
            except OSError:
                data = b""
            self._ended = not data
            self._rest += self._decoder.decode(data, final=self._ended)
        line, newline, self._rest = self._rest.partition("\n")
        if os.isatty(self._fd):
            # Ctrl-D ends what is being asked, and not the terminal.
            self._ended = False
            from toolchat.ui.keys import typed  # prompt-toolkit takes a while to import

            line = typed(line)
        # Files that were joined have a mark of the beginning each.
        line = line.removeprefix("\ufeff")
        return line if line or newline else None

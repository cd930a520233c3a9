"""The chat in the terminal: a prompt-toolkit line, and the turns' events above it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from rich.console import Console
from rich.status import Status
from rich.text import Text

from toolchat.ui.calls import call_line, output_lines, result_lines
from toolchat.ui.sanitize import sanitize, sanitize_line
from toolchat.ui.tables import console
from toolchat.wire import events
from toolchat.wire.errors import EngineError, ExitCode
from toolchat.wire.events import Event, TurnFinished
from toolchat.wire.messages import FailedCall


class Chat(Protocol):
    """What the REPL needs of a session."""

    @property
    def alive(self) -> bool: ...
    async def launch(self) -> None: ...
    async def ready(self) -> None: ...
    async def ask(self, text: str) -> TurnFinished: ...
    def interrupt(self) -> None: ...


Taking = Callable[[Callable[[], None]], contextlib.AbstractContextManager[None]]
"""Gives Ctrl-C to a function for the length of a `with` block."""


class Repl:
    """Shows events as they come, and asks for the next line between turns."""

    def __init__(self, out: Console | None = None) -> None:
        self._out = out or console()
        self._status: Status | None = None
        self._midline = False
        self._style = ""
        self._model = ""

    async def run(self, chat: Chat, taking_interrupts: Taking) -> int:
        """Chat until the user leaves; the exit code. Raises EngineError where the model cannot be loaded at all."""
        await chat.ready()
        self._print(Text(f"{sanitize_line(self._model)} is ready. Ctrl-C stops an answer, Ctrl-D leaves.", style="dim"))
        prompt: PromptSession[str] = PromptSession(history=InMemoryHistory())
        while True:
            try:
                # Ctrl-C arrives as a key here: the terminal is raw while the line is edited.
                with patch_stdout():
                    text = await prompt.prompt_async(FormattedText([("bold", "› ")]), handle_sigint=False)
            except KeyboardInterrupt:
                self._print(Text("Ctrl-D leaves.", style="dim"))
                continue
            except EOFError:
                return ExitCode.OK
            if not text.strip():
                continue
            if not chat.alive and not await self._restart(chat):
                continue
            with taking_interrupts(chat.interrupt):
                await self._turn(chat, text)
            if not chat.alive:
                await self._restart(chat)

    async def _turn(self, chat: Chat, text: str) -> None:
        try:
            await chat.ask(text)
        except EngineError as error:
            self._print(Text(f"toolchat: {sanitize(str(error))}", style="red"))
        finally:
            self._wait(None)
            self._end_line()

    async def _restart(self, chat: Chat) -> bool:
        self._print(Text("The engine is not running: starting it again. The conversation is kept.", style="yellow"))
        try:
            await chat.launch()
            await chat.ready()
        except EngineError as error:
            self._print(Text(f"toolchat: {sanitize(str(error))}", style="red"))
            return False
        self._print(Text("Ready again.", style="yellow"))
        return True

    def show(self, event: Event) -> None:
        match event.body:
            case events.SessionStarted(model):
                self._model = model
            case events.EngineState("ready" | "failed"):
                self._wait(None)
            case events.EngineState("crashed", detail):
                self._print(Text(f"toolchat: {sanitize(detail)}", style="red"))
            case events.EngineState(state, detail):
                self._wait(f"{sanitize_line(detail)}: {state}")
            case events.TurnStarted():
                self._wait("thinking")
            case events.TextDelta(text):
                self._stream(text, "")
            case events.ThinkingDelta(text):
                self._stream(text, "dim italic")
            case events.CallProposed(FailedCall() as call):
                self._print(Text(f"→ {call_line(call)}", style="yellow"))
            case events.CallStarted(call):
                self._print(Text(f"→ {call_line(call)}", style="cyan"))
                self._wait(f"{call.name} is running")
            case events.ToolOutput(_, text):
                for row in output_lines(text):
                    self._print(Text(f"  {row}", style="dim"))
            case events.CallFinished(result):
                for row in result_lines(result):
                    self._print(Text(f"  {row}", style="dim"))
                self._wait("thinking")
            case events.Interrupted():
                self._print(Text("Interrupted.", style="yellow"))
            case events.Notice(text):
                self._print(Text(f"toolchat: {sanitize(text)}", style="yellow"))
            case events.TurnFinished():
                self._wait(None)
                self._end_line()

    def pause(self) -> None:
        """Leave the terminal to somebody else for a while, its cursor at the beginning of a line."""
        self._wait(None)
        self._end_line()

    def _stream(self, text: str, style: str) -> None:
        self._wait(None)
        if style != self._style:
            self._end_line()
            self._style = style
        text = sanitize(text)
        self._out.print(Text(text, style=style), end="", soft_wrap=True)
        self._midline = not text.endswith("\n")

    def _print(self, text: Text) -> None:
        self._wait(None)
        self._end_line()
        self._out.print(text)

    def _end_line(self) -> None:
        if self._midline:
            self._out.print()
            self._midline = False

    def _wait(self, text: str | None) -> None:
        """Show a spinner with `text` below what is printed; None takes it away."""
        if text is not None:
            if self._status is None:
                self._status = self._out.status("")
                self._status.start()
            self._status.update(Text(text, style="dim"))
        elif self._status is not None:
            self._status.stop()
            self._status = None

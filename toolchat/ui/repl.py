"""The chat in the terminal: the prompt stays while turns run, and everything else is printed above it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from prompt_toolkit.completion import Completer
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent, merge_key_bindings
from prompt_toolkit.layout import ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import FormattedTextControl

from toolchat.settings import Settings
from toolchat.ui.dialog_host import DialogHost
from toolchat.ui.hand_over import Completions, HandOver, attached_row
from toolchat.ui.input import InputLine
from toolchat.ui.terminal import Terminal
from toolchat.ui.text.cells import cut
from toolchat.ui.text.sanitize import sanitize, sanitize_line
from toolchat.ui.text.styles import paint, rendered
from toolchat.ui.toolbar import Status, model_text, toolbar
from toolchat.ui.transcript import Transcript, markdown
from toolchat.ui.turns import LEAVE_SECONDS, Changed, OpenChat, PutBack, Say, Taking, Told, Turns
from toolchat.wire import events
from toolchat.wire.errors import ExitCode
from toolchat.wire.events import Event
from toolchat.wire.messages import Image

if TYPE_CHECKING:  # these take a while to import, and the prompt is not to wait for them
    from toolchat.chat.approval import PendingCall, Reply
    from toolchat.ui.attached import Text
    from toolchat.ui.commands.base import Outcome
    from toolchat.ui.plain_lines import PlainLines

HUNG_UP = 129

_TICK = 1 / 8
_QUEUED_ROWS = 3
LONG_SECONDS = 10.0
"""A turn that takes longer, or a call that waits behind it, calls a user back who looks elsewhere."""


class Repl:
    """One chat in one terminal."""

    def __init__(
        self,
        model: str,
        history: History,
        *,
        color: bool,
        clock: Callable[[], float] = time.monotonic,
        settings: Settings = Settings(),  # noqa: B008  frozen
    ) -> None:
        self._model = model
        self._notify = settings.notify
        self._busy_since: float | None = None
        """When the turn began that is under way, for calling the user back."""
        self._color = color
        self._clock = clock
        self._turns = Turns(self._told, clock, lambda line: self._hand_over.run_shell(line))
        self._plain: PlainLines | None = None
        """Shows the events once the transcript has failed."""
        self._images: tuple[Image, ...] = ()
        self._texts: tuple[Text, ...] = ()
        """What goes along with the question in the input line, which was sent before and has come back."""
        self._hint = ""
        self._hinted = -LEAVE_SECONDS
        self._input = InputLine(
            history,
            self._submit,
            completer=self._completer,
            most_rows=self._half,
            pasted=lambda text: self._hand_over.pasted(text),
            edit=lambda: self._hand_over.edit(None),
            drop=lambda: self._hand_over.drop(),
        )
        self._dialog = DialogHost(clock, self._half, color=color)
        typing = Condition(lambda: not self._dialog.is_open)
        bar = Window(FormattedTextControl(self._bar), height=1)
        self._terminal = Terminal(
            self._live,
            [ConditionalContainer(HSplit(self._input.rows), typing), self._dialog.container, bar],
            self._input.window,
            merge_key_bindings([self._input.bindings, self._keys()]),
            color=color,
            resized=self._resized,
            covered=self._dialog.covered,
            uncovered=self._dialog.uncovered,
            vi=settings.editing_mode == "vi",
            theme=settings.theme if color else "dark",
        )
        self._dialog.attach(self._terminal)
        self._hand_over = HandOver(self._turns, self._input, self._terminal, self._say, self._question)
        self._transcript = Transcript(
            self._terminal.print,
            lambda: self._terminal.columns,
            clock,
            color=color,
            answers=markdown(color, links=self._terminal.window.features.links),
            folds_thinking=settings.thinking == "fold",
            picture=self._picture,
        )

    async def run(self, open_chat: OpenChat, taking: Taking, banner: str = "") -> int:
        """Chat until the user leaves; the exit code. Raises what opening the chat raises."""
        drawn = asyncio.Event()
        if banner:
            self._terminal.print(paint(sanitize_line(banner), "dim", color=self._color))
        helpers = [
            asyncio.create_task(self._serve(open_chat, drawn), name="chat"),
            asyncio.create_task(self._tick(), name="tick"),
        ]
        try:
            with taking(self.interrupt):
                return await self._terminal.run(first_drawn=drawn.set, ending=self._leaving)
        except EOFError:
            return HUNG_UP
        finally:
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def show(self, event: Event) -> None:
        """Consume an event of the session."""
        self._turns.see(event)
        match event.body:
            case events.SessionStarted(model):
                self._model = model
            case events.EngineState("failed", detail):
                self._say(f"{detail}\n/model NAME loads another model; a message tries this one again.", "red")
        self._transcript.show(event)
        self._changed()

    def show_plain(self, event: Event) -> None:
        """Consume an event in place of `show`, which has failed: plain lines above the prompt, which stays."""
        if self._plain is None:
            from toolchat.ui.plain_lines import PlainLines

            # What only the live rows have shown so far.
            with suppress(Exception):
                self._transcript.leave()
            self._plain = PlainLines(self._print_line, self._clock, to_person=True)
        self._turns.see(event)
        self._plain.show(event)
        self._changed()

    async def ask(self, pending: PendingCall) -> Reply:
        """Have the user decide on a call."""
        since = self._turns.since
        self._call_back(since, "a call waits for you")
        return await self._dialog.ask(pending)

    def interrupt(self) -> None:
        """Ctrl-C, from a key or a signal; what it does depends on what there is to stop, see docs/repl.md."""
        turns = self._turns
        if self._dialog.is_open:
            self._dialog.interrupt()
        elif turns.since is not None:
            turns.interrupt()
        elif turns.command:
            turns.cancel_command()
        elif turns.waiting:
            turns.take_back()
        elif not self._input.is_empty:
            self._input.clear()
            self._images, self._texts = (), ()
        elif self._turns.attached:
            self._turns.attached = ()
        elif self._clock() - self._hinted < LEAVE_SECONDS:
            self._terminal.leave(ExitCode.INTERRUPTED)
        else:
            self._hinted = self._clock()
            self._say_below("Ctrl-C again or Ctrl-D leaves")
        self._changed()

    def _told(self, told: Told) -> None:
        match told:
            case Say(text, style):
                self._say(text, style)
            case PutBack(lines, images, texts):
                self._put("\n".join(lines), images, texts)
            case Changed():
                self._changed()
            case outcome:
                self._apply(outcome)

    def _say(self, text: str, style: str) -> None:
        if self._plain is not None:
            self._print_line(sanitize(text))
            return
        self._transcript.say(f"toolchat: {text}" if style == "red" else text, style)

    def _apply(self, outcome: Outcome) -> None:
        picks = outcome.pick and not self._input.text.strip()
        if outcome.lines and not picks:
            self._terminal.print(rendered(outcome.lines, self._terminal.columns, color=self._color) + "\n")
        if outcome.write:
            self._terminal.write_raw(outcome.write)
        if outcome.put is not None:
            self._put(outcome.put, outcome.images, words=outcome.words)
        if picks:
            self._input.pick(outcome.pick)
        self._turns.attached += outcome.attach
        if outcome.edit is not None:
            self._hand_over.edit(outcome.edit)
        if outcome.folds_thinking is not None:
            self._transcript.folds_thinking = outcome.folds_thinking
        if outcome.quit:
            self._terminal.leave(ExitCode.OK)

    def _put(
        self, text: str, images: tuple[Image, ...], texts: tuple[Text, ...] = (), words: tuple[str, ...] = ()
    ) -> None:
        """Put a question into the input line, before what is there, with what goes along with it."""
        beside = not self._input.is_blank
        self._images = (*images, *self._images) if beside else images
        self._texts = (*texts, *self._texts) if beside else texts
        self._input.put(text, words)

    def _changed(self) -> None:
        since, before = self._turns.since, self._busy_since
        self._busy_since = since
        if before is not None and since is None:
            self._call_back(before, "the turn is over")
        self._terminal.window.set_title(self._window_title())
        self._terminal.redraw()

    def _window_title(self) -> str:
        chat = self._turns.chat
        mark = "? " if self._dialog.is_open else "… " if self._turns.since is not None else ""
        return f"{mark}toolchat {chat.model if chat is not None else self._model}"

    def _call_back(self, since: float | None, what: str) -> None:
        """Tell a user who looks elsewhere, where the turn has taken long."""
        window = self._terminal.window
        if since is None or self._notify == "off" or window.is_focused:
            return
        if (took := self._clock() - since) >= LONG_SECONDS:
            window.notify(f"toolchat: {what} ({int(took)} s)", bell=self._notify == "bell")

    async def _serve(self, open_chat: OpenChat, drawn: asyncio.Event) -> None:
        try:
            await drawn.wait()
            async with open_chat(self.show, self.ask, self.show_plain) as chat:
                from toolchat.ui.commands.registry import Commands

                chat.room.asks(self._dialog.ask_room)
                self._changed()
                await self._turns.serve(chat, Commands(chat, width=lambda: self._terminal.columns))
        except Exception as error:
            self._terminal.fail(error)

    async def _tick(self) -> None:
        """Keep the spinners turning, the seconds counting, and the toolbar true: the engine counts tokens unasked."""
        used = 0
        while True:
            await asyncio.sleep(_TICK)
            chat = self._turns.chat
            before, used = used, chat.room.used_tokens if chat is not None else 0
            if self._turns.since is not None or used != before:
                self._changed()

    def _submit(self, line: str, typed_words: str) -> None:
        if not line.strip():
            return
        if self._turns.chat is None and line.strip() in ("/quit", "/exit"):
            self._terminal.leave(ExitCode.OK)
            return
        images, self._images = self._images, ()
        texts, self._texts = self._texts, ()
        if line.startswith("/"):
            self._question(line)
        self._turns.send(line, images, texts, typed_words)

    def _question(self, line: str) -> None:
        """Show a line that was sent, and that no event will show."""
        if self._plain is not None:
            self._print_line(f"> {sanitize(line)}")
        else:
            self._transcript.question(line)

    def _picture(self, image: Image) -> str | None:
        protocol = self._terminal.window.features.pictures
        if not protocol:
            return None
        from toolchat.ui.pictures import inline_picture, room_of

        size = self._terminal.size
        return inline_picture(image, protocol, room_of(self._terminal.descriptor, size.columns, size.rows))

    def _completer(self) -> Completer:
        return Completions(self._turns.commands)

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        here = Condition(lambda: not self._dialog.is_open)

        @keys.add("c-c", filter=~is_searching, eager=True)
        def _interrupt(event: KeyPressEvent) -> None:
            self.interrupt()

        @keys.add("c-d", filter=here & Condition(lambda: self._input.is_empty))
        def _leave(event: KeyPressEvent) -> None:
            self._terminal.leave(ExitCode.OK)

        @keys.add("c-z")
        def _suspend(event: KeyPressEvent) -> None:
            self._terminal.suspend()

        return keys

    def _print_line(self, text: str) -> None:
        self._terminal.print(f"{text}\n")

    def _leaving(self) -> None:
        if self._plain is None:
            self._transcript.leave()
        else:
            self._plain.end_turn()

    def _half(self) -> int:
        return max(1, self._terminal.size.rows // 2)

    def _resized(self) -> None:
        if self._plain is None:
            self._transcript.resize(self._terminal.columns)
        self._dialog.resized()

    def _say_below(self, hint: str) -> None:
        """Show a hint in the toolbar for a moment."""
        self._hint = hint

        def take_away() -> None:
            if self._hint == hint and self._clock() - self._hinted >= LEAVE_SECONDS:
                self._hint = ""
                self._changed()

        asyncio.get_running_loop().call_later(LEAVE_SECONDS + 0.05, take_away)

    def _live(self, width: int, rows: int) -> list[str]:
        waiting = self._turns.waiting
        texts = [sanitize_line(sent.line) for sent in waiting[:_QUEUED_ROWS]]
        if len(waiting) > _QUEUED_ROWS:
            texts[-1] = f"{len(waiting) - _QUEUED_ROWS + 1} more"
        # What waits is told by the toolbar too; what is under way comes first.
        queued = [paint(cut(f"… {text}", width - 1), "dim", color=self._color) for text in texts]
        # Between a call and its question stands nothing that could be taken for the call.
        live = self._transcript.live(width, rows, waiting=not self._dialog.is_open) if self._plain is None else []
        texts = [attached_row(one) for one in self._turns.attached]
        along = [paint(cut(f"+ {text}", width - 1), "cyan", color=self._color) for text in texts]
        room = max(rows - len(live), 0)
        return [*live, *[*queued, *along][:room]]

    def _bar(self) -> StyleAndTextTuples:
        return [("class:toolbar", toolbar(self._status(), self._terminal.columns - 1))]

    def _status(self) -> Status:
        turns = self._turns
        chat = turns.chat
        status = Status(
            model=chat.model if chat is not None else self._model,
            state=self._state(),
            hint=self._hint or ("Ctrl-C again ends the engine" if turns.may_kill else ""),
            queued=len(turns.waiting),
            speed=self._transcript.speed,
        )
        if chat is None:
            return status
        tools = chat.tools.toolbox.names
        info = chat.info
        return dataclasses.replace(
            status,
            model=model_text(chat.model, info),
            used_tokens=chat.room.used_tokens,
            used_is_estimate=chat.room.used_is_estimate,
            context=info.context_window if info is not None else None,
            tools=len(tools),
            tools_on=len([name for name in tools if name not in chat.tools.switched_off]),
        )

    def _state(self) -> str:
        turns = self._turns
        if self._dialog.is_open:
            return "waits for you"
        if turns.since is None:
            if turns.command and turns.engine_state == "ready":  # else fetching or loading a model says more
                return f"running {turns.command}"
            loads_tools = turns.chat is None and turns.engine_state == "ready"
            return "loading tools" if loads_tools else turns.engine_state or "starting"
        if turns.is_stopping:
            return "stopping"
        what = "running tools" if self._transcript.running else "answering"
        if turns.chat is not None and turns.chat.room.is_making:
            what = "summing up"
        return f"{what} {int(self._clock() - turns.since)} s"

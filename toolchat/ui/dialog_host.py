"""Hosts a dialog in place of the input line: draws it, passes keys on, and lends it an editor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.layout.processors import TabsProcessor

from toolchat.ui.input import LongLine, Visible
from toolchat.ui.text.styles import ROLES, paint, prompt_style

if TYPE_CHECKING:  # what the dialog needs takes a while to import, and the prompt is not to wait for it
    from toolchat.chat.approval import PendingCall, Reply
    from toolchat.session.room import Fullness
    from toolchat.ui.approval_text import Row

BEAT_SECONDS = 0.1
STOPPED_SECONDS = 0.5
"""So long after the last beat, this process was stopped, or was so slow that keys may have been typed blindly."""

_EDITED = ("edit", "reason")
_NAMED = ("enter", "escape", "up", "down", "left", "right", "tab", "backspace", "pagedown", Keys.BracketedPaste)


class Stage(Protocol):
    """What the host needs of the terminal."""

    @property
    def columns(self) -> int: ...
    @property
    def rows(self) -> int: ...
    def print(self, ansi: str) -> None: ...
    def redraw(self) -> None: ...
    async def drawn(self) -> None: ...
    def drop_pending_input(self) -> bool: ...
    def focus(self, window: Window | None) -> None: ...


class Dialog(Protocol):
    """A question as a state machine: see `toolchat.ui.dialogs.ApprovalDialog`."""

    @property
    def state(self) -> str: ...
    @property
    def result(self) -> Any: ...
    @property
    def text(self) -> str: ...
    @property
    def candidate(self) -> dict[str, Any]: ...
    @property
    def arms_at(self) -> float | None: ...
    def take_above(self, width: int, height: int | None = None) -> list[Row]: ...
    def rows(self, width: int, now: float) -> list[Row]: ...
    def resized(self, width: int) -> None: ...
    def opened(self, now: float, *, dropped: bool = False) -> None: ...
    def covered(self) -> None: ...
    def key(self, name: str, now: float) -> None: ...
    def submit(self, text: str, now: float) -> None: ...
    def validated(self, problem: str | None, now: float) -> None: ...
    def cancel(self, now: float) -> None: ...


class DialogHost:
    """Shows one dialog at a time, with `container`; `ask` is what the approval policy calls."""

    def __init__(self, clock: Callable[[], float], most_rows: Callable[[], int], *, color: bool) -> None:
        self._clock = clock
        self._color = color
        self._stage: Stage | None = None
        self._dialog: Dialog | None = None
        self._pending: PendingCall | None = None
        self._done: asyncio.Future[Any] | None = None
        self._checking: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._beat = 0.0
        self._editing = False
        self._buffer = Buffer(multiline=True)
        self._question = Window(
            FormattedTextControl(self._rows, focusable=True, show_cursor=False, key_bindings=self._question_keys()),
            dont_extend_height=True,
        )
        self._editor = Window(
            BufferControl(
                self._buffer,
                input_processors=[LongLine(), TabsProcessor(tabstop=4, char1=" ", char2=" "), Visible()],
                key_bindings=self._editor_keys(),
            ),
            height=lambda: Dimension(min=1, max=most_rows()),
            wrap_lines=True,
            dont_extend_height=True,
        )
        editing = Condition(lambda: self._dialog is not None and self._dialog.state in _EDITED)
        self.container = ConditionalContainer(
            HSplit([self._question, ConditionalContainer(self._editor, editing)]), Condition(lambda: self.is_open)
        )

    @property
    def is_open(self) -> bool:
        return self._dialog is not None

    def attach(self, stage: Stage) -> None:
        self._stage = stage

    async def ask(self, pending: PendingCall) -> Reply:
        """Show the call, and return what the user decides. May be cancelled; the dialog is closed in any case."""
        from toolchat.ui.dialogs import ApprovalDialog

        self._pending = pending
        reply: Reply = await self._shown(ApprovalDialog(pending))
        return reply

    async def ask_room(self, full: Fullness) -> bool:
        """Have the user say whether older turns are to be summed up. Raises Stopped for Ctrl-C."""
        from toolchat.session.room import Stopped
        from toolchat.ui.dialogs import RoomDialog

        wanted: bool | None = await self._shown(RoomDialog(full))
        if wanted is None:
            raise Stopped("the question was not asked")
        return wanted

    async def _shown(self, dialog: Dialog) -> Any:
        """What the dialog comes to."""
        assert self._stage is not None
        stage = self._stage
        self._dialog = dialog
        self._done = asyncio.get_running_loop().create_future()
        self._beat = self._clock()
        beating = asyncio.create_task(self._keep_beating(), name="dialog-beat")
        try:
            self._follow()
            await self._open(dialog)
            return await self._done
        finally:
            beating.cancel()
            for task in (self._checking, self._opening):
                if task is not None:
                    task.cancel()
            self._dialog = self._pending = self._done = self._checking = self._opening = None
            self._editing = False
            stage.focus(None)
            stage.redraw()

    def covered(self) -> None:
        """The screen is about to be somebody else's: no key counts until the question has been drawn again."""
        if self._dialog is not None:
            self._dialog.covered()

    def uncovered(self) -> None:
        """The screen is this program's again."""
        if self._dialog is not None:
            self._dialog.covered()
            self._opening = asyncio.create_task(self._open(self._dialog), name="dialog-open")

    def resized(self) -> None:
        """The terminal has another size."""
        if self._dialog is not None and self._stage is not None:
            self._dialog.resized(self._stage.columns)
            self._follow()
            self.uncovered()

    async def _open(self, dialog: Dialog) -> None:
        """Have keys count from now on: what was typed until now was typed without having seen the question."""
        assert self._stage is not None
        await self._stage.drawn()
        # Not what goes to the editor: nothing that is written there runs a call, and a slow machine would lose words.
        dropped = dialog.state not in _EDITED and self._stage.drop_pending_input()
        if dialog is self._dialog:
            dialog.opened(self._clock(), dropped=dropped)
            self._follow()

    async def _keep_beating(self) -> None:
        """Note that this process is running; and whether it was stopped: a SIGSTOP gives no warning."""
        while True:
            self._look_for_a_stop()
            self._beat = self._clock()
            await asyncio.sleep(BEAT_SECONDS)

    def _look_for_a_stop(self) -> None:
        if self._clock() - self._beat > STOPPED_SECONDS:
            self.uncovered()

    def interrupt(self) -> None:
        """Ctrl-C: the call is denied and the turn ends."""
        self._key("c-c")

    def _rows(self) -> StyleAndTextTuples:
        if self._dialog is None or self._stage is None:
            return []
        rows = self._dialog.rows(self._stage.columns, self._clock())
        text: StyleAndTextTuples = []
        for index, (style, row) in enumerate(rows):
            text += [("", "\n")] if index else []
            text.append((prompt_style(ROLES[style]), row))
        return text

    def _key(self, name: str) -> None:
        if self._dialog is None:
            return
        # What was typed at the shell meanwhile may come before the beat, and before the SIGCONT.
        self._look_for_a_stop()
        self._dialog.key(name, self._clock())
        self._follow()

    def _follow(self) -> None:
        """Bring the screen to where the dialog is."""
        dialog, stage = self._dialog, self._stage
        if dialog is None or stage is None:
            return
        # The page, the dialog's own rows and the toolbar are on the screen together.
        room = stage.rows - len(dialog.rows(stage.columns, self._clock())) - 2
        if above := dialog.take_above(stage.columns, room):
            stage.print("\n".join(self._paint(row) for row in above))
            if dialog.arms_at is not None:
                # A further page: no key counts until it is on the screen.
                self.uncovered()
        match dialog.state:
            case "done":
                if self._done is not None and not self._done.done():
                    self._done.set_result(dialog.result)
                return
            case "edit" | "reason":
                if not self._editing:
                    self._editing = True
                    self._buffer.document = Document(dialog.text, len(dialog.text))
                stage.focus(self._editor)
            case "checking":
                stage.focus(self._question)
                if self._checking is None:
                    self._checking = asyncio.create_task(self._check(dialog), name="check-arguments")
            case "question":
                stage.focus(self._question)
                if self._editing:
                    # Another question, which is not on the screen yet.
                    self._editing = False
                    self.uncovered()
                if (at := dialog.arms_at) is not None:
                    # The keys look different once they count.
                    asyncio.get_running_loop().call_later(max(0.0, at - self._clock()) + 0.01, stage.redraw)
        stage.redraw()

    async def _check(self, dialog: Dialog) -> None:
        assert self._pending is not None
        try:
            problem = await self._pending.validate(dialog.candidate)
        except Exception as error:
            problem = f"they could not be checked: {error}"
        self._checking = None
        dialog.validated(problem, self._clock())
        self._follow()

    def _paint(self, row: Row) -> str:
        style, text = row
        return paint(text, ROLES[style], color=self._color)

    def _question_keys(self) -> KeyBindings:
        keys = KeyBindings()

        def pass_on(event: KeyPressEvent) -> None:
            press = event.key_sequence[-1]
            key = press.key
            if key is Keys.Escape and press.data != "\x1b":
                return  # a part of Alt and an arrow, which answers nothing
            self._key(key.value if isinstance(key, Keys) else key)

        for name in _NAMED:
            keys.add(name, eager=True)(pass_on)
        keys.add(Keys.Any)(pass_on)
        return keys

    def _editor_keys(self) -> KeyBindings:
        keys = KeyBindings()
        here = has_focus(self._buffer)

        @keys.add("enter", filter=here)
        def _submit(event: KeyPressEvent) -> None:
            if self._dialog is not None:
                self._dialog.submit(self._buffer.text, self._clock())
                self._follow()

        @keys.add("escape", "enter", filter=here)
        @keys.add("c-j", filter=here)
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("escape", filter=here)
        def _cancel(event: KeyPressEvent) -> None:
            if self._dialog is not None:
                self._dialog.cancel(self._clock())
                self._follow()

        return keys

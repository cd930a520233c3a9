"""Renders the events of one question for `ask`: the answer on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from toolchat.ui.calls import call_line, image_line, output_rows, result_lines, writing_text
from toolchat.ui.text.cells import cut
from toolchat.ui.text.sanitize import StreamSanitizer, sanitize, sanitize_line
from toolchat.wire import events
from toolchat.wire.events import Event
from toolchat.wire.messages import FailedCall

if TYPE_CHECKING:
    from rich.status import Status

    from toolchat.ui.plain_lines import PlainLines
    from toolchat.ui.tables import OwnConsole


class PlainRenderer:
    """A context manager, so that a spinner never outlives the question.

    In a pipe the answer is data and goes out as the model wrote it; on a terminal it is made safe first.
    """

    def __init__(self, out: TextIO | None, *, quiet: bool = False) -> None:
        """The answer goes to `out`, or nowhere; where `quiet`, only what went wrong goes to stderr."""
        self._out = out
        self._quiet = quiet
        self._to_terminal = out is not None and out.isatty()
        self._on_screen = sys.stderr.isatty()
        self._in_colour = self._on_screen or any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))
        """Whether rich may write more than the text; it takes longer to import than a loaded model to be asked."""
        self._status: Status | None = None
        self._safe = StreamSanitizer()
        self._midline = False
        self._said = False
        self._plain: PlainLines | None = None
        """Shows the events once `show` has failed."""

    @cached_property
    def _err(self) -> OwnConsole:
        from toolchat.ui.tables import console

        return console(stderr=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._wait(None)
        with contextlib.suppress(BrokenPipeError):
            self._end_line()
            if self._plain is not None:
                self._plain.end_turn()

    def show(self, event: Event) -> None:
        match event.body:
            case events.EngineState("ready"):
                self._wait(None)
            case events.EngineState("failed" | "crashed", detail):
                self._wait(None)
                if event.body.state == "crashed":
                    self._tell(f"toolchat: {sanitize(detail)}", "red")
            case events.EngineState(state, detail):
                self._wait(sanitize_line(f"{detail}: {state}" if detail else state))
            case events.QuestionAsked(_, images):
                for image in images:
                    self._note(image_line(image, image.source), "dim")
            case events.TextDelta(text):
                self._wait(None)
                self._write(text)
            case events.ThinkingDelta():
                # It is not shown, but the words before and after it must not run together.
                self._end_line()
            case events.CallProposed(FailedCall() as call):
                self._note(f"→ {call_line(call)}", "yellow")
            case events.CallWriting(name, size):
                self._end_line()
                self._wait(f"calling {writing_text(name, size)}")
            case events.CallProposed():
                self._wait(None)
                self._end_line()
            case events.CallStarted(call):
                self._note(f"→ {call_line(call)}", "cyan")
                self._wait(f"{call.name} is running")
            case events.ToolOutput(_, text):
                rows, live = output_rows(text)
                for row in rows:
                    self._note(f"  │ {row}", "dim")
                if live and self._on_screen:
                    self._wait(f"│ {cut(live, self._err.width - 4)}")
            case events.CallFinished(result):
                self._wait(None)
                for row in result_lines(result):
                    self._note(f"  {row}", "dim")
            case events.Notice(text):
                self._note(f"toolchat: {sanitize(text)}", "yellow")
            case events.TurnFinished():
                self._wait(None)
                self._end_line()

    def show_plain(self, event: Event) -> None:
        """Consume an event in place of `show`, which has failed; the answer still goes to stdout."""
        if self._plain is None:
            from toolchat.ui.plain_lines import PlainLines

            with contextlib.suppress(Exception):
                self.pause()

            def note(text: str) -> None:
                if not self._quiet:
                    print(text, file=sys.stderr, flush=True)

            self._plain = PlainLines(note, time.monotonic, to_person=False, answer=self._print)
        self._plain.show(event)

    def _print(self, text: str) -> None:
        if self._out is not None:
            print(text, file=self._out, flush=True)

    def pause(self) -> None:
        """Leave the terminal to somebody else for a while, its cursor at the beginning of a line."""
        self._wait(None)
        self._end_line()

    def _write(self, text: str) -> None:
        self._write_safe(self._safe.feed(text) if self._to_terminal else text.encode("utf-8", "replace").decode())

    def _write_safe(self, text: str) -> None:
        if not text or self._out is None:
            return
        self._out.write(text)
        self._out.flush()
        self._said = True
        self._midline = not text.endswith("\n")

    def _end_line(self) -> None:
        self._write_safe(self._safe.finish())
        if self._midline and self._out is not None:
            self._out.write("\n")
            self._out.flush()
            self._midline = False

    def _note(self, text: str, style: str) -> None:
        if not self._quiet:
            self._tell(text, style)

    def _tell(self, text: str, style: str) -> None:
        self._wait(None)
        self._end_line()
        if not self._in_colour:
            print(text.expandtabs(), file=sys.stderr, flush=True)
            return
        from rich.text import Text

        self._err.print(Text(text, style=style), soft_wrap=not self._err.on_screen)

    def _wait(self, text: str | None) -> None:
        """Show a spinner with `text` on stderr, where that is a terminal; None takes it away."""
        if not self._on_screen or self._quiet:
            return
        if text is not None and not self._midline:
            if self._status is None:
                self._status = self._err.status("")
                self._status.start()
            from rich.text import Text

            self._status.update(Text(text, style="dim"))
        elif self._status is not None:
            self._status.stop()
            self._status = None

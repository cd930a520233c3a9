"""Shows the events of a cassette as they were shown: those of `ask` as `ask` does, those of a chat as the chat does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from toolchat.ui.plain import PlainRenderer
from toolchat.ui.text.sanitize import sanitize
from toolchat.wire import events
from toolchat.wire.events import Event

if TYPE_CHECKING:
    from toolchat.store.cassettes import Cassette
    from toolchat.ui.transcript import Transcript

CHARACTERS_A_SECOND = 90.0
"""Of what streams: as fast as text is skimmed, some five times as fast as it is read closely."""
QUESTION_SECONDS = 1.0
CALL_SECONDS = 0.6
"""Before a result, however long its call took."""
_PIECE = 6
"""Characters that are shown at once."""

Paced = Iterator[tuple[float, Event]]


def show_cassette(cassette: Cassette, *, instant: bool, plain: bool) -> None:
    """Show all of it on the standard streams; nothing is waited for where nobody watches."""
    to_person = sys.stdout.isatty()
    steps = paced(cassette.events) if to_person and not instant else ((0.0, event) for event in cassette.events)
    if cassette.header.command == "ask":
        with PlainRenderer(sys.stdout) as renderer:
            _play(steps, lambda event: _as_asked(renderer, event, to_person=to_person))
    elif plain or not to_person:
        from toolchat.ui.plain_repl import PlainRepl

        # As it shows a session that goes on.
        lines = PlainRepl(sys.stdout, to_person=False)
        _play(steps, lines.show)
        lines.end()
    else:
        transcript = _transcript()
        _play(steps, transcript.show)
        transcript.leave()
    sys.stdout.flush()


def paced(history: Iterable[Event]) -> Paced:
    """The events, text in small pieces, each with the seconds to wait before it."""
    for event in history:
        match event.body:
            case events.TextDelta(text) | events.ThinkingDelta(text) as body:
                for at in range(0, len(text), _PIECE):
                    piece = text[at : at + _PIECE]
                    yield len(piece) / CHARACTERS_A_SECOND, replace(event, body=replace(body, text=piece))
            case events.QuestionAsked():
                yield QUESTION_SECONDS, event
            case events.CallFinished():
                yield CALL_SECONDS, event
            case _:
                yield 0.0, event


def _play(steps: Paced, show: Callable[[Event], None]) -> None:
    for seconds, event in steps:
        if seconds:
            sys.stdout.flush()
            time.sleep(seconds)
        show(event)


def _as_asked(renderer: PlainRenderer, event: Event, *, to_person: bool) -> None:
    # A person did not see the command line; in a pipe the answer is data.
    if to_person and isinstance(event.body, events.QuestionAsked):
        print(f"> {sanitize(event.body.text)}", file=sys.stderr, flush=True)
    # States of an engine that is not there would have a spinner of their own.
    if not isinstance(event.body, events.EngineState) or event.body.state == "crashed":
        renderer.show(event)


def _transcript() -> Transcript:
    """As the chat in a terminal prints it, without its prompt."""
    import os
    import shutil

    from toolchat.ui.transcript import Transcript

    def print_(text: str) -> None:
        # Whole lines, as the chat prints them.
        sys.stdout.write(text if not text or text.endswith("\n") else f"{text}\n")

    def width() -> int:
        return shutil.get_terminal_size().columns

    return Transcript(print_, width, time.monotonic, color=not os.environ.get("NO_COLOR"))

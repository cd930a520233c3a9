"""Writes what a program reads (docs/scripts.md): events and answers as JSON, one value a line."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from toolchat.session.batch import answer_json, held
from toolchat.store.transcript import Transcript
from toolchat.ui.plain import PlainRenderer
from toolchat.ui.text.sanitize import sanitize
from toolchat.wire.codec import event_line
from toolchat.wire.events import Event


class Answer:
    """Collects the answer to one question while a renderer shows the events; can write it as a whole.

    With `events`, each is written to `out` as it comes, in the form of the record.
    """

    def __init__(self, out: TextIO, renderer: PlainRenderer, *, events: bool = False) -> None:
        self._out = out
        self._renderer = renderer
        self._events = events
        self._taken = -1
        self._told = Transcript()

    def show(self, event: Event) -> None:
        self._take(event)
        self._renderer.show(event)

    def show_plain(self, event: Event) -> None:
        """Consume an event in place of `show`, which has failed; it may be one that it had."""
        self._take(event)
        self._renderer.show_plain(event)

    def write(self, schema: dict[str, Any] | None, *, as_json: bool) -> int:
        """Write the answer, as one object or as it is; the exit code."""
        story = self._told.turns[-1]
        code = story.exit_code if schema is None else held(story)[1]
        if as_json:
            write_json(self._out, {"session": self._told.session, **answer_json(story, schema)})
        else:
            print_answer(self._out, story.answer)
        if schema is not None and (problem := held(story)[2]):
            print(f"toolchat: {problem}", file=sys.stderr)
        return code

    def _take(self, event: Event) -> None:
        if event.sequence <= self._taken:
            return
        self._taken = event.sequence
        self._told.take(event)
        if self._events:
            _write(self._out, event_line(event).decode().removesuffix("\n"))


def print_answer(out: TextIO, text: str) -> None:
    """Data in a pipe, made safe on a terminal."""
    if text := text.strip():
        print(sanitize(text) if out.isatty() else text.encode("utf-8", "replace").decode(), file=out, flush=True)


def write_json(out: TextIO, value: Any) -> None:
    """One line. What the stream's encoding lacks is escaped, and everything that is not ASCII on a terminal."""
    # ensure_ascii=False leaves a lone surrogate as it is, which no encoding has: that is escaped with the rest.
    _write(out, json.dumps(value, ensure_ascii=False))


def _write(out: TextIO, line: str) -> None:
    if out.isatty() or not _has(out.encoding, line):
        line = json.dumps(json.loads(line))
    out.write(f"{line}\n")
    out.flush()


def _has(encoding: str | None, text: str) -> bool:
    """Whether an encoding has every character of `text`."""
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

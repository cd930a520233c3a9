"""Parts of the stream parser: segments of text and thinking, and the sink that collects all deltas.

A segment gets the text between two control tokens and knows nothing of token ids. The sink numbers the calls and gives
each a legal id that no other call has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from toolchat.mistral.ids import INVALID_NAME, is_legal_call_id, is_legal_name, new_call_id
from toolchat.wire.deltas import CallArguments, CallBegun, CallEnded, Delta, Text, Thinking
from toolchat.wire.messages import CallOrigin, FailedCall, ToolCall

CUT_OFF = "the call was cut off before it was complete"
NAME_RULE = "cannot name a tool: 1 to 64 of a-z, A-Z, 0-9, _ and - can"


class Segment(Protocol):
    """Parses what stands between two control tokens that change the state of the parser."""

    def text(self, text: str) -> None:
        """More text; never empty, never part of a character."""

    def marker(self, name: str) -> None:
        """A control token that opens no new segment stands here."""

    def end(self, *, truncated: bool) -> None:
        """Nothing more comes; `truncated` if a limit ended it and not the model. Called once."""


class CallSink:
    """Collects deltas, counts calls from 0, and keeps ids unique within the generation."""

    def __init__(self, new_id: Callable[[], str], origin: Callable[[str], CallOrigin]) -> None:
        self._new_id = new_id
        self._origin = origin
        self._ids: set[str] = set()
        self._index = 0
        self._deltas: list[Delta] = []
        self._gap = ""
        """What is to stand between the text before a control token and the text after it."""
        self._last: type[Delta] | None = None
        self._spaced = False
        """Whether the last text ended with whitespace."""

    def take(self) -> list[Delta]:
        """Return the deltas since the last call of this, and forget them."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def separate(self, gap: str) -> None:
        """A control token stands here: if text goes on behind it as text, or thinking as thinking, put `gap` there.

        Not where there is whitespace anyway, and not where something else came between.
        """
        self._gap = gap

    def emit(self, delta: Text | Thinking) -> None:
        text = delta.text
        if self._gap and self._last is type(delta) and not self._spaced and not text[0].isspace():
            delta = replace(delta, text=self._gap + text)
        self._gap, self._last, self._spaced = "", type(delta), text[-1].isspace()
        self._deltas.append(delta)

    def started(self, name: str) -> None:
        self._deltas.append(CallBegun(self._index, name))

    def arguments(self, text: str) -> None:
        self._deltas.append(CallArguments(self._index, text))

    def whole(self, name: str, arguments: dict[str, Any], wanted_id: str = "") -> None:
        self._end(ToolCall(self._pick_id(wanted_id), name, arguments, self._origin(name)))

    def failed(
        self,
        name: str,
        raw: str,
        reason: str,
        *,
        wanted_id: str = "",
        truncated: bool = False,
        illegal_name: str = "",
    ) -> None:
        shown = name if is_legal_name(name) else INVALID_NAME
        self._end(FailedCall(self._pick_id(wanted_id), shown, raw, reason, truncated, illegal_name[:80]))

    def _end(self, call: ToolCall | FailedCall) -> None:
        self._deltas.append(CallEnded(self._index, call))
        self._last = None
        self._index += 1

    def _pick_id(self, wanted: str) -> str:
        call_id = wanted if is_legal_call_id(wanted) and wanted not in self._ids else self._new_id()
        while call_id in self._ids:
            call_id = new_call_id()
        self._ids.add(call_id)
        return call_id


class Prose:
    """Text for the reader, or thinking. Whitespace at its beginning belongs to the format after a call: left out."""

    def __init__(self, sink: CallSink, delta: type[Text] | type[Thinking], *, after_call: bool = False) -> None:
        self._sink = sink
        self._delta = delta
        self._skip = after_call

    def text(self, text: str) -> None:
        if self._skip:
            text = text.lstrip()
            self._skip = not text
        if text:
            self._sink.emit(self._delta(text))

    def marker(self, name: str) -> None:
        """Left out: a control token is never text."""

    def end(self, *, truncated: bool) -> None:
        """Prose may end anywhere."""


class TaggedProse:
    """Text that may begin with thinking between the written tags `<think>` and `</think>`.

    Magistral Small 2506 generates it (v11, whose tokenizer has no tokens for thinking). Only at the very beginning:
    later the tags are ordinary text.
    """

    _OPEN, _CLOSE = "<think>", "</think>"

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._held = ""
        self._thinking = False
        self._prose: Prose | None = None

    def text(self, text: str) -> None:
        if self._prose is not None:
            self._prose.text(text)
            return
        self._held += text
        if not self._thinking:
            begun = self._held.lstrip()
            if begun.startswith(self._OPEN):
                self._thinking, self._held = True, begun.removeprefix(self._OPEN)
            elif not self._OPEN.startswith(begun):
                self._go_on(self._held, after_thinking=False)
        if self._thinking and self._prose is None:
            self._think()

    def _think(self) -> None:
        thought, closed, rest = self._held.partition(self._CLOSE)
        if closed:
            self._emit(thought)
            self._go_on(rest, after_thinking=True)
            return
        # The end of what has come may be the beginning of the closing tag.
        keep = next((n for n in range(len(self._CLOSE) - 1, 0, -1) if thought.endswith(self._CLOSE[:n])), 0)
        self._emit(thought[: len(thought) - keep])
        self._held = thought[len(thought) - keep :]

    def _emit(self, thought: str) -> None:
        if thought:
            self._sink.emit(Thinking(thought))

    def _go_on(self, text: str, *, after_thinking: bool) -> None:
        self._prose = Prose(self._sink, Text, after_call=after_thinking)
        self._prose.text(text)

    def marker(self, name: str) -> None:
        """Left out: a control token is never text."""

    def end(self, *, truncated: bool) -> None:
        if self._prose is None and self._held:
            self._sink.emit(Thinking(self._held) if self._thinking else Text(self._held))

"""Parses the token ids of a generation into typed deltas, as they arrive. Never raises, whatever the tokens are.

Control tokens are recognised by id, so a literal "[TOOL_CALLS]" in a text or an argument is text. Each token is read
once, in time that does not depend on what came before it.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from toolchat.mistral.call_formats import CallList, NamedCall
from toolchat.mistral.ids import new_call_id
from toolchat.mistral.segments import CallSink, Prose, Segment, TaggedProse
from toolchat.mistral.vocabulary import FIRST_NAMED, Vocabulary
from toolchat.wire.deltas import Delta, Text, Thinking
from toolchat.wire.messages import CallOrigin

_TAGGED = 11
"""The version with a model that writes thinking without tokens for it."""
_MARKER_GAP = "\n\n"
_OTHER_GAP = " "
_UTF8 = codecs.getincrementaldecoder("utf-8")


class StreamParser:
    """Parses one generation.

    - Text, Thinking and the pieces of a call come as soon as they are certain: never a control token, never
      half a character (bytes that are not UTF-8 become U+FFFD; so do those left over where a segment ends).
    - Every `[TOOL_CALLS]` comes to at least one CallEnded. It holds a ToolCall only where the arguments were
      complete, valid JSON (load_object says what else it refuses) and an object; else a FailedCall with the
      text as it was generated and the reason. CallBegun comes before it only where the name was certain and
      legal.
    - The arguments' text streams as CallArguments; before v11 where the call begins with its name and then has its
      arguments, else it comes when the call is whole.
    - At the very beginning of a generation of v11, thinking may stand between the tags that TaggedProse knows.
    - Text after a call is Text, without the whitespace between the two. Text after malformed arguments is
      part of the FailedCall, because where they were meant to end is not known.
    - A control token within a call, other than its own markers, makes it malformed: left out, it could join
      what stood apart. Elsewhere control tokens are left out, and what stood apart stays apart: by a blank line where
      it was a marker of thinking without its other half, by a space at others, unless there is whitespace.
    - Ids the model gave are kept where legal and not yet used in this generation; other calls get `new_id()`.
    - A ToolCall's origin is what `origin` says of the tool's name.
    - The end-of-sequence token ends it: what follows is ignored.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        new_id: Callable[[], str] = new_call_id,
        origin: Callable[[str], CallOrigin] = lambda name: CallOrigin.PARSED,
    ) -> None:
        self._vocabulary = vocabulary
        self._sink = CallSink(new_id, origin)
        self._decoder = _UTF8(errors="replace")
        tagged = vocabulary.version == _TAGGED and vocabulary.special("[THINK]") is None
        self._segment: Segment = TaggedProse(self._sink) if tagged else self._prose()
        self._begins = True
        self._ended = False
        openers: dict[str, Callable[[], Segment]] = {
            "[TOOL_CALLS]": self._calls,
            "[THINK]": lambda: Prose(self._sink, Thinking),
            "[/THINK]": self._prose,
        }
        ids = {name: vocabulary.special(name) for name in openers}
        self._openers = {found: openers[name] for name, found in ids.items() if found is not None}
        self._eos = vocabulary.special("</s>")

    def feed(self, token_ids: Sequence[int]) -> list[Delta]:
        """The deltas that are certain after these tokens, which follow those fed before."""
        for token_id in token_ids:
            if self._ended:
                break
            if self._vocabulary.is_special(token_id):
                self._control(token_id)
            else:
                self._piece(self._vocabulary.piece(token_id))
        return self._sink.take()

    def finish(self, truncated: bool) -> list[Delta]:
        """The deltas of what was still open; `truncated` if a limit ended the generation and not the model.

        Never returns Finished: the engine does, with the usage. A second call returns nothing.
        """
        if not self._ended:
            self._close(truncated=truncated)
            self._ended = True
        return self._sink.take()

    def _piece(self, piece: bytes) -> None:
        if self._begins and self._vocabulary.adds_space:
            piece = piece.removeprefix(b" ")
        self._begins = False
        if text := self._decoder.decode(piece):
            self._segment.text(text)

    def _control(self, token_id: int) -> None:
        if token_id == self._eos:
            self._close(truncated=False)
            self._ended = True
        elif opener := self._openers.get(token_id):
            self._close(truncated=False)
            self._sink.separate(_MARKER_GAP)
            self._segment = opener()
            self._begins = True
        else:
            self._flush()
            self._sink.separate(_OTHER_GAP)
            self._segment.marker(self._vocabulary.piece(token_id).decode(errors="replace"))

    def _close(self, *, truncated: bool) -> None:
        self._flush()
        self._segment.end(truncated=truncated)

    def _flush(self) -> None:
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        if text:
            self._segment.text(text)

    def _prose(self) -> Segment:
        return Prose(self._sink, Text)

    def _calls(self) -> Segment:
        return NamedCall(self._sink) if self._vocabulary.version >= FIRST_NAMED else CallList(self._sink)

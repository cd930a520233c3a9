"""Parses one call from v11 on: `[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}`, the id optional, and the text behind it."""

from __future__ import annotations

from enum import Enum, auto

from toolchat.mistral.ids import is_legal_name
from toolchat.mistral.json_scan import WHITESPACE, BadJsonError, ObjectScanner, flaw, load_object
from toolchat.mistral.segments import CUT_OFF, NAME_RULE, CallSink, Prose
from toolchat.wire.deltas import Text


class _Stage(Enum):
    NAME = auto()
    ID = auto()
    BEFORE_ARGUMENTS = auto()
    ARGUMENTS = auto()
    BROKEN = auto()
    """It will fail; what still comes is kept, for the raw text and the reason."""


class NamedCall:
    """The segment that one `[TOOL_CALLS]` opens."""

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._stage = _Stage.NAME
        self._raw = ["[TOOL_CALLS]"]
        self._part: list[str] = []
        self._name = ""
        self._illegal_name = ""
        self._id = ""
        self._scanner = ObjectScanner()
        self._reason = ""
        self._after: Prose | None = None

    def text(self, text: str) -> None:
        if self._after:
            self._after.text(text)
            return
        self._raw.append(text)
        if self._stage is _Stage.BEFORE_ARGUMENTS:
            text = text.lstrip(WHITESPACE)
            if not text:
                return
            # What is no object is named at the end, when all of it is there to be loaded.
            self._stage = _Stage.ARGUMENTS if text[0] == "{" else _Stage.BROKEN
        if self._stage is _Stage.ARGUMENTS:
            self._arguments(text)
        else:
            self._part.append(text)

    def _arguments(self, text: str) -> None:
        end = self._scanner.feed(text)
        self._part.append(text[:end])
        self._sink.arguments(text[:end])
        if self._scanner.broken:
            self._break(f"the arguments are {flaw(''.join(self._part))}")
        if end is None:
            return
        try:
            arguments = load_object("".join(self._part))
        except BadJsonError as error:
            # What follows may belong to them (an unescaped quote moves the end): it is not shown as text.
            self._break(f"the arguments are {error}")
            return
        self._sink.whole(self._name, arguments, self._id)
        self._after = Prose(self._sink, Text, after_call=True)
        self._after.text(text[end:])

    def marker(self, name: str) -> None:
        if self._after:
            return
        self._raw.append(name)
        part = "".join(self._part).strip()
        match self._stage, name:
            case (_Stage.NAME, "[CALL_ID]" | "[ARGS]"):
                self._part = []
                self._stage = _Stage.ID if name == "[CALL_ID]" else _Stage.BEFORE_ARGUMENTS
                self._named(part)
            case (_Stage.ID, "[ARGS]"):
                self._id, self._part = part, []
                self._stage = _Stage.BEFORE_ARGUMENTS
            case _:
                self._break(f"the control token {name} stands within the call")

    def _named(self, name: str) -> None:
        if is_legal_name(name):
            self._name = name
            self._sink.started(name)
        else:
            self._illegal_name = name
            self._break(f"{name[:80]!r} {NAME_RULE}" if name else "the name is missing")

    def _break(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stage = _Stage.BROKEN

    def end(self, *, truncated: bool) -> None:
        if self._after:
            return
        # What was malformed before the cut stays malformed: a longer answer would not have mended it.
        cut = truncated and self._stage is not _Stage.BROKEN
        reason = CUT_OFF if cut else self._reason or self._why()
        self._sink.failed(
            self._name,
            "".join(self._raw),
            reason,
            wanted_id=self._id,
            truncated=cut,
            illegal_name=self._illegal_name,
        )

    def _why(self) -> str:
        if self._stage in (_Stage.NAME, _Stage.ID):
            return "no [ARGS] follows the name"
        arguments = "".join(self._part)
        return f"the arguments are {flaw(arguments)}" if arguments else "the arguments are missing"

"""Parses the calls in a generation, in both formats that Mistral's versions have.

Before 11: `[TOOL_CALLS]` and a JSON list of `{"name", "arguments", "id"}`. Each object is handed over as soon as its
closing brace is there; the list around it is walked, never loaded. From 11 on: `[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}`,
the id optional, one for each call. What follows the calls is passed on as text.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Any

from toolchat.mistral.ids import is_legal_name
from toolchat.mistral.json_scan import WHITESPACE, BadJsonError, ObjectScanner, flaw, kind, load_object
from toolchat.mistral.segments import CUT_OFF, NAME_RULE, CallSink, Prose
from toolchat.wire.deltas import Text

_LEAD = re.compile(r'\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]{1,64})"\s*,\s*"arguments"\s*:\s*(?=\{)')
"""What a call begins with, as models write it, up to its arguments."""
_LONGEST_LEAD = 400
"""Characters after which a call is taken to begin otherwise: its arguments are then shown when it is whole."""
_LEADING_NAME = re.compile(r'\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]{1,64})"')


class _ListStage(Enum):
    """Where in the list it is; the value says what must come next."""

    LIST = "a list of calls was expected after [TOOL_CALLS]"
    CALL = "a call in braces was expected"
    WITHIN = "a call's closing brace"
    SEPARATOR = "a comma or ] was expected after a call"
    BROKEN = "nothing that could be used"


class CallList:
    """The segment that one `[TOOL_CALLS]` opens before version 11: a list of calls.

    A comma before the closing bracket and a closing bracket that never comes are forgiven: no call is in
    doubt.
    """

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._stage = _ListStage.LIST
        self._raw = ["[TOOL_CALLS]"]
        self._part: list[str] = []
        self._scanner = ObjectScanner()
        self._shown = _Shown(sink)
        self._reason = ""
        self._any = False
        self._after: Prose | None = None

    def text(self, text: str) -> None:
        while text and not self._after:
            text = self._within(text) if self._stage is _ListStage.WITHIN else self._between(text)
        if self._after:
            self._after.text(text)

    def _between(self, text: str) -> str:
        """Takes from `text` up to one character of the list's own; returns what is left."""
        bare = text.lstrip(WHITESPACE)
        if self._stage is _ListStage.BROKEN or not bare:
            self._raw.append(text)
            return ""
        rest = bare[1:]
        match self._stage, bare[0]:
            case (_ListStage.LIST, "["):
                self._raw.append(text[: -len(rest)] if rest else text)
                self._stage = _ListStage.CALL
                return rest
            case (_ListStage.CALL, "{"):
                self._stage, self._scanner = _ListStage.WITHIN, ObjectScanner()
                self._shown = _Shown(self._sink)
                return bare
            case (_ListStage.SEPARATOR, ","):
                self._fail_pending()
                self._raw = []
                self._stage = _ListStage.CALL
                return rest
            case (_ListStage.CALL | _ListStage.SEPARATOR, "]"):
                if not self._any:
                    self._raw.append("]")
                    self._reason = "the list of calls is empty"
                self._fail_pending()
                self._after = Prose(self._sink, Text, after_call=True)
                return rest
        self._break(f"the call is not valid JSON: {self._stage.value}, not {bare[0]!r}")
        return text

    def _within(self, text: str) -> str:
        """Takes from `text` what belongs to the call's object; returns what is left."""
        end = self._scanner.feed(text)
        self._raw.append(text[:end])
        self._part.append(text[:end])
        self._shown.feed(text[:end])
        if self._scanner.broken:
            self._break(f"the call is {flaw(''.join(self._part))}")
        if end is None:
            return ""
        self._stage = _ListStage.SEPARATOR
        self._any = True
        try:
            call = load_object("".join(self._part))
        except BadJsonError as error:
            # Told only when a comma or ] shows that it ended here: an unescaped quote moves the end.
            self._reason = f"the call is {error}"
        else:
            self._whole(call)
            self._raw, self._part = [], []
        return text[end:]

    def _whole(self, call: dict[str, Any]) -> None:
        name, wanted_id = call.get("name"), call.get("id")
        wanted_id = wanted_id if isinstance(wanted_id, str) else ""
        try:
            if not isinstance(name, str) or not is_legal_name(name):
                raise BadJsonError(_name_flaw(name))
            arguments = _arguments(call)
        except BadJsonError as error:
            # It cannot be run, but where it ends is certain, so its neighbours in the list can.
            known = name if isinstance(name, str) else ""
            illegal = "" if is_legal_name(known) else known
            self._sink.failed(known, "".join(self._raw), str(error), wanted_id=wanted_id, illegal_name=illegal)
            return
        if not self._shown.started:
            self._sink.started(name)
            self._sink.arguments(json.dumps(arguments, ensure_ascii=False))
        self._sink.whole(name, arguments, wanted_id)

    def marker(self, name: str) -> None:
        if self._after:
            return
        self._raw.append(name)
        self._break(f"the control token {name} stands within the call")

    def _break(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stage = _ListStage.BROKEN

    def _fail_pending(self, *, truncated: bool = False) -> None:
        if not self._reason:
            return
        named = _LEADING_NAME.match("".join(self._part))
        known = named[1] if named else ""
        self._sink.failed(known, "".join(self._raw), self._reason, truncated=truncated)
        self._reason, self._part = "", []

    def end(self, *, truncated: bool) -> None:
        if self._after:
            return
        unfinished = self._stage is _ListStage.WITHIN or not self._any
        cut = truncated and unfinished and not self._reason
        if cut:
            self._reason = CUT_OFF
        elif unfinished and not self._reason:
            self._reason = f"the call is {flaw(''.join(self._part))}" if self._part else _ListStage.LIST.value
        self._fail_pending(truncated=cut)


class _Shown:
    """Shows one call while it is written: its name and the text of its arguments, as soon as they are certain."""

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._lead: str | None = ""
        """The call's text up to its arguments; None once those have begun, or begin otherwise."""
        self._arguments: ObjectScanner | None = None
        self.started = False

    def feed(self, text: str) -> None:
        """More of the call's text, from its opening brace on."""
        if self._lead is not None:
            self._lead += text
            match = _LEAD.match(self._lead)
            if match is None:
                self._lead = self._lead if len(self._lead) <= _LONGEST_LEAD else None
                return
            text, self._lead = self._lead[match.end() :], None
            self._arguments, self.started = ObjectScanner(), True
            self._sink.started(match[1])
        if self._arguments is not None and text:
            end = self._arguments.feed(text)
            self._sink.arguments(text[:end])
            if end is not None or self._arguments.broken:
                self._arguments = None


def _name_flaw(name: object) -> str:
    if name is None:
        return "the name is missing"
    return f"{json.dumps(name, ensure_ascii=False)[:80]} {NAME_RULE}"


def _arguments(call: dict[str, Any]) -> dict[str, Any]:
    """The call's arguments; some models write the object as a string that holds it."""
    if "arguments" not in call:
        raise BadJsonError("the arguments are missing")
    arguments = call["arguments"]
    if isinstance(arguments, str):
        try:
            return load_object(arguments)
        except BadJsonError as error:
            raise BadJsonError(f"the arguments are a string, and what it holds is {error}") from error
    if not isinstance(arguments, dict):
        raise BadJsonError(f"the arguments are {kind(arguments)}, not an object")
    return arguments


class _NamedStage(Enum):
    NAME = auto()
    ID = auto()
    BEFORE_ARGUMENTS = auto()
    ARGUMENTS = auto()
    BROKEN = auto()
    """It will fail; what still comes is kept, for the raw text and the reason."""


class NamedCall:
    """The segment that one `[TOOL_CALLS]` opens from version 11 on: one call."""

    def __init__(self, sink: CallSink) -> None:
        self._sink = sink
        self._stage = _NamedStage.NAME
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
        if self._stage is _NamedStage.BEFORE_ARGUMENTS:
            text = text.lstrip(WHITESPACE)
            if not text:
                return
            # What is no object is named at the end, when all of it is there to be loaded.
            self._stage = _NamedStage.ARGUMENTS if text[0] == "{" else _NamedStage.BROKEN
        if self._stage is _NamedStage.ARGUMENTS:
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
            case (_NamedStage.NAME, "[CALL_ID]" | "[ARGS]"):
                self._part = []
                self._stage = _NamedStage.ID if name == "[CALL_ID]" else _NamedStage.BEFORE_ARGUMENTS
                self._named(part)
            case (_NamedStage.ID, "[ARGS]"):
                self._id, self._part = part, []
                self._stage = _NamedStage.BEFORE_ARGUMENTS
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
        self._stage = _NamedStage.BROKEN

    def end(self, *, truncated: bool) -> None:
        if self._after:
            return
        # What was malformed before the cut stays malformed: a longer answer would not have mended it.
        cut = truncated and self._stage is not _NamedStage.BROKEN
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
        if self._stage in (_NamedStage.NAME, _NamedStage.ID):
            return "no [ARGS] follows the name"
        arguments = "".join(self._part)
        return f"the arguments are {flaw(arguments)}" if arguments else "the arguments are missing"

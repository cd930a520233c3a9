"""Writes a call in full for the person who decides on it: never cut, nothing hidden, at any width."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Never

from toolchat.chat.approval import PendingCall
from toolchat.mistral.json_scan import MAX_DEPTH, nests_too_deep
from toolchat.tools.mcp.elicitation import Elicitation, asked_for
from toolchat.tools.toolbox import Privileges, Tool
from toolchat.ui.text.sanitize import look_alikes, mixed_scripts, sanitize, sanitize_line
from toolchat.ui.text.wrapping import folded, hanging, wrapped

Row = tuple[str, str]
"""One of `styles.ROLES`, and a line of text that is safe to show."""

KEEPS = "It keeps your privileges: it may run sudo, end your other programs, and write to your terminals."

SHORT = 60
"""Characters of an object, or of a list that holds others, that stay on one line."""

LONG = 10
"""Rows of an argument; of a longer one it is said how many it has."""

MOST_NOTES = 5
"""Notes of one kind on one argument; of more it is said how many there are."""

# A few between words align columns, and indentation is seen; a text with several lines has no mark at their ends.
_BLANKS = re.compile(r"(?<=[^ \u3000\n])[ \u3000]{4,}|(?<![^\n])[ \u3000]{40,}|[ \u3000]+(?=\n)")
# Blanks that are not the usual one, which look like it.
_OTHER_BLANKS = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")

_NARROWEST = 16
"""Columns that are left for text however deep it is nested."""


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    first: str = ""
    """What stands before it."""
    rest: str = ""
    """What stands before its further rows where it has to be wrapped; nothing of toolchat's own begins like that."""


def pending_rows(pending: PendingCall, arguments: Mapping[str, Any], width: int, *, edited: bool = False) -> list[Row]:
    """What is to be decided on, with these arguments: a call, or the answer to what an MCP server asks."""
    if pending.elicitation is not None:
        return _elicitation_rows(pending.elicitation, arguments, width, edited=edited)
    rows = call_rows(pending.tool, arguments, width, edited=edited)
    if pending.heard:
        heard = sanitize_line(pending.heard)
        what = f"{heard} has given the model strangers' words in this turn, which may have led to this call"
        rows += prose("error", f"{what}: it asks, whatever the tools file and your grants allow.", width)
    return rows


def question_of(pending: PendingCall, *, changed: bool = False) -> str:
    """The question below `pending_rows`."""
    if pending.elicitation is not None:
        return f"Send {'your' if changed else 'this'} answer to the server {sanitize_line(pending.elicitation.server)}?"
    return f"Run {sanitize_line(pending.tool.name)}{', with your arguments' if changed else ''}?"


def _elicitation_rows(
    asked: Elicitation, arguments: Mapping[str, Any], width: int, *, edited: bool = False
) -> list[Row]:
    """What a server asks. It may ask for anything: whose words these are stands before and behind them."""
    server = sanitize_line(asked.server)
    rows = prose("title", f"The MCP server {server}, whose call is running, asks you:", width)
    message = [_Line(_visible(row), "  │ ", "  ┊ ") for row in asked.message.split("\n")]
    rows += [("text", row) for line in message for row in _wrapped(line, width)]
    if asked.url:
        address = _Line(_visible(asked.url), "  ", "  ┊ ")
        rows += prose(
            "dim", "It wants you to open this address yourself, and to say yes here when you are done:", width
        )
        rows += [("text", row) for row in _wrapped(address, width)]
        rows += [row for mark in look_alikes(asked.url) for row in prose("note", f"Mind the address: {mark}.", width)]
    for field in asked_for(asked.schema):
        rows += [("dim", row) for row in hanging(f"  {_visible(field)}", width)]
    if not asked.url:
        rows += prose("title", "Your answer:" if edited else "The answer, unless you edit it:", width)
        for name, value in arguments.items():
            rows += [
                ("text", row) for line in _value(f"{_label(name)}: ", value, "  ") for row in _wrapped(line, width)
            ]
        if not arguments:
            rows.append(("dim", "  (yes, and no more)"))
    return [*rows, *prose("dim", f"{server} is a stranger's program: give it no password.", width)]


def call_rows(tool: Tool, arguments: Mapping[str, Any], width: int, *, edited: bool = False) -> list[Row]:
    """The call with these arguments, for a screen of `width` columns; `edited` where the user wrote them."""
    name = sanitize_line(tool.name)
    rows = prose("title", f"Your arguments for {name}:" if edited else f"The model asks to run {name}:", width)
    for name, value in arguments.items():
        argument = [row for line in _value(f"{_label(name)}: ", value, "  ") for row in _wrapped(line, width)]
        if len(argument) > LONG:
            # Who sees only the end of it knows by this how far up it begins, and that what stands there is all of it.
            rows += prose("dim", f"The next argument has {len(argument)} rows:", width)
        rows += [("text", row) for row in argument]
        rows += [row for note in _notes(value) for row in prose("note", note, width)]
    if not arguments:
        rows.append(("dim", "  (no arguments)"))
    rows += [("dim", row) for row in hanging(f"It is {sanitize_line(tool.callable_ref)}.", width)]
    for mark in look_alikes(tool.callable_ref):
        rows += prose("note", f"Mind its name: {mark}.", width)
    rows += [("dim", row) for remark in tool.remarks for row in hanging(sanitize_line(remark), width)]
    if tool.options.privileges is Privileges.KEEP:
        rows += prose("error", KEEPS, width)
    return rows


def editable(arguments: Mapping[str, Any]) -> str:
    """The arguments as JSON to be edited; what a screen would hide or obey is written as JSON's own escapes."""
    text = json.dumps(arguments, indent=2, ensure_ascii=False)
    return "".join(character if sanitize(character) == character else _escape(character) for character in text)


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments that an edited text holds.

    Raises:
        ValueError: it is not JSON, or not an object; the message says what is wrong, in one line.
    """
    if nests_too_deep(text):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    if not isinstance(value, dict):
        raise ValueError('expected an object, such as {"name": "value"}')
    return value


def prose(style: str, text: str, width: int) -> list[Row]:
    """Words of toolchat's own in rows of at most `width` columns, broken between words."""
    return [(style, row) for row in wrapped(text, width) if row]


def _notes(value: Any) -> Iterator[str]:
    """What one overlooks in an argument: words of several scripts, and blanks that move text away or end a line."""
    texts = list(_texts(value))
    scripts = list(dict.fromkeys(mark for text in texts for mark in mixed_scripts(text)))
    yield from (f"Mind the letters: {mark}." for mark in scripts[:MOST_NOTES])
    if len(scripts) > MOST_NOTES:
        yield f"Mind the letters of {len(scripts) - MOST_NOTES} more words."
    blanks = [len(match[0]) for text in texts for match in _BLANKS.finditer(text)]
    if blanks:
        runs = ", ".join(map(str, blanks[:MOST_NOTES])) + (", …" if len(blanks) > MOST_NOTES else "")
        yield f"Mind the blanks: {runs} in a row." if len(blanks) == 1 else f"Mind the blanks: runs of {runs}."


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, inner in value.items():
                yield name
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _wrapped(line: _Line, width: int) -> Iterator[str]:
    first, rest = line.first, line.rest
    if width - len(rest) < _NARROWEST:
        # Nested deeper than the screen is wide: the mark of the line stays, its indentation goes.
        first, rest = first.lstrip(), rest.lstrip()
    for number, row in enumerate(folded(line.text, width - max(len(first), len(rest)))):
        yield f"{rest if number else first}{row}"


def _value(label: str, value: Any, indent: str) -> Iterator[_Line]:
    match value:
        case str() if "\n" in value:
            # A mark before each line of the text, and another one where only the screen ended it.
            yield _Line(label.rstrip(), indent, f"{indent}  ┊ ")
            for row in value.split("\n"):
                yield _Line(_visible(row), f"{indent}  │ ", f"{indent}  ┊ ")
        case dict() if not _fits_one_line(value):
            yield _Line(label.rstrip(), indent, f"{indent}  ┊ ")
            for name, inner in value.items():
                yield from _value(f"{_label(name)}: ", inner, f"{indent}  ")
        case list() if not _fits_one_line(value):
            yield _Line(label.rstrip(), indent, f"{indent}  ┊ ")
            for inner in value:
                yield from _value("- ", inner, f"{indent}  ")
        case _:
            yield _Line(f"{label}{_json(value)}", indent, f"{indent}  ┊ ")


def _fits_one_line(value: dict[str, Any] | list[Any]) -> bool:
    if _holds_lines(value):
        return False
    flat = isinstance(value, list) and not any(isinstance(inner, dict | list) for inner in value)
    return flat or len(json.dumps(value, ensure_ascii=False)) <= SHORT


def _holds_lines(value: Any) -> bool:
    match value:
        case str():
            return "\n" in value
        case dict():
            return any(map(_holds_lines, value.values()))
        case list():
            return any(map(_holds_lines, value))
    return False


def _label(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else _json(name)


def _json(value: Any) -> str:
    return _visible(json.dumps(value, ensure_ascii=False))


def _visible(line: str) -> str:
    # A tab is a control character too: it could push text off the screen.
    return _OTHER_BLANKS.sub(lambda match: f"<U+{ord(match[0]):04X}>", sanitize(line).replace("\t", "␉"))


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is not JSON")

"""Scans and loads the JSON of tool calls: finds the end of an object as its text arrives, and loads it strictly.

A text is scanned once, piece by piece, and loaded once; nothing is parsed again as the text grows.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

WHITESPACE = " \t\r\n"
"""JSON's own; str.strip() would also take U+00A0 and others, which JSON does not allow between tokens."""
MAX_DEPTH = 100
"""Deeper nesting is no tool's argument, and what walks it later (schemas, json.dumps) recurses."""

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\]')
_CLOSER = {"{": "}", "[": "]"}
_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "null",
}


class BadJsonError(ValueError):
    """What is wrong with a JSON text, worded to follow "the arguments are" or "the call is"."""


class ObjectScanner:
    """Finds the closing brace of one JSON object, whose text must begin with its opening brace."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._in_string = False
        self._escaped = False
        self.broken = False
        """True once brackets do not match or nest too deep: the end can no longer be found."""
        self.too_deep = False

    def feed(self, text: str) -> int | None:
        """The offset in `text` just after the object's closing brace; None where that is not in it."""
        at = 0
        if self._escaped and text:
            at, self._escaped = 1, False
        while match := (_INSIDE if self._in_string else _OUTSIDE).search(text, at):
            at = match.end()
            char = match[0]
            if char == '"':
                self._in_string = not self._in_string
            elif char == "\\":
                self._escaped = at == len(text)
                at += 1
            elif char in _CLOSER:
                self._open.append(_CLOSER[char])
                if len(self._open) > MAX_DEPTH:
                    self.broken = self.too_deep = True
                    return None
            elif not self._open or self._open.pop() != char:
                self.broken = True
                return None
            elif not self._open:
                return at
        return None


def load_object(text: str) -> dict[str, Any]:
    """Load the JSON object in `text`.

    Stricter than json.loads. Refused are NaN and infinities (also by overflow), duplicate keys (it is unknown which one
    was meant), half a surrogate pair (it cannot be encoded again) and nesting deeper than MAX_DEPTH.

    Raises:
        BadJsonError: naming what is wrong, and the position of a syntax error in `text`.
    """
    if nests_too_deep(text):
        raise BadJsonError(f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:].rstrip(": ").removesuffix(" at")
        raise BadJsonError(f"not valid JSON: {reason} at character {error.pos} of {len(text)}") from error
    except BadJsonError:
        raise
    except ValueError as error:
        # Python's own limit on the digits of an integer.
        raise BadJsonError("not valid: a number in it has too many digits") from error
    if not isinstance(value, dict):
        raise BadJsonError(f"{_NAMES[type(value)]}, not an object")
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise BadJsonError("not valid: half of a surrogate pair is not a character") from error
    return value


def nests_too_deep(text: str) -> bool:
    """Whether a JSON text has more than MAX_DEPTH levels: what reads and writes it again elsewhere may not be able to.

    Which depth Python's own loader bears depends on how deep the calls are from which it is called.
    """
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    scanner = ObjectScanner()
    scanner.feed(text)
    return scanner.too_deep


def flaw(text: str) -> str:
    """Why load_object refuses `text`; empty where it does not."""
    try:
        load_object(text)
    except BadJsonError as error:
        return str(error)
    return ""


def kind(value: object) -> str:
    """The type of a loaded JSON value, in words: "a list"."""
    return _NAMES[type(value)]


def _refuse_constant(name: str) -> NoReturn:
    raise BadJsonError(f"not valid JSON: {name} is not a JSON value")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise BadJsonError(f"not valid: the number {digits[:20]} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    loaded = dict(pairs)
    if len(loaded) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise BadJsonError(f"not valid: the key {json.dumps(twice)} is given twice")
    return loaded


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)

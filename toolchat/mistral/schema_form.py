"""Whether a keyword of a JSON Schema is written as it must be, and what of it JSON text in UTF-8 can hold at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

KINDS = ("object", "array", "string", "number", "integer", "boolean", "null")
_LARGEST = 10**6
"""Of a count: more than any call will ever hold, and less than the 32 bits of a backend."""


def well_formed(keyword: str, value: Any) -> bool:
    """Whether a backend may see the keyword with this value: malformed, one would ignore it and another crash."""
    check = _CHECKS.get(keyword)
    return check is None or check(value)


def writable(value: Any) -> bool:
    """Whether a value can stand in a call: half of a surrogate pair is no character, and NaN no JSON."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        return False
    return True


def holdable(value: Any) -> bool:
    """Whether a backend writes a value as what it is: other numbers than these it rounds, or spells with 300 zeros."""
    match value:
        case list():
            return all(map(holdable, value))
        case Mapping():
            return all(map(holdable, value.values()))
    return not is_number(value) or _bound(value)


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_of(value: Any, kinds: Any) -> bool:
    """Whether a value is of this type, or of one of these types; None stands for all types."""
    match value:
        case _ if kinds is None:
            return True
        case bool():
            kind = {"boolean"}
        case None:
            kind = {"null"}
        case int():
            kind = {"integer", "number"}
        case float():
            kind = {"number", "integer"} if value.is_integer() else {"number"}
        case str():
            kind = {"string"}
        case list():
            kind = {"array"}
        case _:
            kind = {"object"}
    return bool(kind & ({kinds} if isinstance(kinds, str) else set(kinds)))


def same(value: Any) -> Any:
    """A key that is equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    match value:
        case list():
            return ("array", tuple(map(same, value)))
        case Mapping():
            return ("object", frozenset((name, same(one)) for name, one in value.items()))
        case _ if is_number(value):
            return ("number", value)
        case _:
            return (type(value).__name__, value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _bound(value: Any) -> bool:
    """A number that 64 bits hold, whole or as a float, and that is not so small that it is all zeros."""
    if not is_number(value) or not writable(value) or abs(value) >= 2**63:
        return False
    return bool(float(value) == value and (value == 0 or abs(value) >= 1e-12))


def _type(value: Any) -> bool:
    if isinstance(value, str):
        return value in KINDS
    return _list(value) and all(isinstance(one, str) and one in KINDS for one in value)


def _list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _named(value: Any) -> bool:
    return isinstance(value, Mapping)


def _schema(value: Any) -> bool:
    return isinstance(value, Mapping | bool)


def _schemas(value: Any) -> bool:
    return _list(value) and all(map(_schema, value))


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "type": _type,
    "enum": _list,
    "const": lambda value: writable(value) and holdable(value),
    "required": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _count),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _bound),
    "multipleOf": lambda value: _bound(value) and value > 0,
    "pattern": lambda value: isinstance(value, str) and writable(value),
    **dict.fromkeys(("properties", "patternProperties", "$defs", "definitions"), _named),
    **dict.fromkeys(("additionalProperties",), _schema),
    "items": lambda value: _schema(value) or (isinstance(value, list) and all(map(_schema, value))),
    **dict.fromkeys(("prefixItems", "anyOf", "allOf", "oneOf"), _schemas),
}

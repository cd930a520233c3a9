"""Lists the JSON Schema keywords that grammars are made from, how each must be written, and which values JSON holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

TYPES = frozenset(["object", "array", "string", "number", "integer", "boolean", "null"])
_LARGEST_COUNT = 10**6
"""Of characters: more than any call holds, and less than the 32 bits of a backend."""
_LARGEST_BOUND = 10**15
"""xgrammar counts integers in 64 bits; of a float, more digits would be rounded."""
_DECIMALS = 6
"""xgrammar writes the bounds of a number to so many decimals."""
_DEEPEST = 64
"""Of a value within values: to look at it recurses."""
_MOST_LOOKED_AT = 64
"""Of alternatives whose types are compared, and of the values of an enum that are."""


def kinds_of(schema: Any, target: Callable[[str], Any]) -> frozenset[str]:
    """The types that values of a schema can have: all of them where it does not say. "number" includes "integer"."""
    found: set[str] = set()
    waiting, seen = [schema], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if len(seen) > _MOST_LOOKED_AT:
            return TYPES
        match part:
            case {"type": kinds} if _type(kinds):
                found |= expanded(kinds)
            case {"const": value}:
                found.add(kind_of(value))
            case {"enum": [*values]}:
                found |= set(map(kind_of, values))
            case {"$ref": reference}:
                waiting.append(target(reference))
            case {"anyOf": [*branches]} | {"oneOf": [*branches]}:
                waiting += branches
            case _:
                return TYPES
    return frozenset(found)


def kind_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case None:
            return "null"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def expanded(kinds: str | Sequence[str]) -> frozenset[str]:
    named = frozenset([kinds] if isinstance(kinds, str) else kinds)
    return named | {"integer"} if "number" in named else named


def is_of(value: Any, kinds: str | Sequence[str] | None) -> bool:
    return kinds is None or kind_of(value) in expanded(kinds)


def scalars(schema: Mapping[str, Any]) -> set[tuple[str, Any]]:
    """The values of an enum or const, where all are scalars; equal as in JSON Schema, where 1 is 1.0 and not true."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if (
        not isinstance(values, list)
        or len(values) > _MOST_LOOKED_AT
        or any(isinstance(value, list | Mapping) for value in values)
    ):
        return set()
    return {(kind_of(value), value) for value in values}


def is_writable(value: Any) -> bool:
    """Whether a value can stand in a call: half of a surrogate pair is no character, and NaN no JSON."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        return False
    return True


def is_exact(value: Any, depth: int = 0) -> bool:
    """Whether backends write a value as what it is: other numbers they round, or spell with 300 zeros."""
    if depth > _DEEPEST:
        return False
    match value:
        case list():
            return all(is_exact(one, depth + 1) for one in value)
        case Mapping():
            return all(is_exact(one, depth + 1) for one in value.values())
        case bool():
            return True
        case int() | float():
            return abs(value) < 2**63 and float(value) == value and (value == 0 or abs(value) >= 1e-12)
    return True


def _type(value: Any) -> bool:
    if isinstance(value, str):
        return value in TYPES
    return is_strings(value) and bool(value) and TYPES.issuperset(value)


def is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT


def _bound(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= _LARGEST_BOUND and round(value, _DECIMALS) == value


def _is_schema(value: Any) -> bool:
    return isinstance(value, Mapping | bool)


def _schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_schema, value))


BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
KEYWORDS: dict[str, Callable[[Any], bool]] = {
    "type": _type,
    "enum": lambda value: isinstance(value, list),
    "const": lambda value: True,
    **dict.fromkeys(("properties",), lambda value: isinstance(value, Mapping)),
    "required": is_strings,
    **dict.fromkeys(("additionalProperties", "additionalItems"), _is_schema),
    "items": lambda value: _is_schema(value) or (isinstance(value, list) and all(map(_is_schema, value))),
    **dict.fromkeys(("prefixItems", "anyOf", "oneOf", "allOf"), _schemas),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _count),
    **dict.fromkeys(BOUNDS, _bound),
    "pattern": lambda value: isinstance(value, str) and is_writable(value),
    "format": lambda value: isinstance(value, str),
    "$ref": lambda value: isinstance(value, str),
}
"""The keywords that grammars are made from, and how each must be written; malformed, a backend may crash on it."""
CHECKED_ONLY = frozenset(
    [
        *("uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"),
        *("minProperties", "maxProperties", "patternProperties", "propertyNames", "multipleOf", "not", "if"),
        *("dependentRequired", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef"),
    ]
)
"""Keywords that a grammar cannot express, or that are too rare to be worth it. All others assert nothing."""
NAMES_MORE = (
    *("additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf"),
    *("not", "if", "then", "else", "$ref", "dependentSchemas"),
)
"""Beside `properties`, these too tell which keys an object may have."""
OF_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
}
SHAPES = set().union(*OF_TYPE.values())
STANDARD_FORMATS = frozenset(
    [
        *("date", "time", "date-time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
        *("uri", "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer"),
        *("relative-json-pointer", "regex"),
    ]
)
"""Any other format is a remark for people ("path", "binary"), and nothing is lost without it."""

"""Reads JSON Schemas for grammars: which keywords count and how each is written, and which values JSON holds.

Also follows references: what they lead to, whether schemas exclude each other, which never end.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from toolchat.mistral.grammar.backend import Node

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
_MOST_BRANCHES = 64
"""Of a `oneOf` whose branches are compared in pairs, and of alternatives whose types are looked at."""

Find = Callable[[Any], Any]
"""What a reference leads to, see `referred`."""


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


def referred(root: Mapping[str, Any], pointer: Any) -> Any:
    """What a pointer such as "#/$defs/x" leads to; None where that is nothing, or not in this document, `root`."""
    if not isinstance(pointer, str) or not re.match(r"#(/|$)", pointer):
        return None
    found: Any = root
    for part in unquote(pointer).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        match found:
            case Mapping() if key in found:
                found = found[key]
            case list() if key.isascii() and key.isdigit() and int(key[:9]) < len(found):
                found = found[int(key[:9])]
            case _:
                return None
    return found


def disjoint(branches: Sequence[Any], find: Find) -> bool:
    """Whether no value fits two of these schemas, plainly: by type, by value, or by what a property must be."""
    followed = [_followed(branch, find) for branch in branches]
    return len(branches) <= _MOST_BRANCHES and all(
        _apart(one, other, find) for one, other in itertools.combinations(followed, 2)
    )


def _apart(one: Any, other: Any, find: Find, *, nested: bool = False) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    kinds, others = kinds_of(one, find), kinds_of(other, find)
    if not kinds & others:
        return True
    values, other_values = scalars(one), scalars(other)
    if values and other_values and not values & other_values:
        return True
    if nested or {"object"} not in (kinds, others):
        # What is no object has no properties, and fits both.
        return False
    required = [part.get("required", []) for part in (one, other)]
    if not all(is_strings(names) and len(names) <= _MOST_BRANCHES for names in required):
        return False
    return any(
        _apart(_followed(_property(one, name), find), _followed(_property(other, name), find), find, nested=True)
        for name in set(required[0]) & set(required[1])
    )


def _followed(schema: Any, find: Find) -> Any:
    """The schema that a reference leads to, over at most a few others."""
    for _ in range(8):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        schema = find(schema["$ref"])
    return schema


def cut_endless(definitions: Mapping[str, Node]) -> bool:
    """Empty references until every value can end: a backend would stop at one that cannot, or never end itself.

    Whether there were any.
    """
    cut = False
    for finite_by in (_leaves_the_schema, _can_end):
        finite: set[str] = set()
        while waiting := [name for name in definitions if name not in finite]:
            before = len(finite)
            for name in reversed(waiting):
                if finite_by(definitions[name], finite):
                    finite.add(name)
            if len(finite) > before:
                continue
            reference = next(
                node
                for name in waiting
                for node in _nodes(definitions[name])
                if "$ref" in node and node["$ref"] not in finite
            )
            # One, and look again: the others may have been waiting for it.
            reference.clear()
            cut = True
    return cut


def _nodes(node: Node) -> Iterator[Node]:
    """A narrowed schema and all schemas in it."""
    waiting: list[Any] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += [*part.get("properties", {}).values(), *part.get("anyOf", ()), *part.get("prefixItems", ())]
            waiting += [part.get("items"), part.get("additionalProperties")]


def _leaves_the_schema(node: Node, finite: set[str]) -> bool:
    """Whether no reference leads back to the same value: who checks a call would go round for ever."""
    if "$ref" in node:
        return node["$ref"] in finite
    return all(_leaves_the_schema(branch, finite) for branch in node.get("anyOf", ()))


def _can_end(node: Node, finite: set[str]) -> bool:
    """Whether a value of this schema can end, as far as those of `finite` can."""
    if "$ref" in node:
        return node["$ref"] in finite
    if "anyOf" in node:
        return any(_can_end(branch, finite) for branch in node["anyOf"])
    least, first = node.get("minItems", 0), node.get("prefixItems", [])
    parts = [*first[:least], *([node["items"]] if least > len(first) and "items" in node else [])]
    parts += [node["properties"][name] for name in node.get("required", ())]
    return all(_can_end(part, finite) for part in parts)


def _property(schema: Mapping[str, Any], name: str) -> Any:
    properties = schema.get("properties")
    return properties.get(name) if isinstance(properties, Mapping) else None

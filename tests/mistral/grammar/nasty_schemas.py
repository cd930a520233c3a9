"""Schemas made at random from what schemas are made of, malformed and contradictory parts among them."""

from __future__ import annotations

import random
from typing import Any

_HALF = "\ud800"
_KEYS = ["a", "b", "", 'a"b', "é", "$ref", _HALF, "a/b", "a~b", "\\", "\n"]
_VALUES = [
    *(0, 1, 1.0, -1, 1.5, -0.0, 2**63, 1e300, 1e-300, 10**20, True, False, None, "a", "", "1", 'é"', _HALF, [], [1]),
    *({}, {"a": 1}, {"a": _HALF}),
]
_PATTERNS = [
    *(
        "^a+$",
        "b",
        "^[a-z]{1,5}$",
        "a^b",
        "^(a|b){0,3}$",
        "(a|b)*a(a|b){3}",
        "\\d",
        "^.{2,4}$",
        "^a|b$",
        "[^a]",
        "(?i)x",
    ),
    *("(", _HALF, "^$", "", "^\\.$", "^[\\]a]$", "^é+$", "^[a-c-]+$", "^[a-z]{1,1000}$", "^(a*)*$", "^a.c$", "^\\s$"),
]
_FORMATS = [
    *("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uri-reference", "uuid"),
    *("regex", "path", {}, 3),
]
_KINDS = ["object", "array", "string", "number", "integer", "boolean", "null"]
_NUMBERS = [0, 1, -1, 2, 3, 0.5, 2.5, -0.5, 1e-9, 10**15, 2**53 + 1, 2**63, -(2**63), 1e300, True, "3", None, 0.1]
_STEPS = [1, 2, 7, 0.5, 0.25, 0.1, 0, -1, 999, 10**6, 1e-9, True]
_COUNTS = [0, 1, 2, 3, 5, 0, 1, 2, -1, 2.0, 10**7, True, "2"]
_REFERENCES = ["#", "#/$defs/a", "#/$defs/b", "#/$defs/zz", "#/properties/v", "http://x/y", 3, "#/$defs/a~1b"]
_BOUNDS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
_OF_KIND = {
    "string": ["pattern", "minLength", "maxLength", "format", "enum", "const"],
    "integer": [*_BOUNDS, "multipleOf", "enum"],
    "number": [*_BOUNDS, "multipleOf", "const"],
    "array": ["items", "prefixItems", "minItems", "maxItems"],
    "object": ["properties", "required", "additionalProperties", "minProperties", "maxProperties", "patternProperties"],
}
_ANY = ["enum", "const", "anyOf", "oneOf", "allOf", "$ref"]
_DEEPEST = 3


def rng_of(seed: object) -> random.Random:
    return random.Random(str(seed))


def nasty_schema(seed: object) -> dict[str, Any]:
    """A tool's schema, with one parameter."""
    rng = rng_of(seed)
    defined = {name: _schema(rng, 1) for name in ("a", "b")}
    return {
        "type": "object",
        "properties": {"v": _schema(rng, 0)},
        "required": ["v"],
        "additionalProperties": False,
        **({"$defs": defined} if rng.random() < 0.5 else {}),
    }


def _schema(rng: random.Random, depth: int) -> Any:
    if rng.random() < 0.05:
        return rng.choice([True, False, {}, [], 3, None])
    found: dict[str, Any] = {}
    if rng.random() < 0.8:
        found["type"] = rng.choice(_KINDS) if rng.random() < 0.9 else rng.choice([[], rng.sample(_KINDS, 2), "any", 5])
    kind = found.get("type")
    own = _OF_KIND.get(kind, _ANY) if isinstance(kind, str) else _ANY
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3])):
        keyword = rng.choice(
            own if rng.random() < 0.85 else [*_ANY, "description", "not", "pattern", "required", "$defs"]
        )
        found[keyword] = _value(rng, keyword, depth)
    return found


def _value(rng: random.Random, keyword: str, depth: int) -> Any:
    def part() -> Any:
        return _schema(rng, depth + 1) if depth < _DEEPEST else True

    match keyword:
        case "enum":
            return rng.choice([rng.choices(_VALUES, k=rng.randint(1, 3)), rng.choices(_VALUES, k=2), [], "a"])
        case "const":
            return rng.choice(_VALUES)
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return rng.choice(_NUMBERS)
        case "multipleOf":
            return rng.choice(_STEPS)
        case "pattern":
            return rng.choice(_PATTERNS)
        case "format":
            return rng.choice(_FORMATS)
        case "properties" | "$defs":
            return {rng.choice(_KEYS): part() for _ in range(rng.randint(0, 3))}
        case "patternProperties":
            return {rng.choice(_PATTERNS): part() for _ in range(rng.randint(0, 2))}
        case "required":
            return rng.choice([rng.sample(_KEYS, rng.randint(0, 2)), ["a"], "a", [1]])
        case "items" | "additionalProperties" | "not":
            return rng.choice([part(), False, True])
        case "anyOf" | "oneOf" | "allOf" | "prefixItems":
            return [part() for _ in range(rng.randint(0, 3))]
        case "$ref":
            return rng.choice(_REFERENCES)
        case "description":
            return _HALF
    return rng.choice(_COUNTS)

"""The part of a JSON Schema that a grammar really holds a model to, and the keywords that are left out of it.

What is left out is never lost: the call is checked afterwards, by the tool's own checker. What each backend holds to
was found by trying (llguidance 1.7.6, xgrammar 0.2.8), and tests keep it true.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]
LeaveOut = Callable[[str], None]

_NEVER = (
    *("uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems", "unevaluatedProperties"),
    *("propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "not", "if", "$dynamicRef"),
)
"""Keywords that neither backend implements; xgrammar does not even say so."""
_KEPT = (
    *("type", "enum", "const", "required", "minLength", "maxLength", "pattern", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "minProperties", "maxProperties"),
)
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_STANDARD_FORMATS = frozenset(
    [
        *("date", "time", "date-time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
        *("uri", "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer"),
        *("relative-json-pointer", "regex"),
    ]
)
"""Any other format is a remark for people ("path", "binary"), and nothing is lost without it."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What a backend can hold a model to."""

    formats: frozenset[str]
    narrow: Callable[[Node, LeaveOut], Node]
    """Takes from one schema, whose parts are already narrowed, what the backend gets wrong; names what is lost."""
    valid: Callable[[Node], bool]
    """Whether the backend takes a whole schema."""


@dataclass(frozen=True, slots=True)
class Subset:
    schema: Node
    left_out: tuple[str, ...]
    """The keywords that `schema` lacks, each once, in the order in which they stand."""


def subset(schema: Mapping[str, Any], backend: Backend, *, base: str = "#") -> Subset:
    """The tightest part of `schema` that `backend` holds a model to.

    `base` is where `schema` will stand in a larger document: references into it are moved there. A part that the
    backend refuses for a reason of its own (a look-around in a pattern) is found by trying: that parameter is left out.
    """
    walker = _Walker(backend, "#")
    found = walker.node(schema)
    left_out = list(walker.left_out)
    if not backend.valid(found):
        properties = dict(found.get("properties", {}))
        for name, part in properties.items():
            if not backend.valid({**found, "properties": {name: part}, "required": []}):
                properties[name] = {}
                left_out.append(f"the schema of {name}")
        found = {**found, "properties": properties}
        if not backend.valid(found):
            found = {"type": found["type"]} if "type" in found else {}
            left_out = ["the whole schema"]
    return Subset(found if base == "#" else _Walker(backend, base).node(found), tuple(left_out))


class _Walker:
    """One walk over a schema."""

    def __init__(self, backend: Backend, base: str) -> None:
        self._backend = backend
        self._base = base
        self.left_out: dict[str, None] = {}

    def schema(self, schema: Any) -> Node | bool:
        if isinstance(schema, Mapping):
            return self.node(schema)
        return schema if isinstance(schema, bool) else True

    def node(self, schema: Mapping[str, Any]) -> Node:
        found: Node = {}
        for keyword, value in schema.items():
            if keyword in _NEVER:
                if (keyword, value) != ("uniqueItems", False):
                    self._leave_out(keyword)
            elif keyword in _KEPT:
                found[keyword] = value
            elif keyword in _NAMED and isinstance(value, Mapping):
                found[keyword] = {name: self.schema(part) for name, part in value.items()}
            else:
                self._keyword(found, keyword, value, schema)
        self._require(found)
        return self._backend.narrow(found, self._leave_out)

    def _keyword(self, found: Node, keyword: str, value: Any, schema: Mapping[str, Any]) -> None:
        """A keyword that is rewritten; unknown ones mean nothing and are dropped."""
        match keyword:
            case "items" if isinstance(value, list):
                # How draft 7 writes prefixItems.
                found["prefixItems"] = [self.schema(part) for part in value]
                found["items"] = self.schema(schema.get("additionalItems", True))
            case "items" | "additionalProperties":
                found[keyword] = self.schema(value)
            case "prefixItems" | "anyOf" | "allOf" if isinstance(value, list):
                found[keyword] = [self.schema(part) for part in value]
            case "oneOf" if isinstance(value, list):
                if "anyOf" in schema:
                    self._leave_out("oneOf")
                    return
                found["anyOf"] = [self.schema(part) for part in value]
                if not disjoint(value):
                    self._leave_out("oneOf")
            case "$ref" if isinstance(value, str) and (value == "#" or value.startswith("#/")):
                found["$ref"] = self._base + value[1:]
            case "$ref":
                self._leave_out("$ref")
            case "format" if value in self._backend.formats:
                found["format"] = value
            case "format" if value in _STANDARD_FORMATS:
                self._leave_out(f"format {value}")

    def _require(self, found: Node) -> None:
        """Give every required key a schema: a backend may forget one that has none."""
        required = found.get("required")
        if not isinstance(required, list):
            return
        properties = found.setdefault("properties", {}) if required else found.get("properties", {})
        for name in [name for name in required if name not in properties]:
            if found.get("additionalProperties", True) is False:
                self._leave_out("required")
                found["required"] = [one for one in found["required"] if one != name]
            else:
                properties[name] = found.get("additionalProperties", True)

    def _leave_out(self, keyword: str) -> None:
        self.left_out[keyword] = None


def disjoint(branches: Sequence[Any]) -> bool:
    """Whether it is plain that no value fits two of these schemas: by their types, or by what one property must be."""
    return all(_apart(one, other) for one, other in itertools.combinations(branches, 2))


def _apart(one: Any, other: Any) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    kinds, others = _kinds(one), _kinds(other)
    if kinds and others and not kinds & others:
        return True
    values, other_values = _values(one), _values(other)
    if values and other_values and not values & other_values:
        return True
    if {"object"} not in (kinds, others):
        # What is no object has no properties, and fits both.
        return False
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    return any(_apart(_property(one, name), _property(other, name)) for name in shared)


def _property(schema: Mapping[str, Any], name: str) -> Any:
    return schema.get("properties", {}).get(name)


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    kinds = schema.get("type", ())
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    # A whole number is a number too.
    return found | {"number"} if "integer" in found else found


def _values(schema: Mapping[str, Any]) -> set[str]:
    if "const" in schema:
        return {repr(schema["const"])}
    values = schema.get("enum", ())
    return {repr(value) for value in values}

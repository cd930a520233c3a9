"""The part of a JSON Schema that a grammar really holds a model to, and the keywords that are left out of it.

What is left out is never lost: the call is checked afterwards, by the tool's own checker. What each backend holds to
was found by trying (llguidance 1.7.6, xgrammar 0.2.8), and tests keep it true.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolchat.mistral.pattern_cost import pattern_cost
from toolchat.mistral.schema_form import holdable, same, well_formed, writable
from toolchat.mistral.schema_possible import made_possible, nodes

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
_POINTER = re.compile(r"#(/[^~%]*)?")
"""A reference within the schema, without what JSON pointers escape."""
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_STANDARD_FORMATS = frozenset(
    [
        *("date", "time", "date-time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
        *("uri", "uri-reference", "iri", "iri-reference", "uuid", "uri-template", "json-pointer"),
        *("relative-json-pointer", "regex"),
    ]
)
"""Any other format is a remark for people ("path", "binary"), and nothing is lost without it."""


_DEEPEST = 64
"""Levels of schemas within schemas: a tool's are a handful, and all that walks them recurses."""
_MOST_ITEMS = 2_000
"""llguidance has a symbol for each item, takes seconds for many, and has 65,535 in all."""
_PATTERN = 250
"""What one pattern may cost: about 0.5 s at the worst, on xgrammar."""


@dataclass(frozen=True, slots=True)
class Backend:
    """What a backend can hold a model to."""

    formats: frozenset[str]
    narrow: Callable[[Node, LeaveOut], Node]
    """Takes from one schema, whose parts are already narrowed, what the backend gets wrong; names what is lost."""
    valid: Callable[[Node], bool]
    """Whether the backend takes a whole schema."""
    spells_out: bool
    """Whether it writes out how often one character of a pattern may come."""


@dataclass(slots=True)
class Budget:
    """What all schemas of one grammar may cost the backend together, in the unit of pattern_cost."""

    left: int = 1_000

    def spend(self, cost: int) -> bool:
        """Take `cost` from what is left, if there is as much."""
        affordable = cost <= self.left
        self.left -= cost * affordable
        return affordable


@dataclass(frozen=True, slots=True)
class Subset:
    schema: Node
    left_out: tuple[str, ...]
    """The keywords that `schema` lacks, each once, in the order in which they stand."""


def subset(schema: Mapping[str, Any], backend: Backend, *, base: str = "#", budget: Budget | None = None) -> Subset:
    """The tightest part of `schema` that `backend` holds a model to, within the budget, and that some value fits.

    `base` is where `schema` will stand in a larger document: references into it are moved there. A part that the
    backend refuses for a reason of its own (a look-around in a pattern) is found by trying: that parameter is left out.
    """
    walker = _Walker(backend, budget or Budget())
    found = walker.node(schema)
    made_possible(found, walker.leave_out)
    left_out = list(walker.left_out)
    if not backend.valid(found):
        properties = dict(found.get("properties", {}))
        for name, part in properties.items():
            # Required, because what no value fits is an error there only.
            if not backend.valid({**found, "properties": {name: part}, "required": [name]}):
                properties[name] = {}
                left_out.append(f"the schema of {name}")
        found = {**found, "properties": properties}
        if not backend.valid(found):
            found = {"type": found["type"]} if "type" in found else {}
            left_out = ["the whole schema"]
    for node in nodes(found):
        if "$ref" in node:
            node["$ref"] = base + node["$ref"][1:]
    return Subset(found, tuple(left_out))


class _Walker:
    """One walk over a schema."""

    def __init__(self, backend: Backend, budget: Budget) -> None:
        self._backend = backend
        self._budget = budget
        self._depth = 0
        self.left_out: dict[str, None] = {}

    def schema(self, schema: Any) -> Node | bool:
        if isinstance(schema, Mapping):
            return self.node(schema)
        if isinstance(schema, bool):
            return schema
        self.leave_out("what is no schema")
        return True

    def node(self, schema: Mapping[str, Any]) -> Node:
        if self._depth > _DEEPEST:
            self.leave_out(f"what is nested deeper than {_DEEPEST}")
            return {}
        self._depth += 1
        found: Node = {}
        for keyword, value in schema.items():
            if keyword in _NEVER:
                if (keyword, value) != ("uniqueItems", False):
                    self.leave_out(keyword)
            elif not well_formed(keyword, value) or self._too_costly(keyword, value):
                self.leave_out(keyword)
            elif keyword in _KEPT:
                found[keyword] = value
            elif keyword in _NAMED:
                found[keyword] = {name: self.schema(part) for name, part in value.items() if writable(name)}
            else:
                self._keyword(found, keyword, value, schema)
        self._encode(found)
        self._require(found)
        self._depth -= 1
        found = self._backend.narrow(found, self.leave_out)
        self._spend(found)
        return found

    def _encode(self, found: Node) -> None:
        """Leave out what cannot be written: nothing is lost of a choice, since no call can have made it."""
        if "enum" in found:
            found["enum"] = [value for value in found["enum"] if writable(value)]
            if not found["enum"] or not holdable(found["enum"]):
                self._drop(found, "enum")
        if not all(map(writable, found.get("required", ()))):
            self._drop(found, "required")

    def _too_costly(self, keyword: str, value: Any) -> bool:
        match keyword:
            case "minItems" | "maxItems":
                return bool(value > _MOST_ITEMS)
            case "pattern":
                return self._cost(value) > _PATTERN
            case "patternProperties":
                return any(not writable(name) or self._cost(name) > _PATTERN for name in value)
        return False

    def _spend(self, found: Node) -> None:
        """Pay for what the backend will see of a schema, or leave it out."""
        counted = len(found.get("properties", ())) if self._backend.spells_out else 0
        costs = {
            "pattern": self._cost(found["pattern"]) if "pattern" in found else 0,
            "patternProperties": sum(map(self._cost, found.get("patternProperties", ()))),
            "minItems": found.get("minItems", 0) // 20,
            "maxItems": found.get("maxItems", 0) // 20,
            "minProperties": counted * found.get("minProperties", 0) // 20,
            "maxProperties": counted * found.get("maxProperties", 0) // 20,
        }
        for keyword, cost in costs.items():
            if keyword in found and not self._budget.spend(cost):
                self._drop(found, keyword)

    def _cost(self, pattern: str) -> int:
        return pattern_cost(pattern, spells_out=self._backend.spells_out)

    def _drop(self, found: Node, keyword: str) -> None:
        del found[keyword]
        self.leave_out(keyword)

    def _keyword(self, found: Node, keyword: str, value: Any, schema: Mapping[str, Any]) -> None:
        """A keyword that is rewritten; unknown ones mean nothing and are dropped."""
        match keyword:
            case "items" if isinstance(value, list) and not value:
                found["items"] = self.schema(schema.get("additionalItems", True))
            case "items" if isinstance(value, list):
                # How draft 7 writes prefixItems.
                found["prefixItems"] = [self.schema(part) for part in value]
                found["items"] = self.schema(schema.get("additionalItems", True))
            case "items" | "additionalProperties":
                found[keyword] = self.schema(value)
            case "prefixItems" | "anyOf" | "allOf":
                found[keyword] = [self.schema(part) for part in value]
            case "oneOf":
                if "anyOf" in schema:
                    self.leave_out("oneOf")
                    return
                found["anyOf"] = [self.schema(part) for part in value]
                if not disjoint(value):
                    self.leave_out("oneOf")
            case "$ref" if isinstance(value, str) and _POINTER.fullmatch(value) and writable(value):
                found["$ref"] = value
            case "$ref":
                self.leave_out("$ref")
            case "format" if isinstance(value, str) and value in self._backend.formats:
                found["format"] = value
            case "format" if isinstance(value, str) and value in _STANDARD_FORMATS:
                self.leave_out(f"format {value}")

    def _require(self, found: Node) -> None:
        """Give every required key a schema: a backend may forget one that has none."""
        if not (required := found.get("required")):
            return
        properties = found.setdefault("properties", {})
        if forbidden := [name for name in required if properties.get(name) is False]:
            self.leave_out("required")
            required = found["required"] = [name for name in required if name not in forbidden]
        for name in [name for name in required if name not in properties]:
            if found.get("additionalProperties", True) is False:
                self.leave_out("required")
                found["required"] = [one for one in found["required"] if one != name]
            else:
                properties[name] = found.get("additionalProperties", True)

    def leave_out(self, keyword: str) -> None:
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
    if not (well_formed("required", one.get("required", [])) and well_formed("required", other.get("required", []))):
        return False
    shared = set(one.get("required", ())) & set(other.get("required", ()))
    return any(_apart(_property(one, name), _property(other, name)) for name in shared)


def _property(schema: Mapping[str, Any], name: str) -> Any:
    properties = schema.get("properties")
    return properties.get(name) if isinstance(properties, Mapping) else None


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    kinds = schema.get("type")
    if not well_formed("type", kinds):
        return set()
    found = {kinds} if isinstance(kinds, str) else set(kinds or ())
    # A whole number is a number too.
    return found | {"number"} if "integer" in found else found


def _values(schema: Mapping[str, Any]) -> set[Any]:
    if "const" in schema:
        return {same(schema["const"])}
    values = schema.get("enum")
    return set(map(same, values)) if isinstance(values, list) else set()

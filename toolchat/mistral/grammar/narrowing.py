"""Narrows a JSON Schema to what a grammar backend enforces exactly, and names every keyword that it leaves out.

One walk writes the schema anew, in a few forms that mean the same to every backend: any value, one of some values, a
reference, alternatives, or one type with that type's bounds. What is left out is not lost: the tool's own checker
checks the call afterwards. What backends enforce was found by letting random bytes through their grammars (llguidance
1.7.6, xgrammar 0.2.8); tests do it again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from toolchat.mistral.grammar.backend import Backend, Budget, Node
from toolchat.mistral.grammar.pattern_cost import pattern_cost
from toolchat.mistral.grammar.schema_reader import (
    BOUNDS,
    CHECKED_ONLY,
    KEYWORDS,
    NAMES_MORE,
    OF_TYPE,
    SHAPES,
    STANDARD_FORMATS,
    cut_endless,
    disjoint,
    expanded,
    is_exact,
    is_of,
    is_writable,
    kinds_of,
    referred,
)

_DEEPEST = 64
"""Levels of schemas within schemas: a tool's are a handful, and this walk recurses."""
_MOST_ITEMS = 2_000
"""llguidance has a symbol for each item, takes seconds for many, and has 65,535 in all."""
_MOST_DEFINITIONS = 500
"""Of a schema: references are followed to and fro."""
PATTERN_LIMIT = 250
"""What one pattern may cost: about 0.5 s at the worst, on xgrammar."""
_LETTER = 0.02
"""Milliseconds that pattern_cost takes for a letter."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    schema: Node
    left_out: tuple[str, ...]
    """The keywords that `schema` lacks, each once, in the order in which they were met."""


def narrowed(
    schema: Mapping[str, Any],
    backend: Backend,
    *,
    arguments: bool = True,
    base: str = "#",
    budget: Budget | None = None,
) -> Narrowed:
    """The part of `schema` that `backend` enforces, within the budget; some value always fits it.

    An object that names its properties takes no others, unless it says what else it takes or is put together from
    several schemas: `additionalProperties` would see its own part only.

    Args:
        schema: any JSON value that was sent as a schema.
        arguments: whether it is a tool's: the value is then an object, and takes no arguments where none are named.
        base: where the result will stand in a larger document; its references begin there.
        budget: shared by all schemas of one grammar.
    """
    budget = budget or Budget()
    nothing: Node = {"type": "object"} if arguments else {}
    before = budget.left
    walk = _Walk({**schema, "type": "object"} if arguments else schema, backend, budget)
    node = walk.document(arguments=arguments)
    if node is None:
        budget.left = before
        return Narrowed(nothing, ("the whole schema",))
    if not backend.valid(node):
        # Because of one parameter, for a reason of the backend's own (a look-around in a pattern).
        if "properties" not in node or not budget.spend(len(node["properties"]) * (before - budget.left)):
            return Narrowed(nothing, ("the whole schema",))
        properties = dict(node["properties"])
        for name, part in properties.items():
            # Required: a property that no value fits is an error only then.
            if not backend.valid({**node, "properties": {name: part}, "required": [name]}):
                properties[name] = {}
                walk.leave_out(f"the schema of {name}")
        node = {**node, "properties": properties}
        if not backend.valid(node):
            return Narrowed(nothing, ("the whole schema",))
    kinds = schema.get("type", "object")
    if arguments and not (kinds == "object" or (isinstance(kinds, list) and "object" in kinds)):
        walk.leave_out("type")
    walk.move(base)
    return Narrowed(node, tuple(walk.left_out))


class _Walk:
    """One walk over a schema, and the definitions that its references lead to."""

    def __init__(self, root: Mapping[str, Any], backend: Backend, budget: Budget) -> None:
        self._root = root
        self._backend = backend
        self._budget = budget
        self._costs = backend.costs
        self._too_large = False
        self._depth = 0
        self._pointers: dict[int, str] = {}
        self._targets: list[Mapping[str, Any]] = []
        self._references: list[Node] = []
        self.left_out: dict[str, None] = {}

    def leave_out(self, *keywords: str) -> None:
        self.left_out.update(dict.fromkeys(keywords))

    def document(self, *, arguments: bool) -> Node | None:
        """The whole schema, with its definitions; None where nothing of it can be kept."""
        node = self._mapping(self._root, closed=arguments)
        definitions: dict[str, Node] = {}
        for target in self._targets:
            # The list grows meanwhile.
            definitions[self._pointers[id(target)]] = self._mapping(target)
        if self._too_large:
            return None
        if cut_endless(definitions):
            self.leave_out("$ref")
        if arguments and kinds_of(node, definitions.get) != {"object"}:
            return None
        if definitions:
            node = {**node, "$defs": {pointer.rpartition("/")[2]: one for pointer, one in definitions.items()}}
        return node

    def move(self, base: str) -> None:
        """Have the references of the document lead to where it will stand in a larger one."""
        for reference in self._references:
            if reference:
                reference["$ref"] = base + reference["$ref"][1:]

    def _schema(self, schema: Any) -> Node | Literal[False]:
        """The schema anew; False where no value fits."""
        match schema:
            case Mapping():
                return self._mapping(schema)
            case bool():
                return {} if schema else False
        self.leave_out("what is no schema")
        return {}

    def _mapping(self, schema: Mapping[str, Any], *, closed: bool = False) -> Node:
        """`closed` where an object takes no properties even if none are named."""
        if self._depth > _DEEPEST:
            self.leave_out(f"what is nested deeper than {_DEEPEST}")
            return {}
        if self._too_large or not self._budget.spend(self._costs.schema):
            self._too_large = True
            return {}
        keywords: Node = {}
        for keyword, value in schema.items():
            if keyword in CHECKED_ONLY or (keyword == "$id" and schema is not self._root):
                if (keyword, value) != ("uniqueItems", False):
                    self.leave_out(keyword)
            elif keyword in KEYWORDS:
                if KEYWORDS[keyword](value):
                    keywords[keyword] = value
                else:
                    self.leave_out(keyword)
        if "patternProperties" in schema:
            # It allows keys that this would forbid.
            keywords.pop("additionalProperties", None)
        if "properties" in keywords and not any(keyword in schema for keyword in NAMES_MORE):
            closed = True
        elif closed:
            closed = not any(keyword in schema for keyword in ("properties", *NAMES_MORE))
        self._depth += 1
        node = self._values(keywords)
        if node is None:
            node = self._combined(keywords)
        if node is None:
            node = self._typed(keywords, closed=closed)
        self._depth -= 1
        return node

    def _values(self, keywords: Node) -> Node | None:
        for keyword in ("const", "enum"):
            if keyword not in keywords:
                continue
            values = [keywords["const"]] if keyword == "const" else keywords["enum"]
            # No call can hold half of a surrogate pair: nothing is lost without it.
            values = [value for value in values if is_writable(value) and is_of(value, keywords.get("type"))]
            if not values or not all(map(is_exact, values)) or not self._affordable(values):
                self.leave_out(keyword)
                del keywords[keyword]
                continue
            self.leave_out(*(other for other in keywords if other not in (keyword, "type")))
            return {"enum": values}
        return None

    def _affordable(self, values: Sequence[Any]) -> bool:
        return self._budget.spend(self._costs.letter * sum(len(json.dumps(value)) for value in values))

    def _combined(self, keywords: Node) -> Node | None:
        """A reference or alternatives, unless a type of its own says more."""
        combining = [keyword for keyword in ("$ref", "allOf", "anyOf", "oneOf") if keyword in keywords]
        for keyword in combining[:1]:
            value = keywords[keyword]
            parts = [{"$ref": value}] if keyword == "$ref" else value
            # A type beside them says nothing where they have it themselves.
            alone = "type" not in keywords or all(
                kinds_of(part, self._target) <= expanded(keywords["type"]) for part in parts
            )
            if len(combining) > 1 or keywords.keys() & SHAPES or not alone or (keyword == "allOf" and len(parts) > 1):
                break
            self.leave_out(*(other for other in keywords if other not in (keyword, "type")))
            if keyword == "$ref":
                return self._reference(value)
            return self._alternatives(keyword, parts)
        for keyword in combining:
            self.leave_out(keyword)
            del keywords[keyword]
        return None

    def _reference(self, pointer: str) -> Node:
        target = self._target(pointer)
        if not isinstance(target, Mapping):
            if target is not True:
                self.leave_out("$ref")
            return {}
        if id(target) not in self._pointers:
            self._too_large = self._too_large or len(self._pointers) >= _MOST_DEFINITIONS
            # Not its own name: xgrammar makes names of rules from it, where a-b and a_b are one.
            self._pointers[id(target)] = f"#/$defs/d{len(self._pointers)}"
            self._targets.append(target)
        reference = {"$ref": self._pointers[id(target)]}
        self._references.append(reference)
        return reference

    def _target(self, pointer: Any) -> Any:
        return referred(self._root, pointer)

    def _alternatives(self, keyword: str, branches: Sequence[Any]) -> Node:
        nodes = [node for branch in branches if (node := self._schema(branch)) is not False]
        if not nodes or (keyword == "oneOf" and (self._too_large or not disjoint(branches, self._target))):
            self.leave_out(keyword)
        return {"anyOf": nodes} if len(nodes) > 1 else nodes[0] if nodes else {}

    def _typed(self, keywords: Node, *, closed: bool) -> Node:
        if "type" not in keywords:
            implied = [kind for kind in ("object", "array") if keywords.keys() & OF_TYPE[kind]]
            if len(implied) != 1:
                self.leave_out(*keywords)
                return {}
            keywords = {"type": implied[0], **keywords}
        kinds = [keywords["type"]] if isinstance(keywords["type"], str) else list(dict.fromkeys(keywords["type"]))
        if "number" in kinds:
            kinds = [kind for kind in kinds if kind != "integer"]
        nodes = [self._of_type(kind, keywords, closed=closed) for kind in kinds]
        return nodes[0] if len(nodes) == 1 else {"anyOf": nodes}

    def _of_type(self, kind: str, keywords: Node, *, closed: bool) -> Node:
        match kind:
            case "object":
                return self._object(keywords, closed=closed)
            case "array":
                return self._array(keywords)
            case "string":
                return self._string(keywords)
            case "number" | "integer":
                return self._number(kind, keywords)
        return {"type": kind}

    def _object(self, keywords: Node, *, closed: bool) -> Node:
        if not self._budget.spend(self._costs.schema * len(keywords.get("required", ()))):
            self.leave_out("required", *(["properties"] if "properties" in keywords else []))
            return {"type": "object"}
        others = False if closed else self._schema(keywords.get("additionalProperties", True))
        properties: dict[str, Node] = {}
        forbidden = set()
        for name, part in keywords.get("properties", {}).items():
            if not is_writable(name):
                continue
            node = self._schema(part)
            if node is False:
                forbidden.add(name)
                if others is not False:
                    self.leave_out("false")
            elif others is not False and json.dumps(name, ensure_ascii=False) != f'"{name}"':
                # Among the keys that are none of these xgrammar would write escapes that JSON lacks.
                self.leave_out("properties")
            else:
                properties[name] = node
        required = []
        for name in dict.fromkeys(keywords.get("required", ())):
            if name in forbidden or not is_writable(name) or (others is False and name not in properties):
                self.leave_out("required")
            elif name in properties:
                required.append(name)
            elif json.dumps(name, ensure_ascii=False) != f'"{name}"':
                self.leave_out("required")
            else:
                # A backend may forget one that has no schema.
                properties[name] = others if isinstance(others, dict) else {}
                required.append(name)
        cost = self._costs.optional * (len(properties) - len(required)) ** 2
        cost += self._costs.open * len(properties) * (others is not False)
        if not self._budget.spend(cost):
            self.leave_out("properties")
            return {"type": "object"}
        node = {"type": "object"}
        node |= {"properties": properties} if properties or others is False else {}
        node |= {"required": required} if required else {}
        return node | ({} if others == {} else {"additionalProperties": others})

    def _array(self, keywords: Node) -> Node:
        first, items = keywords.get("prefixItems", []), keywords.get("items", True)
        if isinstance(items, list):
            # How draft 7 writes prefixItems.
            self.leave_out(*(["prefixItems"] if first else []))
            first, items = items, keywords.get("additionalItems", True)
        rest = self._schema(items)
        prefix: list[Node] = []
        for part in first:
            item = self._schema(part)
            if item is False:
                # The list ends before it.
                rest = False
                break
            prefix.append(item)
        bounds = {key: keywords[key] for key in ("minItems", "maxItems") if key in keywords}
        for key, count in [*bounds.items()]:
            if count > _MOST_ITEMS or not self._budget.spend(count * self._costs.items):
                self.leave_out(key)
                del bounds[key]
        if bounds.get("minItems", 0) > bounds.get("maxItems", math.inf):
            self.leave_out(*bounds)
            bounds = {}
        if rest is False and bounds.get("minItems", 0) > len(prefix):
            self.leave_out("minItems")
            del bounds["minItems"]
        node: Node = {"type": "array"}
        node |= {"prefixItems": prefix} if prefix else {}
        return node | ({} if rest == {} else {"items": rest}) | bounds

    def _string(self, keywords: Node) -> Node:
        node: Node = {}
        if "format" in keywords:
            name = keywords["format"]
            if name in self._backend.formats and self._budget.spend(self._costs.format):
                node = dict(self._backend.formats[name])
            elif name in STANDARD_FORMATS or name in self._backend.formats:
                self.leave_out(f"format {name}")
        if "pattern" in keywords:
            pattern = keywords["pattern"]
            if not self._holds_pattern(pattern):
                self.leave_out("pattern")
            elif node and not self._backend.combines:
                self.leave_out("format")
                node = {"pattern": pattern}
            else:
                node["pattern"] = pattern
        lengths: Node = {key: keywords[key] for key in ("minLength", "maxLength") if key in keywords}
        if (
            (node and not self._backend.combines)
            or lengths.get("minLength", 0) > lengths.get("maxLength", math.inf)
            or (lengths and not self._budget.spend(self._costs.lengths))
        ):
            self.leave_out(*lengths)
            lengths = {}
        return {"type": "string", **node, **lengths}

    def _holds_pattern(self, pattern: str) -> bool:
        # To look at it costs time, too.
        if not self._budget.spend(len(pattern) * _LETTER) or not self._backend.pattern.fullmatch(pattern):
            return False
        cost = pattern_cost(pattern, spells_out=self._backend.spells_out)
        return cost <= PATTERN_LIMIT and self._budget.spend(cost * self._costs.pattern)

    def _number(self, kind: str, keywords: Node) -> Node:
        whole = kind == "integer"
        given = [key for key in BOUNDS if key in keywords]
        low: tuple[float, bool] = max(
            ((keywords[key], key != "minimum") for key in given if key in ("minimum", "exclusiveMinimum")),
            default=(-math.inf, False),
        )
        high: tuple[float, bool] = min(
            ((keywords[key], key == "maximum") for key in given if key in ("maximum", "exclusiveMaximum")),
            default=(math.inf, True),
        )
        (least, open_low), (most, closed_high) = low, high
        open_high = not closed_high
        if whole:
            # More than 2.5 is 3 and more.
            least = least if math.isinf(least) else math.floor(least) + 1 if open_low else math.ceil(least)
            most = most if math.isinf(most) else math.ceil(most) - 1 if open_high else math.floor(most)
            open_low = open_high = False
        impossible = least > most or (least == most and (open_low or open_high))
        if impossible or (given and not self._budget.spend(self._costs.bounds)):
            self.leave_out(*given)
            return {"type": kind}
        if most - least < 1 and (open_low or open_high):
            # llguidance would write an exclusive bound that is whole where the other one is that near.
            self.leave_out(
                *(key for key in given if key.startswith("exclusive") and keywords[key] == round(keywords[key]))
            )
            open_low, open_high = open_low and least != round(least), open_high and most != round(most)
        node: Node = {"type": kind}
        if not math.isinf(least):
            node["exclusiveMinimum" if open_low else "minimum"] = least
        if not math.isinf(most):
            node["exclusiveMaximum" if open_high else "maximum"] = most
        return node

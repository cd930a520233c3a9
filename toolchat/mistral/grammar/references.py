"""Follows the references of a JSON Schema: what they lead to, whether schemas exclude each other, which never end."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from toolchat.mistral.grammar.backend import Node
from toolchat.mistral.grammar.keywords import is_strings, kinds_of, scalars

_MOST_BRANCHES = 64
"""Of a `oneOf` whose branches are compared in pairs, and of alternatives whose types are looked at."""

Find = Callable[[Any], Any]
"""What a reference leads to, see `referred`."""


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

"""Schemas that no value fits, made such that one does: under them a model could never end a call.

Told after the backend's narrowing, of a schema that holds well-formed keywords only. A call under what is left will be
refused when it is checked, and the model told why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from toolchat.mistral.schema_form import KINDS, is_number, is_of

Node = dict[str, Any]

_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_SINGLE = ("items", "additionalProperties")
_LISTED = ("prefixItems", "anyOf", "allOf")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def made_possible(root: Node, leave_out: Callable[[str], None]) -> None:
    """Takes from the schemas in `root`, in place, the keywords that no value fits; names them.

    So go references to nothing, too, and those that lead only to themselves (a backend stops there, or never ends).
    """
    for node in nodes(root):
        if "$ref" in node and resolved(root, node["$ref"]) is None:
            del node["$ref"]
            leave_out("$ref")
        _mend(node, leave_out)
    for node in nodes(root):
        if "$ref" in node and _circular(root, node):
            del node["$ref"]
            leave_out("$ref")
    while endless := _endless(root):
        # One, and look again: the others may have been waiting for it.
        del endless["$ref"]
        leave_out("$ref")


def nodes(schema: Any) -> Iterator[Node]:
    """All schemas in a schema that are objects, itself among them."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        yield node
        for key in _NAMED:
            waiting += node.get(key, {}).values()
        waiting += [node[key] for key in _SINGLE if key in node]
        for key in _LISTED:
            waiting += node.get(key, ())


def resolved(root: Node, reference: str) -> Node | bool | None:
    """The schema that "#" or "#/$defs/x" points to; None where there is none."""
    found: Any = root
    for part in reference.split("/")[1:]:
        match found:
            case Mapping() if part in found:
                found = found[part]
            case list() if part.isascii() and part.isdigit() and int(part[:9]) < len(found):
                found = found[int(part[:9])]
            case _:
                return None
    return found if isinstance(found, dict | bool) else None


def only_objects(root: Node, part: Node | bool | None) -> bool:
    """Whether it is plain that nothing but an object fits `part`, a schema in `root`."""
    seen: list[int] = []
    while isinstance(part, dict) and "type" not in part and "$ref" in part and id(part) not in seen:
        seen.append(id(part))
        part = resolved(root, part["$ref"])
    if not isinstance(part, dict):
        return False
    if part.get("type") == "object":
        return True
    values = [part["const"]] if "const" in part else part.get("enum", ())
    if values:
        return all(isinstance(value, Mapping) for value in values)
    return bool(part.get("anyOf")) and all(
        isinstance(branch, dict) and branch.get("type") == "object" for branch in part["anyOf"]
    )


def _circular(root: Node, node: Node) -> bool:
    """Whether its reference leads back to it and to the same value: who checks a call then goes round for ever."""
    waiting: list[Any] = [resolved(root, node["$ref"])]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        if part is node:
            return True
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        waiting += [resolved(root, part["$ref"])] if "$ref" in part else []
        waiting += [*part.get("anyOf", ()), *part.get("allOf", ())]
    return False


def _mend(node: Node, leave_out: Callable[[str], None]) -> None:
    def drop(*keys: str) -> None:
        for key in keys:
            if key in node:
                del node[key]
                leave_out(key)

    kinds = node.get("type")
    if "const" in node and not is_of(node["const"], kinds):
        drop("const")
    if "enum" in node and not any(is_of(value, kinds) for value in node["enum"]):
        drop("enum")
    if "anyOf" in node:
        # What nothing fits is no choice.
        node["anyOf"] = [branch for branch in node["anyOf"] if branch is not False]
        if not node["anyOf"]:
            del node["anyOf"]
            leave_out("anyOf")
    if False in node.get("allOf", ()):
        drop("allOf")
    for key in ("$defs", "definitions"):
        for name in [name for name, part in node.get(key, {}).items() if part is False]:
            node[key][name] = True
            leave_out("false")
    if node.get("minLength", 0) > node.get("maxLength", math.inf):
        drop("minLength", "maxLength")
    if _has(node, "number", "integer") and not _any_number(node):
        drop(*_BOUNDS, "multipleOf")
    _mend_array(node, drop)
    _mend_object(node, drop)


def _mend_array(node: Node, drop: Callable[..., None]) -> None:
    least = node.get("minItems", 0)
    if least > node.get("maxItems", math.inf):
        drop("minItems", "maxItems")
        return
    first = node.get("prefixItems", [])
    if False in first:
        # Said as both backends understand it: the list ends before that item.
        first = first[: first.index(False)]
        node["items"] = False
        if first:
            node["prefixItems"] = first
        else:
            del node["prefixItems"]
    if node.get("items") is False and least > len(first):
        drop("minItems")


def _mend_object(node: Node, drop: Callable[..., None]) -> None:
    properties = node.get("properties", {})
    required = set(node.get("required", ()))
    least, most = node.get("minProperties", 0), node.get("maxProperties", math.inf)
    if least > most or len(required) > most:
        drop("minProperties", "maxProperties")
    elif (
        node.get("additionalProperties") is False
        and "patternProperties" not in node
        and least > sum(part is not False for part in properties.values())
    ):
        drop("minProperties")


def _has(node: Node, *kinds: str) -> bool:
    found = node.get("type", ())
    return found in kinds if isinstance(found, str) else any(kind in kinds for kind in found)


def _any_number(node: Node) -> bool:
    """Whether a number is within its bounds; it looks at whole ones only where the type asks for it."""
    whole = not _has(node, "number")
    low: int | float = -math.inf
    high: int | float = math.inf
    open_low = open_high = False
    for key in _BOUNDS:
        bound = node.get(key)
        if not is_number(bound):
            continue
        exclusive = key.startswith("exclusive")
        if key.lower().endswith("minimum") and (bound > low or (bound == low and exclusive)):
            low, open_low = bound, exclusive
        elif key.lower().endswith("maximum") and (bound < high or (bound == high and exclusive)):
            high, open_high = bound, exclusive
    if math.inf in (-low, high):
        return True
    step = Fraction(str(node["multipleOf"])) if "multipleOf" in node else Fraction(1)
    if whole:
        # What is whole and a multiple of p/q is a multiple of p.
        step = Fraction(step.numerator)
    elif "multipleOf" not in node:
        return low < high or (low == high and not open_low and not open_high)
    first, last = math.ceil(Fraction(str(low)) / step), math.floor(Fraction(str(high)) / step)
    first += open_low and first * step == Fraction(str(low))
    last -= open_high and last * step == Fraction(str(high))
    return first <= last


def _endless(root: Node) -> Node | None:
    """A schema whose reference leads to itself before any value could end; None where there is none."""
    every = list(nodes(root))
    ends: set[int] = set()

    def may_end(part: Any) -> bool:
        return part is not False if isinstance(part, bool) else id(part) in ends

    def found(node: Node) -> bool:
        if "const" in node or "enum" in node:
            return True
        if "$ref" in node and not may_end(resolved(root, node["$ref"])):
            return False
        if "anyOf" in node and not any(map(may_end, node["anyOf"])):
            return False
        if not all(map(may_end, node.get("allOf", ()))):
            return False
        kinds = node.get("type", KINDS)
        return any(ending(node, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))

    def ending(node: Node, kind: str) -> bool:
        least = node.get("minItems", 0)
        first = node.get("prefixItems", [])
        match kind:
            case "array":
                return all(map(may_end, first[:least])) and (least <= len(first) or may_end(node.get("items", True)))
            case "object":
                properties = node.get("properties", {})
                fixed = all(may_end(properties.get(name, True)) for name in node.get("required", ()))
                others = may_end(node.get("additionalProperties", True)) or "patternProperties" in node
                enough = node.get("minProperties", 0) <= sum(map(may_end, properties.values()))
                return fixed and (others or enough)
        return True

    grew = True
    while grew:
        new = {id(node) for node in every if id(node) not in ends and found(node)}
        grew = bool(new)
        ends |= new
    return next((node for node in every if id(node) not in ends and "$ref" in node), None)

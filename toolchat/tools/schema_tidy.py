"""Pydantic's JSON Schema, rewritten as plainly as the tool schemas that small models are trained on.

No titles, no references where the thing itself fits, no null beside an optional parameter. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_PREFIX = "#/$defs/"
# The order of the keywords in the schemas that tool-calling models are trained on.
_ORDER = ("type", "description", "enum")
_OF_SCHEMA = ("items", "additionalProperties", "not", "contains")
_OF_LIST = ("anyOf", "allOf", "oneOf", "prefixItems")
_OF_MAPPING = ("properties", "$defs", "patternProperties")


def tidied(schema: Schema) -> Schema:
    """`schema` as {"type": "object", "properties": …, "required": …}; "$defs" only where it is recursive."""
    definitions: Schema = schema.get("$defs", {})
    recursive = {name for name in definitions if _reaches(definitions, name, name)}
    body = {key: value for key, value in schema.items() if key not in ("$defs", "additionalProperties")}
    result: Schema = _tidy(_inlined(body, definitions, recursive))
    result.setdefault("properties", {})
    if recursive:
        kept = {name: definitions[name] for name in definitions if name in recursive}
        result["$defs"] = {name: _tidy(_inlined(value, definitions, recursive)) for name, value in kept.items()}
    return result


def _mapped(schema: Schema, change: Callable[[Any], Any]) -> Schema:
    """`schema` with `change` applied to each schema directly inside it; data (enum, default) stays."""
    result: Schema = {}
    for key, value in schema.items():
        if key in _OF_MAPPING:
            result[key] = {name: change(inner) for name, inner in value.items()}
        elif key in _OF_LIST:
            result[key] = [change(inner) for inner in value]
        elif key in _OF_SCHEMA and isinstance(value, dict):
            result[key] = change(value)
        else:
            result[key] = value
    return result


def _references(schema: Any) -> set[str]:
    found: set[str] = set()

    def visit(inner: Any) -> Any:
        if isinstance(inner, dict):
            reference = inner.get("$ref")
            if isinstance(reference, str):
                found.add(reference.removeprefix(_PREFIX))
            _mapped(inner, visit)
        return inner

    visit(schema)
    return found


def _reaches(definitions: Schema, start: str, goal: str) -> bool:
    seen: set[str] = set()
    pending = [start]
    while pending:
        for name in _references(definitions[pending.pop()]):
            if name == goal:
                return True
            if name not in seen and name in definitions:
                seen.add(name)
                pending.append(name)
    return False


def _inlined(schema: Any, definitions: Schema, recursive: set[str]) -> Any:
    """`schema` with each reference replaced by what it refers to, but for those that would never end."""
    if not isinstance(schema, dict):
        return schema
    name = str(schema.get("$ref", "")).removeprefix(_PREFIX)
    if name in definitions and name not in recursive:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[name], **beside}
    return _mapped(schema, lambda inner: _inlined(inner, definitions, recursive))


def _tidy(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "title"}
    result = _mapped(kept, _tidy)
    required = result.get("required", [])
    if "properties" in result:
        result["properties"] = {
            name: value if name in required else _optional(value) for name, value in result["properties"].items()
        }
    first = {key: result[key] for key in _ORDER if key in result}
    return {**first, **result}


def _optional(schema: Any) -> Any:
    """A property that may be left out need not also allow null: {"type": "integer"} says enough."""
    if not isinstance(schema, dict) or "anyOf" not in schema:
        return {key: value for key, value in schema.items() if (key, value) != ("default", None)}
    others = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    result = {**others[0], **rest} if len(others) == 1 else {**rest, "anyOf": others}
    first = {key: result[key] for key in _ORDER if key in result}
    return {**first, **result}

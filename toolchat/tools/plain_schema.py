"""Rewrites pydantic's JSON Schemas as plainly as those that small models are trained on. Pure: dicts in, dicts out.

No titles, no references where the thing itself fits, no null beside an optional parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_PREFIX = "#/$defs/"
# Those that constrained generation can hold a model to. The others ("path", "binary") say nothing about the text.
_FORMATS = ("date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6", "uri")
# The order of the keywords in the schemas that tool-calling models are trained on.
_ORDER = ("type", "description", "enum")
_OF_SCHEMA = ("items", "additionalProperties", "not", "contains", "propertyNames")
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
    result = _mapped(_plainer(schema), _tidy)
    required = result.get("required", [])
    if "properties" in result:
        result["properties"] = {
            name: value if name in required else _optional(value) for name, value in result["properties"].items()
        }
    first = {key: result[key] for key in _ORDER if key in result}
    return {**first, **result}


def _plainer(schema: Schema) -> Schema:
    """`schema` in the keywords that constrained generation knows, and without those that say nothing to a model."""
    result = {key: value for key, value in schema.items() if key not in ("title", "discriminator", "uniqueItems")}
    if result.get("format") not in (None, *_FORMATS):
        del result["format"]
    if "description" in result:
        # A class's docstring: its first paragraph says what it is, the rest how it is used.
        result["description"] = " ".join(str(result["description"]).partition("\n\n")[0].split())
    if result.get("additionalProperties") is False and "properties" in result:
        # Constrained generation closes every object that names its properties; the model needs no word of it.
        del result["additionalProperties"]
    if "oneOf" in result:
        # Pydantic writes it for tagged unions alone, of whose choices never two fit.
        result["anyOf"] = result.pop("oneOf")
    items = result.get("prefixItems")
    if items:
        # The fields of a named tuple: their names stand in titles only.
        named = [{"description": item["title"], **item} if "title" in item else item for item in items]
        result["prefixItems"] = named
        if all(item == named[0] for item in named) and result.get("minItems") == result.get("maxItems") == len(named):
            result["items"] = result.pop("prefixItems")[0]
    names = result.get("propertyNames", {})
    if isinstance(names.get("enum"), list) and all(isinstance(name, str) for name in names["enum"]):
        value = result.pop("additionalProperties", True)
        del result["propertyNames"]
        result["properties"] = {name: {} if value is True else value for name in names["enum"]}
    return result


def _optional(schema: Any) -> Any:
    """A property that may be left out need not also allow null: {"type": "integer"} says enough."""
    if not isinstance(schema, dict) or "anyOf" not in schema:
        return _without_null({key: value for key, value in schema.items() if (key, value) != ("default", None)})
    others = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    if len(others) == 1:
        result = _without_null({**others[0], **rest})
    else:
        result = {**rest, "anyOf": [_without_null(choice) for choice in others]}
    first = {key: result[key] for key in _ORDER if key in result}
    return {**first, **result}


def _without_null(schema: Any) -> Any:
    """Without the null of a list of types."""
    if not isinstance(schema, dict) or not isinstance(kinds := schema.get("type"), list):
        return schema
    kept = [kind for kind in kinds if kind != "null"] or kinds
    return {**schema, "type": kept[0] if len(kept) == 1 else kept}

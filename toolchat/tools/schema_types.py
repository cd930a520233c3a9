"""Turns the JSON Schema that a tools file gives a parameter into a type for pydantic, so that one path makes the schema
that the model is told, holds its generation to it and checks its arguments. Nothing is ignored: what has no such type
is refused by name."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typing_extensions
from pydantic import ConfigDict, Field

from toolchat.tools.untyped import of_kinds

_TYPES = ("string", "number", "integer", "boolean", "null", "array", "object")
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
}
_OF = {
    "string": {"minLength", "maxLength", "pattern"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "array": {"minItems", "maxItems", "items"},
    "object": {"properties", "required", "additionalProperties"},
}
_WORDS = {"description", "examples", "title", "$schema", "$comment", "default"}
_MAX_DEPTH = 20
# For types that are known only here.
_LIST: Any = list
_DICT: Any = dict
_UNION: Any = operator.or_


class JsonSchemaError(Exception):
    """A JSON Schema that has no type: "what is wrong; what was expected; what to do"."""


def hint_of(schema: Any, depth: int = 0) -> Any:
    """A type whose JSON Schema is `schema`.

    Raises:
        JsonSchemaError: it is no JSON Schema, or has what cannot be enforced.
    """
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise JsonSchemaError(f"{schema!r} is no JSON Schema; expected a mapping; write for example {{type: string}}")
    if depth > _MAX_DEPTH:
        raise JsonSchemaError(f"it is nested deeper than {_MAX_DEPTH} levels; expected fewer; take type: object")
    hint, used = _unworded(schema, depth)
    if left := sorted(schema.keys() - used - _WORDS):
        what = f"{left[0]} cannot be held to"
        raise JsonSchemaError(f"{what}; expected {', '.join(sorted({*_BOUNDS, *_ALSO}))}; say it in the description")
    description = schema.get("description")
    if isinstance(description, str):
        return Annotated[hint, Field(description=description)]
    return hint


_ALSO = ("type", "enum", "const", "anyOf", "oneOf", "items", "properties", "required", "additionalProperties")


def _unworded(schema: Mapping[str, Any], depth: int) -> tuple[Any, set[str]]:
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(values, list) or not values:
            raise JsonSchemaError("enum is no list of values; expected one; write enum: [a, b]")
        if not all(value is None or isinstance(value, str | int | bool) for value in values):
            raise JsonSchemaError(
                "enum holds what is no text, whole number or true or false; expected these; correct it"
            )
        return Literal[tuple(values)], {"const", "enum", "type"}
    for word in ("anyOf", "oneOf"):
        if word in schema:
            choices = schema[word]
            if not isinstance(choices, list) or not choices:
                raise JsonSchemaError(f"{word} is no list of schemas; expected one; correct it")
            return functools.reduce(_UNION, [hint_of(choice, depth + 1) for choice in choices]), {word}
    kinds = schema.get("type")
    if kinds is None and "properties" in schema:
        kinds = "object"
    if kinds is None and "items" in schema:
        kinds = "array"
    if kinds is None:
        return of_kinds("any"), set()
    listed = kinds if isinstance(kinds, list) else [kinds]
    if not listed or any(kind not in _TYPES for kind in listed):
        raise JsonSchemaError(f"type is {kinds!r}; expected {', '.join(_TYPES)}; correct it")
    used = {"type"}.union(*(_OF.get(kind, set()) for kind in listed))
    return functools.reduce(_UNION, [_of_type(kind, schema, depth) for kind in listed]), used


def _of_type(kind: str, schema: Mapping[str, Any], depth: int) -> Any:
    match kind:
        case "array":
            hint = _LIST[hint_of(schema["items"], depth + 1)] if "items" in schema else of_kinds("array")
        case "object":
            hint = _object(schema, depth)
        case _:
            hint = of_kinds(kind) if kind != "null" else type(None)
    bounds: dict[str, Any] = {}
    for word in _OF.get(kind, set()) & _BOUNDS.keys() & schema.keys():
        value = schema[word]
        if isinstance(value, bool) or not isinstance(value, str if word == "pattern" else int | float):
            raise JsonSchemaError(
                f"{word} is {value!r}; expected {'text' if word == 'pattern' else 'a number'}; correct it"
            )
        bounds[_BOUNDS[word]] = value
    return Annotated[hint, Field(**bounds)] if bounds else hint


def _object(schema: Mapping[str, Any], depth: int) -> Any:
    more = schema.get("additionalProperties", "properties" not in schema)
    properties = schema.get("properties", {})
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        raise JsonSchemaError("properties is no mapping, or required no list; expected these; correct it")
    if not properties:
        return _DICT[str, hint_of(more, depth + 1)] if isinstance(more, dict) else of_kinds("object")
    if more:
        raise JsonSchemaError("additionalProperties stands beside properties; expected one of the two; remove one")
    if unknown := [name for name in required if name not in properties]:
        raise JsonSchemaError(f"required names {unknown[0]!r}, which is no property; expected one; correct it")
    keys = {
        name: hint_of(inner, depth + 1)
        if name in required
        else typing_extensions.NotRequired[hint_of(inner, depth + 1)]
        for name, inner in properties.items()
    }
    typed_dict: Any = typing_extensions.TypedDict
    made: Any = typed_dict("Object", keys)
    made.__pydantic_config__ = ConfigDict(extra="forbid")
    return made

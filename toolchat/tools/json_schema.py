"""Both ways between JSON Schema and types: makes pydantic's schemas plain, and types of a tools file's schemas.

Plain is what small models are trained on: no titles, no references where the thing itself fits, no null beside an
optional parameter. Of the schema that a tools file gives a parameter nothing is ignored: one path makes what the model
is told, holds its generation to it and checks its arguments, and what has no such type is refused by name. Values
of which no more than their kind is known have types that are bounded, so that a generation ends.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import typing_extensions
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

Schema = dict[str, Any]

_PREFIX = "#/$defs/"
# Those that constrained generation can hold a model to. The others ("path", "binary") say nothing about the text.
_FORMATS = ("date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6", "uri")
# The order of the keywords in the schemas that tool-calling models are trained on.
_ORDER = ("type", "description", "enum")
_OF_SCHEMA = ("items", "additionalProperties", "not", "contains", "propertyNames")
_OF_LIST = ("anyOf", "allOf", "oneOf", "prefixItems")
_OF_MAPPING = ("properties", "$defs", "patternProperties")


# Of the schemas that a tools file gives.
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
_ALSO = ("type", "enum", "const", "anyOf", "oneOf", "items", "properties", "required", "additionalProperties")

TOO_LONG = "without_a_type_too_long"
"""The kind of pydantic's error for what is longer than the bounds below."""
MAX_ITEMS = 200
"""Of an array without a type: told to the model and held by grammars, so that one which repeats itself ends."""
MAX_KEYS = 200
"""Of an object without a type."""
MAX_TEXT = 20_000
"""Characters of a text without a type. What is longer than most answers may be is hardly meant."""


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


@dataclass(frozen=True, slots=True)
class Shown:
    """How a type is written for people; the empty text for one that was not written at all."""

    text: str


def _bounded(value: Any) -> Any:
    """Checked only: a model writes better calls without a word of it."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise _too_long("text", len(value), MAX_TEXT, "characters")
    if isinstance(value, dict) and len(value) > MAX_KEYS:
        raise _too_long("an object", len(value), MAX_KEYS, "keys")
    if isinstance(value, list) and len(value) > MAX_ITEMS:
        raise _too_long("a list", len(value), MAX_ITEMS, "items")
    return value


def _too_long(what: str, count: int, most: int, noun: str) -> PydanticCustomError:
    message = f"holds {what} of {count:,} {noun}; expected at most {most:,}, because it has no type"
    return PydanticCustomError(TOO_LONG, "{message}", {"message": message})


class _Few:
    """Tells the model, and so the grammar, how many items a list may have; `_bounded` says it better than pydantic."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "maxItems": MAX_ITEMS}


_CHECKED = AfterValidator(_bounded)
_FEW = _CHECKED, _Few()
NUMBER: Any = Annotated[int | float, WithJsonSchema({"type": "number"}), Shown("number")]
"""A whole number stays one, which a plain `float` would not allow."""
SCALAR: Any = Annotated[
    str | int | float | bool | None,
    _CHECKED,
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
    Shown(""),
]
"""What is known of a parameter without a type. Not any JSON: offered that, the demo model got 4 of 8 calls right, with
scalars 8 of 8, and two of the others ran on into nested objects without end."""
SCALARS: Any = Annotated[list[SCALAR], *_FEW, Shown("list")]
_ROW: Any = Annotated[list[NUMBER], *_FEW]
ROWS: Any = Annotated[list[SCALAR | SCALARS], *_FEW, Shown("list")]
OBJECT: Any = Annotated[dict[str, SCALAR | SCALARS], _CHECKED, Shown("dict")]
NUMBERS: Any = Annotated[NUMBER | Annotated[list[NUMBER | _ROW], *_FEW], Shown("array")]
TEXT_OR_LIST: Any = Annotated[str | SCALARS, Shown("str | list")]
ANYTHING: Any = Annotated[SCALAR | ROWS | OBJECT, Shown("any")]
"""Any JSON of bounded depth and length: a model that may nest without a bound sometimes does not come to an end."""


_KINDS: dict[str, Any] = {
    "string": str,
    "number": NUMBER,
    "integer": int,
    "boolean": bool,
    "null": type(None),
    "array": ROWS,
    "object": OBJECT,
    "any": ANYTHING,
}


def of_kinds(kinds: str | list[str]) -> Any:
    """The type of a parameter that a tools file calls "string", or ["string", "null"]."""
    return Union[tuple(_KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))]  # noqa: UP007


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

"""Merges what a tools file says of a parameter with what its type says; refuses what contradicts.

The merged keywords are both told to the model and enforced on its arguments.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError, to_jsonable_python

from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.options import not_as_meant
from toolchat.tools.problems import Place

_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TEXTS = ("minLength", "maxLength", "pattern")
_ARRAYS = ("minItems", "maxItems")
_APPLIES = {
    **dict.fromkeys(_NUMBERS, ({"number", "integer"}, "a number")),
    **dict.fromkeys(_TEXTS, ({"string"}, "a string")),
    **dict.fromkeys(_ARRAYS, ({"array"}, "an array")),
}
_ALL = {"null", "boolean", "object", "array", "number", "integer", "string"}
_LOWER, _UPPER = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")
_NAMES: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What the signature says of one parameter."""

    name: str
    schema: Schema
    """Its property, tidied."""
    definitions: Schema
    """What references in it refer to."""
    probe: type[BaseModel]
    """A model whose only field, `value`, has the parameter's type."""
    own_default: Any = None
    """The function's; None also where there is none."""

    def converted(self, value: Any) -> Any:
        """A JSON value as the function would be given it; raises ValidationError where it does not fit the type."""
        made = self.probe.model_validate_json(json.dumps({"value": value}), strict=True)
        return vars(made)["value"]


def contradictions(parameter: Parameter, entry: ParameterEntry) -> Iterator[tuple[Place, str]]:
    """What in `entry` cannot hold of the parameter."""
    name, words, schema = parameter.name, entry.keywords, parameter.schema
    kinds = _kinds(schema, parameter.definitions)
    for word, value in words.items():
        if word in ("type", "schema"):
            continue
        place = entry.places[word]
        applies, noun = _APPLIES.get(word, (kinds, ""))
        if not kinds & applies:
            what = f"{word} of {name} is {_quoted(value)}, but {name} is {' or '.join(sorted(kinds))}"
            yield place, f"{what}; expected it of {noun} only; remove it"
        elif word in _LOWER and word in schema and value < schema[word]:
            yield place, f"{word} of {name} is {value}, but its type says {schema[word]}; expected no less; raise it"
        elif word in _UPPER and word in schema and value > schema[word]:
            yield place, f"{word} of {name} is {value}, but its type says {schema[word]}; expected no more; lower it"
        elif word == "enum":
            for one in value:
                if reason := _misfit(parameter, one):
                    yield place, f"enum of {name} holds {_quoted(one)}; expected {reason}; correct or remove it"
    yield from _default_contradictions(parameter, entry, kinds)


def _default_contradictions(
    parameter: Parameter, entry: ParameterEntry, kinds: set[str]
) -> Iterator[tuple[Place, str]]:
    words, name = entry.keywords, parameter.name
    if "default" in words:
        value, place, owner = words["default"], entry.places["default"], "default"
        written = entry.misread.get("default")
        if reason := _misfit(parameter, value):
            fix = "correct or remove it" if written is None else f'YAML reads {written} so: write "{written}" in quotes'
            yield place, f"default of {name} is {_quoted(value)}; expected {reason}; {fix}"
            return
        if written is not None and not kinds <= {"boolean", "null"}:
            yield place, not_as_meant(f"default of {name}", written, _quoted(value))
            return
    elif parameter.own_default is not None:
        value, place, owner = parameter.own_default, entry.place, "the function's own default"
    else:
        return
    try:
        enforcer(parameter, entry)(parameter.converted(value) if owner == "default" else value)
    except PydanticCustomError as error:
        reason = error.message().removeprefix("Input should be ")
        fix = "correct one of them" if owner == "default" else "widen that, or add default:"
        what = f"{owner} of {name} is {_quoted(value)}, which the other keys exclude"
        yield place, f"{what}; expected {reason}; {fix}"
    except ValidationError:
        pass


def _misfit(parameter: Parameter, value: Any) -> str | None:
    """What was expected instead of `value`; None where it fits the type."""
    try:
        parameter.converted(value)
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"]
        return message.removeprefix("Input should be ")
    return None


def merged(parameter: Parameter, entry: ParameterEntry, *, required: bool) -> Schema:
    """The property with the keywords of `entry` put over it."""
    # The type is in the property already.
    words = {word: value for word, value in entry.keywords.items() if word not in ("type", "schema")}
    base = dict(parameter.schema)
    if "enum" in words:
        nullable = required and "null" in _kinds(base, parameter.definitions)
        words["enum"] = [*words["enum"], *([None] if nullable and None not in words["enum"] else [])]
        for replaced in ("anyOf", "const"):
            base.pop(replaced, None)
        if isinstance(base.get("type"), list):
            # The values say it, and say more.
            del base["type"]
    result = {**base, **words}
    order = ("type", "description", "enum")
    return {**{key: result[key] for key in order if key in result}, **result}


def enforcer(parameter: Parameter, entry: ParameterEntry) -> Callable[[Any], Any]:
    """A function that returns a converted value as it is, or raises PydanticCustomError where a keyword excludes it."""
    words = entry.keywords
    enum = [_plain(_converted_or_same(parameter, value)) for value in words.get("enum", ())]
    pattern = re.compile(words["pattern"]) if "pattern" in words else None

    def enforce(value: Any) -> Any:
        plain = _plain(value)
        # None is what a parameter that may be left out has where it is left out.
        if plain is None:
            return value
        if enum and not any(_same(plain, one) for one in enum):
            listed = ", ".join(_quoted(one) for one in words["enum"])
            raise PydanticCustomError("enum", "{message}", {"message": f"Input should be one of {listed}"})
        reason = _excluded(plain, words, pattern)
        if reason is not None:
            raise PydanticCustomError("tools_file", "{message}", {"message": f"Input should be {reason}"})
        return value

    return enforce


def _converted_or_same(parameter: Parameter, value: Any) -> Any:
    try:
        return parameter.converted(value)
    except ValidationError:
        return value


def _excluded(value: Any, words: Mapping[str, Any], pattern: re.Pattern[str] | None) -> str | None:
    match value:
        case bool():
            return None
        case int() | float() | Decimal():
            return _number(value, words)
        case str():
            if not words.get("minLength", 0) <= len(value) <= words.get("maxLength", len(value)):
                return _range(words, "minLength", "maxLength", "characters")
            if pattern is not None and pattern.search(value) is None:
                return f"text that matches {words['pattern']}"
        case list():
            if not words.get("minItems", 0) <= len(value) <= words.get("maxItems", len(value)):
                return _range(words, "minItems", "maxItems", "items")
    return None


def _number(value: float | Decimal, words: Mapping[str, Any]) -> str | None:
    if "minimum" in words and value < words["minimum"]:
        return f"greater than or equal to {words['minimum']}"
    if "exclusiveMinimum" in words and value <= words["exclusiveMinimum"]:
        return f"greater than {words['exclusiveMinimum']}"
    if "maximum" in words and value > words["maximum"]:
        return f"less than or equal to {words['maximum']}"
    if "exclusiveMaximum" in words and value >= words["exclusiveMaximum"]:
        return f"less than {words['exclusiveMaximum']}"
    # In decimal, as it is written: 0.3 is a multiple of 0.1, which binary fractions would deny.
    if "multipleOf" in words and Decimal(str(value)) % Decimal(str(words["multipleOf"])):
        return f"a multiple of {words['multipleOf']}"
    return None


def _range(words: Mapping[str, Any], low: str, high: str, noun: str) -> str:
    parts = [f"at least {words[low]}"] if low in words else []
    parts += [f"at most {words[high]}"] if high in words else []
    return f"{' and '.join(parts)} {noun} long"


def _plain(value: Any) -> Any:
    """As JSON holds it, but numbers that JSON writes as text stay numbers."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    return to_jsonable_python(value, fallback=str)


def _same(one: Any, other: Any) -> bool:
    """Equal, and true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _kinds(schema: Any, definitions: Schema, seen: frozenset[str] = frozenset()) -> set[str]:
    """The JSON types that a value of this schema may have."""
    if not isinstance(schema, dict):
        return set(_ALL)
    reference = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if reference in definitions and reference not in seen:
        return _kinds(definitions[reference], definitions, seen | {reference})
    match schema:
        case {"anyOf": [*choices]}:
            return set().union(*(_kinds(choice, definitions, seen) for choice in choices))
        case {"type": str(kind)}:
            return {kind}
        case {"type": [*kinds]}:
            return {str(kind) for kind in kinds}
        case {"enum": [*values]}:
            return {_NAMES.get(type(value), "null") for value in values}
        case {"const": value}:
            return {_NAMES.get(type(value), "null")}
    return set(_ALL)


def _quoted(value: Any) -> str:
    text = json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:60]}..."

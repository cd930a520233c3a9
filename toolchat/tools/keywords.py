"""Checks the keywords of single parameters in a tools file, as text: constraints and descriptions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from toolchat.tools.options import OptionError, read_json, read_text
from toolchat.tools.problems import Place, Problems, did_you_mean
from toolchat.tools.yaml_file import BOOLEAN, FLOAT, INTEGER, NULL, misread, one_name, shown

_NUMBER: dict[str, Any] = {"type": "number"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
KINDS = ("string", "number", "integer", "boolean", "null", "array", "object", "any")
"""The types that a tools file may give a parameter without one."""
KEYWORDS: dict[str, dict[str, Any]] = {
    "type": {
        "anyOf": [{"enum": list(KINDS)}, {"type": "array", "minItems": 1, "items": {"enum": list(KINDS)}}],
        "description": "Of a parameter without a type: string, number, integer, boolean, null, array, object or any, "
        "or a list of these.",
    },
    "description": {"type": "string", "minLength": 1, "description": "What the model is told of it."},
    "enum": {"type": "array", "minItems": 1, "uniqueItems": True, "description": "The values it may have."},
    "minimum": {**_NUMBER, "description": "The least number."},
    "maximum": {**_NUMBER, "description": "The greatest number."},
    "exclusiveMinimum": {**_NUMBER, "description": "The number is greater than this."},
    "exclusiveMaximum": {**_NUMBER, "description": "The number is less than this."},
    "multipleOf": {**_NUMBER, "exclusiveMinimum": 0, "description": "The number is a multiple of this."},
    "minLength": {**_COUNT, "description": "The fewest characters."},
    "maxLength": {**_COUNT, "description": "The most characters."},
    "pattern": {"type": "string", "minLength": 1, "description": "A regular expression; it may match anywhere."},
    "minItems": {**_COUNT, "description": "The fewest items."},
    "maxItems": {**_COUNT, "description": "The most items."},
    "default": {"description": "What the function is given where the model leaves the parameter out."},
    "examples": {"type": "array", "minItems": 1, "description": "Shown to the model; enforces nothing."},
    "schema": {
        "type": "object",
        "description": "Of a parameter without a type, or of any list or dict: its JSON Schema.",
    },
    "hidden": {
        "type": "boolean",
        "description": "true keeps it from the model: the function is given the default.",
    },
}
"""The keywords of a parameter, each with the JSON Schema of its value."""

_SPELLED = {
    **{"str": "string", "text": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean"},
    **{"none": "null", "list": "array", "tuple": "array", "dict": "object", "mapping": "object"},
}

_BESIDE_SCHEMA = ("schema", "description", "default", "examples", "hidden")

_PAIRS = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))
_STRICT_PAIRS = (
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "maximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
)


@dataclass(frozen=True, slots=True)
class ParameterEntry:
    """What the file says of one parameter."""

    place: Place
    """Of its name."""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema keywords, `description` and `default` among them."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Of each keyword's value."""
    misread: Mapping[str, str] = field(default_factory=dict)
    """Of a default that is a word which YAML reads as true or false (`no`): how it is written."""


def read_parameters(node: yaml.Node, problems: Problems) -> dict[str, ParameterEntry]:
    """The parameters by name; what is wrong is noted and left out."""
    if not isinstance(node, yaml.MappingNode):
        what = f"parameters is {shown(node)}; expected a mapping of parameters"
        problems.add(node, f'{what}; write for example city: "The city"')
        return {}
    entries: dict[str, ParameterEntry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.add(key, f"a parameter's name is {shown(key)}; expected text; write the parameter's name")
            continue
        name = one_name(str(key.value))
        entries[name] = _parameter(name, key, value, problems)
    return entries


def _parameter(name: str, key: yaml.Node, value: yaml.Node, problems: Problems) -> ParameterEntry:
    keywords: dict[str, Any] = {}
    places: dict[str, Place] = {}
    written: dict[str, str] = {}
    entry = ParameterEntry(problems.place(key), keywords, places, written)
    if isinstance(value, yaml.ScalarNode):
        pairs: list[tuple[str, yaml.Node]] = [("description", value)]
    elif isinstance(value, yaml.MappingNode):
        pairs = [(str(word.value) if isinstance(word, yaml.ScalarNode) else "", inner) for word, inner in value.value]
        for word, _ in value.value:
            if not isinstance(word, yaml.ScalarNode) or word.value not in KEYWORDS:
                fix = (
                    did_you_mean(str(word.value), KEYWORDS, "remove it")
                    if isinstance(word, yaml.ScalarNode)
                    else "remove it"
                )
                shown_key = f'"{word.value}"' if isinstance(word, yaml.ScalarNode) else shown(word)
                problems.add(word, f"unknown key {shown_key} of {name}; expected {', '.join(KEYWORDS)}; {fix}")
    else:
        problems.add(value, f"{name} is {shown(value)}; expected a description or a mapping; write text in quotes")
        return entry
    for word, inner in pairs:
        if word not in KEYWORDS:
            continue
        try:
            keywords[word] = _value(name if inner is value else f"{word} of {name}", word, inner)
            places[word] = problems.place(inner)
            if word == "default" and misread(inner) is not None:
                written[word] = str(inner.value)
        except OptionError as error:
            problems.add(error.node or inner, str(error))
    _check_order(name, entry, problems)
    if "schema" in keywords:
        for word in keywords.keys() - set(_BESIDE_SCHEMA):
            what = f"{word} of {name} stands beside its schema; expected it in the schema; move it there"
            problems.add(places[word], what)
    return entry


def _value(label: str, word: str, node: yaml.Node) -> Any:
    match word:
        case "description":
            return read_text(label, node)
        case "type":
            return _kinds(label, node)
        case "pattern":
            return _pattern(label, node)
        case "enum" | "examples":
            return _values(label, node)
        case "default":
            return read_json(label, node, word=True)
        case "schema":
            schema = read_json(label, node)
            if not isinstance(schema, dict):
                raise OptionError(
                    f"{label} is {shown(node)}; expected a JSON Schema; write for example {{type: array}}"
                )
            return schema
        case "hidden":
            if not (isinstance(node, yaml.ScalarNode) and node.tag == BOOLEAN):
                raise OptionError(f"{label} is {shown(node)}; expected true or false; write hidden: true")
            return bool(read_json(label, node))
        case "minLength" | "maxLength" | "minItems" | "maxItems":
            return _count(label, node)
    number = read_json(label, node) if isinstance(node, yaml.ScalarNode) and node.tag in (INTEGER, FLOAT) else None
    if number is None:
        raise OptionError(f"{label} is {shown(node)}; expected a number; write it without quotes")
    if word == "multipleOf" and number <= 0:
        raise OptionError(f"{label} is {shown(node)}; expected more than 0; correct it")
    return number


def _kinds(label: str, node: yaml.Node) -> list[str]:
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    kinds: list[str] = []
    for item in items:
        word = str(item.value) if isinstance(item, yaml.ScalarNode) else ""
        # A bare null is YAML's own, and means the type of that name.
        word = "null" if isinstance(item, yaml.ScalarNode) and item.tag == NULL and word else word
        if word not in KINDS:
            fix = did_you_mean(_SPELLED.get(word.lower(), word), KINDS, "write type: string")
            raise OptionError(f"{label} is {shown(item)}; expected {', '.join(KINDS)}; {fix}", item)
        kinds.append(word)
    if not kinds:
        raise OptionError(f"{label} is an empty list; expected {', '.join(KINDS)}; write type: string")
    return list(dict.fromkeys(kinds))


def _pattern(label: str, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value or node.tag.endswith((":null", ":bool")):
        raise OptionError(f"{label} is {shown(node)}; expected a regular expression; write it in single quotes")
    try:
        re.compile(node.value)
    except re.error as error:
        what = f"{label} is {shown(node)}, which does not compile: {error}"
        raise OptionError(f"{what}; expected a regular expression; correct it") from None
    return str(node.value)


def _values(label: str, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        what = "an empty list" if isinstance(node, yaml.SequenceNode) else shown(node)
        raise OptionError(f"{label} is {what}; expected a list of values; write [a, b]")
    values = [read_json(label, item) for item in node.value]
    if label.startswith("enum"):
        seen: set[str] = set()
        for item, value in zip(node.value, values, strict=True):
            written = json.dumps(value, sort_keys=True)
            if written in seen:
                what = f"{label} holds {shown(item)} a second time"
                raise OptionError(f"{what}; expected each value once; remove one of the two", item)
            seen.add(written)
    return values


def _count(label: str, node: yaml.Node) -> int:
    if not (isinstance(node, yaml.ScalarNode) and node.tag == INTEGER and re.fullmatch(r"\d{1,9}", node.value)):
        raise OptionError(f"{label} is {shown(node)}; expected a whole number from 0; correct it")
    return int(node.value)


def _check_order(name: str, entry: ParameterEntry, problems: Problems) -> None:
    """Bounds between which nothing fits."""
    words = entry.keywords
    for low, high in (*_PAIRS, *_STRICT_PAIRS):
        if low not in words or high not in words:
            continue
        if words[low] > words[high] or (words[low] == words[high] and (low, high) in _STRICT_PAIRS):
            what = f"{high} of {name} is {words[high]}, and {low} is {words[low]}"
            problems.add(entry.places[high], f"{what}; expected {low} below {high}; swap or correct them")

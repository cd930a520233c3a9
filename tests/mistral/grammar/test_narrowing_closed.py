"""Objects take the properties that they name and no others, where their author can have meant that."""

from __future__ import annotations

import copy

import jsonschema
import pytest

from toolchat.mistral.grammar.lark import LLGUIDANCE
from toolchat.mistral.grammar.narrowing import narrowed

INTEGER = {"type": "integer"}
OPEN = {"type": "object", "properties": {"x": INTEGER}}
CLOSED = {**OPEN, "additionalProperties": False}


def closed(schema, *, arguments=False):
    return narrowed(schema, LLGUIDANCE, arguments=arguments).schema


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: inner,
        lambda inner: {"type": "object", "properties": {"a": inner}, "additionalProperties": True},
        lambda inner: {"type": "array", "items": inner},
        lambda inner: {"type": "array", "items": [inner, INTEGER]},
        lambda inner: {"type": "array", "prefixItems": [INTEGER, inner]},
        lambda inner: {"$defs": {"X": inner}, "$ref": "#/$defs/X"},
        lambda inner: {"definitions": {"X": inner}, "$ref": "#/definitions/X"},
        lambda inner: {"anyOf": [inner, {"type": "null"}]},
        lambda inner: {"oneOf": [INTEGER, inner]},
        lambda inner: {"allOf": [inner], "description": "as pydantic wraps a reference"},
        lambda inner: {"type": "object", "additionalProperties": inner},
        lambda inner: {"type": "object", "properties": {"properties": inner}, "additionalProperties": True},
    ],
)
def test_objects_are_closed_wherever_they_stand(around):
    given = around(OPEN)
    before = copy.deepcopy(given)
    assert CLOSED in parts_of(closed(given))
    assert closed(given) == closed(around(CLOSED))
    assert given == before


def parts_of(value):
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts_of(part)


Y = {"properties": {"y": INTEGER}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object", "properties": {"a": {"type": "object"}}}, {"a": {"y": 1}}),
        ({**OPEN, "additionalProperties": INTEGER}, {"x": 1, "y": 1}),
        ({**OPEN, "patternProperties": {"^x-": INTEGER}}, {"x": 1, "x-y": 1}),
        ({**OPEN, "patternProperties": {"^x-": INTEGER}, "additionalProperties": False}, {"x": 1, "x-y": 1}),
        ({"not": OPEN}, {"x": "", "y": 1}),
        ({**OPEN, "if": OPEN, "then": Y}, {"x": 1, "y": 1}),
        ({"allOf": [OPEN, {"type": "object", **Y}]}, {"x": 1, "y": 1}),
        ({**OPEN, "allOf": [Y]}, {"x": 1, "y": 1}),
        ({**OPEN, "anyOf": [Y, {"required": ["x"]}]}, {"x": 1, "y": 1}),
        ({**OPEN, "$ref": "#/$defs/Y", "$defs": {"Y": Y}}, {"x": 1, "y": 1}),
        ({"$defs": {"X": {"$ref": "#/$defs/Y"}, "Y": OPEN}, "allOf": [{"$ref": "#/$defs/X"}, Y]}, {"x": 1, "y": 1}),
        ({"enum": [{"type": "object", "properties": {}}]}, {"type": "object", "properties": {}}),
        ({**OPEN, "additionalProperties": True, "default": OPEN, "examples": [OPEN]}, {"y": 1}),
    ],
)
def test_what_the_author_allows_elsewhere_is_not_forbidden(schema, value):
    jsonschema.validate(value, schema)
    for arguments in (False, True):
        jsonschema.validate(value, closed(schema, arguments=arguments))


def test_a_tool_without_properties_takes_no_arguments():
    for schema in ({}, {"type": "object"}, {"type": "object", "properties": {}}):
        assert closed(schema, arguments=True) == {"type": "object", "properties": {}, "additionalProperties": False}
    assert closed({"type": "object"}) == {"type": "object"}
    assert closed({}) == {}


def test_a_closed_schema_still_takes_what_the_open_one_named():
    schema = {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/P"}, "q": {"anyOf": [{"$ref": "#/$defs/P"}, {"type": "null"}]}},
        "$defs": {"P": {"allOf": [OPEN, Y]}},
    }
    jsonschema.validate({"p": {"x": 1, "y": 2}, "q": None}, closed(schema))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"p": {"x": 1}, "r": 1}, closed(schema))

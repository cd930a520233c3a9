from __future__ import annotations

import copy

import jsonschema
import pytest

from toolchat.mistral.closed_schema import closed_schema

INTEGER = {"type": "integer"}
OPEN = {"type": "object", "properties": {"x": INTEGER}}
CLOSED = {**OPEN, "additionalProperties": False}


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: inner,
        lambda inner: {"type": "object", "properties": {"a": inner}, "additionalProperties": True},
        lambda inner: {"type": "array", "items": inner},
        lambda inner: {"type": "array", "items": [inner, INTEGER]},
        lambda inner: {"type": "array", "prefixItems": [INTEGER, inner]},
        lambda inner: {"$defs": {"X": inner}, "$ref": "#/$defs/X"},
        lambda inner: {"definitions": {"X": inner}},
        lambda inner: {"anyOf": [inner, {"type": "null"}]},
        lambda inner: {"oneOf": [INTEGER, inner]},
        lambda inner: {"allOf": [inner], "description": "as pydantic wraps a reference"},
        lambda inner: {"type": "object", "additionalProperties": inner},
        lambda inner: {"type": "object", "patternProperties": {"^a": inner}},
        lambda inner: {"type": "object", "properties": {"properties": inner}, "additionalProperties": True},
    ],
)
def test_objects_are_closed_wherever_they_stand(around):
    given = around(OPEN)
    before = copy.deepcopy(given)
    assert closed_schema(given) == around(CLOSED)
    assert given == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "object"}}, "additionalProperties": True},
        {**OPEN, "additionalProperties": {"type": "string"}},
        {**OPEN, "patternProperties": {"^x-": INTEGER}},
        {"not": OPEN},
        {**OPEN, "if": OPEN, "then": {"properties": {"y": INTEGER}}},
        {"allOf": [OPEN, {"type": "object", "properties": {"y": INTEGER}}]},
        {**OPEN, "anyOf": [{"properties": {"y": INTEGER}}, {"required": ["x"]}]},
        {
            "$defs": {"X": {"$ref": "#/$defs/Y"}, "Y": OPEN},
            "allOf": [{"$ref": "#/$defs/X"}, {"properties": {"y": INTEGER}}],
        },
        {"enum": [{"type": "object", "properties": {}}]},
        {
            "type": "object",
            "properties": {},
            "additionalProperties": True,
            "default": OPEN,
            "examples": [OPEN],
        },
    ],
)
def test_what_closing_would_make_wrong_stays_as_it_is(schema):
    assert closed_schema(schema) == schema


def test_the_outermost_object_without_properties_takes_no_arguments():
    assert closed_schema({"type": "object"}) == {"type": "object", "additionalProperties": False}
    assert closed_schema({}) == {}


def test_a_closed_schema_still_takes_what_the_open_one_named():
    schema = {
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/P"}, "q": {"anyOf": [{"$ref": "#/$defs/P"}, {"type": "null"}]}},
        "$defs": {"P": {"allOf": [OPEN, {"properties": {"y": INTEGER}}]}},
    }
    jsonschema.validate({"p": {"x": 1, "y": 2}, "q": None}, closed_schema(schema))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"p": {"x": 1}, "r": 1}, closed_schema(schema))

"""Schemas that nobody meant: a call must come to its end under them, and what was left out must be named."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest
from grammar_matchers import Walk
from test_narrowing import BACKENDS, grammar_of

from toolchat.mistral.grammar.narrowing import narrowed
from toolchat.mistral.json_scan import BadJsonError, load_object

HALF = "\ud800"
INTEGER, STRING = {"type": "integer"}, {"type": "string"}
ENDLESS = {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}, "required": ["x"]}


def integers(**more):
    return {"type": "integer", **more}


def whole(schema, **definitions):
    return {
        "type": "object",
        "properties": {"v": schema},
        "required": ["v"],
        "additionalProperties": False,
        "$defs": definitions,
    }


# A schema, and what both backends leave out of it.
TABLE = [
    (whole({"$ref": "#/$defs/a"}, a={"$ref": "#/$defs/a"}), "$ref"),
    (whole({"$ref": "#/$defs/a"}, a={"$ref": "#/$defs/b"}, b={"$ref": "#/$defs/c"}, c={"$ref": "#/$defs/a"}), "$ref"),
    (whole({"$ref": "#/$defs/a"}, a={"allOf": [{"$ref": "#/$defs/a"}]}), "$ref"),
    (whole({"$ref": "#/$defs/a"}, a={"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}), "$ref"),
    (whole({"$ref": "#/$defs/a"}, a={"anyOf": [{"$ref": "#/$defs/a"}, STRING]}), "$ref"),
    (whole({"$ref": "#/$defs/a"}, a=ENDLESS), "$ref"),
    (whole({"type": "array", "items": {"$ref": "#/properties/v"}, "minItems": 1}), "$ref"),
    (whole({"$ref": "#/properties/v"}), "$ref"),
    (whole({"$ref": "#"}), "$ref"),
    (whole({"$ref": "#/$defs/a"}), "$ref"),
    (whole({"$ref": 3}), "$ref"),
    (whole({"$ref": "#/$defs/a"}, a=False), "$ref"),
    (whole({"anyOf": []}), "anyOf"),
    (whole({"anyOf": [False, False]}), "anyOf"),
    (whole({"oneOf": []}), "oneOf"),
    (whole({"type": []}), "type"),
    (whole({"type": "whole"}), "type"),
    (whole({"type": [{}]}), "type"),
    (whole({"enum": []}), "enum"),
    (whole({"type": "string", "enum": [1, True]}), "enum"),
    (whole({"type": "string", "const": 1}), "const"),
    (whole({"type": "string", "const": None}), "const"),
    (whole({"enum": [1e300]}), "enum"),
    (whole({"const": 2**63}), "const"),
    (whole(integers(minimum=3, maximum=2)), "minimum, maximum"),
    (whole(integers(exclusiveMinimum=3, exclusiveMaximum=4)), "exclusiveMinimum, exclusiveMaximum"),
    (whole({"type": "number", "minimum": 3.5, "maximum": 3}), "minimum, maximum"),
    (whole(integers(minimum=2**63)), "minimum"),
    (whole(integers(maximum=-(2**63) - 1)), "maximum"),
    (whole({"type": "number", "minimum": float("inf")}), "minimum"),
    (whole({"type": "number", "minimum": float("nan")}), "minimum"),
    (whole(integers(minimum="3", maximum=True)), "minimum, maximum"),
    (whole(integers(multipleOf=0)), "multipleOf"),
    (whole({**STRING, "minLength": 3, "maxLength": 2}), "minLength, maxLength"),
    (whole({**STRING, "maxLength": 10**10}), "maxLength"),
    (whole({"type": "array", "minItems": 3, "maxItems": 2}), "minItems, maxItems"),
    (whole({"type": "array", "prefixItems": [INTEGER], "items": False, "minItems": 2}), "minItems"),
    (whole({"type": "array", "prefixItems": [INTEGER, False], "minItems": 2}), "minItems"),
    (whole({"type": "array", "items": False, "minItems": 1}), "minItems"),
    (whole({"type": "array", "items": INTEGER, "maxItems": 10**6}), "maxItems"),
    (whole({"type": "object", "minProperties": 3, "maxProperties": 2}), "minProperties, maxProperties"),
    (whole(False), "required"),
    ({**whole(INTEGER), "required": "v"}, "required"),
    ({**whole(INTEGER), "required": ["v", "w"]}, "required"),
    ({**whole(INTEGER), "properties": []}, "properties, required"),
    (whole({HALF: 1, "description": HALF, "type": "integer"}), ""),
    (whole({"enum": [HALF, "a", {"k": [HALF]}]}), ""),
    (whole({"enum": [HALF]}), "enum"),
    (whole({"const": {HALF: 1}}), "const"),
    (whole({**STRING, "pattern": HALF}), "pattern"),
    (whole({"type": "object", "properties": {HALF: INTEGER, "a": INTEGER}, "additionalProperties": False}), ""),
    (whole({"type": "object", "properties": {HALF: INTEGER}, "required": [HALF]}), "required"),
    (whole({"type": "object", "patternProperties": {HALF: INTEGER}}), "patternProperties"),
    (whole({"$ref": f"#/$defs/{HALF}"}, **{HALF: INTEGER}), ""),
    (whole({"format": {}}), "format"),
    (whole(3), "what is no schema"),
]


@pytest.mark.long
@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(("schema", "left_out"), TABLE, ids=lambda value: json.dumps(value)[:90])
def test_a_call_comes_to_its_end_and_what_was_left_out_is_named(name, schema, left_out):
    found = narrowed(schema, BACKENDS[name])
    assert ", ".join(sorted(found.left_out)) == ", ".join(sorted(left_out.split(", ")) if left_out else [])
    walked(name, found.schema, schema if not found.left_out else found.schema)


@pytest.mark.long
@pytest.mark.parametrize("name", BACKENDS)
def test_a_deep_schema_is_held_to_a_depth(name):
    schema = INTEGER
    for _ in range(100):
        schema = {"type": "array", "items": schema}
    found = narrowed(whole(schema), BACKENDS[name])
    assert found.left_out == ("what is nested deeper than 64",)
    walked(name, found.schema, found.schema)


def walked(name, schema, fits):
    grammar = grammar_of(BACKENDS[name], schema)
    rng = random.Random(f"{name} {json.dumps(schema)}")
    written = [text for _ in range(10) if (text := Walk(grammar).write(rng)) is not None]
    assert len(written) > 4
    for text in written:
        try:
            value = load_object(text.decode())
        except BadJsonError as error:
            if "given twice" in str(error) or "too large" in str(error):
                continue
            raise
        jsonschema.Draft202012Validator(fits).validate(value)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    "schema",
    [
        whole({"$ref": "#/$defs/a"}, a={**ENDLESS, "required": []}),
        whole({"$ref": "#/$defs/a"}, a={"type": "array", "items": {"$ref": "#/$defs/a"}}),
        whole({"$ref": "#/$defs/a"}, a={"type": "array", "prefixItems": [{"$ref": "#/$defs/a"}], "maxItems": 1}),
        whole({"type": ["object", "null"], "properties": {"x": {"$ref": "#/properties/v"}}, "required": ["x"]}),
        whole({"type": "object", "properties": {"x": False}}),
        whole({"anyOf": [INTEGER, {"const": 3}]}),
        whole(integers(minimum=3, maximum=3)),
        whole({"type": "number", "exclusiveMinimum": 3, "maximum": 4.25}),
        whole({"type": "object", "properties": {"a": INTEGER}, "additionalProperties": False}),
    ],
    ids=lambda value: json.dumps(value)[:90],
)
def test_nothing_is_left_out_of_what_some_value_fits(name, schema):
    found = narrowed(schema, BACKENDS[name])
    assert found.left_out == ()
    walked(name, found.schema, schema)

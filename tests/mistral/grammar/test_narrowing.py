"""Which keywords each backend holds a model to: told by letting a model that knows nothing write under them."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest
from grammar_matchers import Walk

from toolchat.mistral.grammar.constraint import Grammar
from toolchat.mistral.grammar.ebnf import XGRAMMAR, answer_ebnf
from toolchat.mistral.grammar.lark import LLGUIDANCE, lark_grammar
from toolchat.mistral.grammar.narrowing import narrowed
from toolchat.mistral.json_scan import BadJsonError, load_object

INTEGER, NUMBER, STRING, BOOLEAN = ({"type": kind} for kind in ("integer", "number", "string", "boolean"))
POINT = {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]}
A = {"type": "object", "properties": {"k": {"const": "a"}, "x": INTEGER}, "required": ["k"]}
B = {"type": "object", "properties": {"k": {"const": "b"}, "y": BOOLEAN}, "required": ["k", "y"]}


def strings(**more):
    return {"type": "string", **more}


def integers(**more):
    return {"type": "integer", **more}


def arrays(**more):
    return {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 1}, **more}


def objects(**more):
    return {"type": "object", "properties": {"a": INTEGER, "b": BOOLEAN}, **more}


# A schema, and what llguidance and what xgrammar leave out of it.
TABLE = [
    ({"enum": ["a", 1, None, 'é"\n', {"x": [1, 2]}]}, "", ""),
    ({"type": "string", "enum": ["a", 1]}, "", ""),
    ({"const": {"x": 1}}, "", ""),
    ({"enum": [1, 2, 3, 4], "maximum": 2}, "maximum", "maximum"),
    ({"type": "string", "enum": ["a", "bc"], "minLength": 2}, "minLength", "minLength"),
    ({"type": ["integer", "null"], "minimum": 3}, "", ""),
    ({"enum": [1, 2], "anyOf": [STRING, {"const": 1}]}, "anyOf", "anyOf"),
    ({"const": 1, "allOf": [INTEGER]}, "allOf", "allOf"),
    (BOOLEAN, "", ""),
    (INTEGER, "", ""),
    (integers(minimum=-25, maximum=131), "", ""),
    (integers(exclusiveMinimum=3, exclusiveMaximum=9), "", ""),
    (integers(minimum=2.5, maximum=9.5), "", ""),
    (integers(minimum=5, exclusiveMinimum=2.5, maximum=40, exclusiveMaximum=7), "", ""),
    (integers(minimum=-(10**17)), "minimum", "minimum"),
    (integers(multipleOf=7), "multipleOf", "multipleOf"),
    ({**NUMBER, "minimum": -1.25, "maximum": 0.5}, "", ""),
    ({**NUMBER, "exclusiveMinimum": 3, "maximum": 1000}, "", ""),
    ({**NUMBER, "exclusiveMinimum": 0, "maximum": 0.5}, "exclusiveMinimum", "exclusiveMinimum"),
    ({**NUMBER, "minimum": -0.5, "exclusiveMaximum": 0}, "exclusiveMaximum", "exclusiveMaximum"),
    ({**NUMBER, "exclusiveMinimum": 0.125, "exclusiveMaximum": 0.5}, "", ""),
    ({**NUMBER, "minimum": 0.5, "maximum": 0.5}, "", ""),
    ({**NUMBER, "minimum": 1e-9, "maximum": 1}, "minimum", "minimum"),
    ({**NUMBER, "minimum": 0, "maximum": 9, "multipleOf": 0.5}, "multipleOf", "multipleOf"),
    ({**NUMBER, "$defs": {}}, "", ""),
    ({**INTEGER, "pattern": "^a$"}, "", ""),
    (STRING, "", ""),
    (strings(minLength=2, maxLength=5), "", ""),
    (strings(minLength=3), "", ""),
    (strings(pattern="^[a-z]{2,3}-\\d+$"), "", ""),
    (strings(pattern="^(ab|c[de])*f?$"), "", ""),
    (strings(pattern="b"), "", "pattern"),
    (strings(pattern="^.+$"), "", "pattern"),
    (strings(pattern="^[^a]$"), "", "pattern"),
    (strings(pattern='^a"b$'), "", "pattern"),
    (strings(pattern="^[a-z]+$", maxLength=3), "", "maxLength"),
    (strings(pattern="(?=x)xy"), "the schema of v", "pattern"),
    *((strings(format=name), "", "") for name in ("date", "time", "date-time", "duration", "email", "hostname")),
    *((strings(format=name), "", "") for name in ("ipv4", "ipv6", "uri", "uuid")),
    (strings(format="uri-reference"), "format uri-reference", ""),
    (strings(format="regex"), "format regex", "format regex"),
    (strings(format="json-pointer"), "format json-pointer", "format json-pointer"),
    (strings(format="uri", maxLength=20), "", "maxLength"),
    (strings(format="path"), "", ""),
    (arrays(), "", ""),
    (arrays(minItems=1, maxItems=3), "", ""),
    (arrays(uniqueItems=False), "", ""),
    (arrays(uniqueItems=True), "uniqueItems", "uniqueItems"),
    (arrays(contains=INTEGER, minContains=2), "contains, minContains", "contains, minContains"),
    ({"type": "array", "prefixItems": [INTEGER, BOOLEAN], "items": False, "minItems": 2}, "", ""),
    ({"type": "array", "prefixItems": [INTEGER, BOOLEAN], "items": INTEGER, "minItems": 1}, "", ""),
    ({"type": "array", "prefixItems": [INTEGER], "unevaluatedItems": False}, "unevaluatedItems", "unevaluatedItems"),
    ({"type": "array", "items": POINT}, "", ""),
    (objects(required=["b"]), "", ""),
    (objects(minProperties=1), "minProperties", "minProperties"),
    (objects(maxProperties=1), "maxProperties", "maxProperties"),
    (objects(additionalProperties=False, properties={"a": INTEGER, "z": False}), "", ""),
    ({"type": "object", "properties": {'a"b\\c\n': INTEGER, "é": INTEGER}, "required": ["é"]}, "", ""),
    ({"type": "object", "properties": {"\\": INTEGER}, "additionalProperties": True}, "properties", "properties"),
    ({"type": "object", "patternProperties": {"^x": INTEGER}}, "patternProperties", "patternProperties"),
    (objects(patternProperties={"^x": INTEGER}, additionalProperties=False), "patternProperties", "patternProperties"),
    (objects(propertyNames={"pattern": "^x"}), "propertyNames", "propertyNames"),
    (objects(dependentRequired={"a": ["b"]}), "dependentRequired", "dependentRequired"),
    (objects(dependentSchemas={"a": {"required": ["b"]}}), "dependentSchemas", "dependentSchemas"),
    ({**objects(), "if": {"required": ["a"]}, "then": {"required": ["b"]}}, "if", "if"),
    ({"type": ["integer", "string"], "not": {"type": "string"}}, "not", "not"),
    ({"anyOf": [integers(minimum=3, maximum=5), strings(maxLength=2), {"type": "null"}]}, "", ""),
    ({"anyOf": [A, B]}, "", ""),
    ({"oneOf": [A, B]}, "", ""),
    ({"oneOf": [INTEGER, BOOLEAN]}, "", ""),
    ({"oneOf": [{**A, "type": ["object", "null"]}, {**B, "type": ["object", "null"]}]}, "oneOf", "oneOf"),
    ({"oneOf": [integers(minimum=3, maximum=5), integers(minimum=4, maximum=6)]}, "oneOf", "oneOf"),
    (objects(anyOf=[{"required": ["a"]}, {"required": ["b"]}]), "anyOf", "anyOf"),
    ({"allOf": [integers(minimum=3, maximum=5)]}, "", ""),
    ({"allOf": [integers(minimum=3), integers(maximum=5)]}, "allOf", "allOf"),
    ({"allOf": [{"$ref": "#/$defs/Point"}], "description": "said"}, "", ""),
    ({"type": "object", "$ref": "#/$defs/Point"}, "", ""),
    ({"type": "object", "oneOf": [A, B]}, "", ""),
    ({"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}, "", ""),
    ({"properties": {"a": INTEGER}, "$ref": "#/$defs/Point"}, "$ref", "$ref"),
    ({"$ref": "#/properties/v/$defs/x", "$defs": {"x": INTEGER}}, "", ""),
    ({"$ref": "#/$defs/a~1b%20c~0d"}, "", ""),
    (
        {
            "type": "object",
            "properties": {
                "p": {"anyOf": [False, INTEGER, STRING]},
                "q": {"$ref": "#/properties/v/properties/p/anyOf/1"},
            },
            "required": ["p", "q"],
        },
        "",
        "",
    ),
    ({"$ref": "#/properties/v/$defs/y", "$defs": {"y": True}}, "", ""),
    ({"allOf": [{}]}, "", ""),
    ({"$ref": "#/$defs/Inner"}, "$id", "$id"),
    ({"$ref": "#/$defs/Point"}, "", ""),
    ({"$ref": "#/$defs/Tree"}, "", ""),
    ({"$ref": "#/$defs/Point", "description": "said"}, "", ""),
    ({"$ref": "#/$defs/Small", "minimum": 2}, "minimum", "minimum"),
    ({"$ref": "#/$defs/Small", "type": "integer"}, "", ""),
    ({"$ref": "#/$defs/Small", "type": ["number", "null"]}, "", ""),
    ({"$ref": "#/$defs/Any", "type": "integer"}, "$ref", "$ref"),
    ({"oneOf": [{"const": 1}, {"const": 1.0}]}, "oneOf", "oneOf"),
    ({"oneOf": [{"const": 1}, {"const": True}]}, "", ""),
    (integers(multipleOf=7, exclusiveMaximum=0), "multipleOf", "multipleOf"),
    (integers(multipleOf=62615533, minimum=1, maximum=10**12), "multipleOf", "multipleOf"),
    ({**NUMBER, "multipleOf": 0.1}, "multipleOf", "multipleOf"),
    (strings(pattern="^[a-z]{1,127}$"), "", ""),
    (strings(pattern="^[a-z]{1,1000}$"), "", "pattern"),
    (strings(pattern="^([a-z]{1,10}){1,10}$"), "", "pattern"),
    (strings(pattern="^((\\w{1,100}){1,100}){1,100}$"), "pattern", "pattern"),
    (strings(pattern="^" + "[a-z0-9]?" * 500 + "$"), "pattern", "pattern"),
    ({"$ref": "http://nowhere.invalid/x"}, "$ref", "$ref"),
    ({"$ref": "#anchor"}, "$ref", "$ref"),
    ({"title": "T", "deprecated": True, "x-mine": {"not": 1}, **INTEGER}, "", ""),
]
DEFINITIONS = {
    "Any": {},
    "A": A,
    "B": B,
    "a/b c~d": INTEGER,
    "Inner": {"$id": "http://nowhere.invalid/x", **POINT},
    "Point": POINT,
    "Small": integers(minimum=0, maximum=3),
    "Tree": {
        "type": "object",
        "properties": {"left": {"$ref": "#/$defs/Tree"}, "v": BOOLEAN},
        "required": ["v"],
    },
}
BACKENDS = {"llguidance": LLGUIDANCE, "xgrammar": XGRAMMAR}


def whole(schema):
    return {"type": "object", "properties": {"v": schema}, "required": ["v"], "$defs": DEFINITIONS}


def value_of(written, name):
    """The object that was written; None where it is what no grammar can forbid, and the parser refuses."""
    try:
        return load_object(written.decode())
    except BadJsonError as error:
        # A key of the model's own choice twice, a number that no float holds.
        if "given twice" in str(error) or ("too large" in str(error) and name == "llguidance"):
            return None
        raise


def grammar_of(backend, schema):
    if backend is XGRAMMAR:
        return Grammar("ebnf", answer_ebnf(schema))

    class Plain:
        """No control tokens at all."""

        version, adds_space = 13, False

        def special(self, name):
            return None

    text = lark_grammar(Plain(), [], choice="none", parallel=True, answer=schema)
    return Grammar("lark", text)


def left_out_of(name, schema):
    return ", ".join(narrowed(whole(schema), BACKENDS[name]).left_out)


@pytest.mark.parametrize(("schema", "llguidance", "xgrammar"), TABLE, ids=lambda value: json.dumps(value)[:60])
def test_what_is_left_out_is_named(schema, llguidance, xgrammar):
    assert left_out_of("llguidance", schema) == llguidance
    assert left_out_of("xgrammar", schema) == xgrammar


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("schema", [row[0] for row in TABLE], ids=lambda value: json.dumps(value)[:60])
@pytest.mark.parametrize("walks", [pytest.param(10, id="10"), pytest.param(100, id="100", marks=pytest.mark.slow)])
def test_whatever_is_written_under_the_rest_is_json_and_fits_the_schema_but_for_what_is_left_out(name, schema, walks):
    found = narrowed(whole(schema), BACKENDS[name])
    validator = jsonschema.Draft202012Validator(found.schema if found.left_out else whole(schema))
    grammar = grammar_of(BACKENDS[name], found.schema)
    rng = random.Random(name + json.dumps(schema))
    ended = 0
    for _ in range(walks):
        written = Walk(grammar).write(rng)
        if written is None:
            continue
        ended += 1
        if (value := value_of(written, name)) is not None:
            validator.validate(value)
    assert ended > walks // 3


@pytest.mark.parametrize("name", BACKENDS)
def test_a_schema_that_stands_in_another_document_is_referred_to_there(name):
    found = narrowed(whole({"$ref": "#/$defs/Tree"}), BACKENDS[name], base="#/$defs/tool0").schema
    assert found["properties"]["v"] == {"$ref": "#/$defs/tool0/$defs/d0"}
    assert found["$defs"]["d0"]["properties"]["left"] == {"$ref": "#/$defs/tool0/$defs/d0"}


@pytest.mark.parametrize("name", BACKENDS)
def test_what_only_looks_like_a_keyword_is_left_alone(name):
    schema = {
        "type": "object",
        "properties": {"not": {"enum": [{"$ref": "#/x", "not": 1}]}, "$ref": STRING, "uniqueItems": BOOLEAN},
        "required": ["not"],
        "additionalProperties": False,
    }
    found = narrowed(schema, BACKENDS[name], base="#/$defs/tool0")
    assert (found.schema, found.left_out) == (schema, ())


@pytest.mark.parametrize(
    ("branches", "apart"),
    [
        ([INTEGER, STRING, {"type": ["null", "boolean"]}], True),
        ([{"enum": [1, 2]}, {"const": 3}], True),
        ([A, B], True),
        ([{"const": 1}, {"const": True}, {"const": "1"}, {"const": [1]}, {"const": {"1": 1}}], True),
        ([{"const": [1]}, {"const": [1.0]}], False),
        ([{"type": [{}], "required": 3}, {"type": 5, "properties": []}], False),
        ([{**A, "required": 3}, B], False),
        ([INTEGER, NUMBER], False),
        ([{"enum": [1, 2]}, {"const": 2}], False),
        ([A, {**B, "required": ["y"]}], False),
        ([A, {}], False),
        ([A, True], False),
    ],
)
def test_branches_are_apart_by_type_by_value_or_by_a_property_that_both_must_have(branches, apart):
    left_out = narrowed({"oneOf": branches}, LLGUIDANCE, arguments=False).left_out
    assert ("oneOf" not in left_out) == apart


@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize("more", [{}, {"$defs": {}}, {"pattern": "^a$"}])
def test_on_xgrammar_no_number_is_endless(kind, more):
    found = narrowed(whole({"type": kind, **more}), XGRAMMAR).schema
    for digits in ("1" * 40, "-" + "1" * 40, "1e" + "1" * 10, "0." + "1" * 40):
        walk = Walk(grammar_of(XGRAMMAR, found))
        with pytest.raises(AssertionError):
            for byte in b'{"v": ' + digits.encode():
                walk.take(byte)

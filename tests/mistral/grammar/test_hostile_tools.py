"""Tools whose schemas are against us: what they may cost, and that no request fails of them."""

from __future__ import annotations

import json
import time

import jsonschema
import pytest
from grammar_matchers import Walk
from mistral_tokenizers import ALL, CALLS, spell, vocabulary_of
from nasty_schemas import nasty_schema, rng_of
from test_constraint import call_of, may_write
from test_narrowing import BACKENDS, grammar_of, value_of

from toolchat.mistral.grammar import constraint as module
from toolchat.mistral.grammar.constraint import constraint
from toolchat.wire.messages import ToolSpec

HALF = "\ud800"
SCHEMAS = 60
"""About 5 s."""


def tools_of(count, *schemas, **more):
    """Tools with these properties, each of which is another schema: N in a pattern is its number."""
    return [
        ToolSpec(
            f"t{index}",
            "",
            json.loads(
                json.dumps(
                    {"type": "object", "properties": {f"p{at}": one for at, one in enumerate(schemas)}, **more}
                ).replace("xN", f"x{index}")
            ),
        )
        for index in range(count)
    ]


def patterns(*texts):
    return [{"type": "string", "pattern": text} for text in texts]


STRING = {"type": "string"}
HOSTILE = {
    "nested": tools_of(20, *patterns("^([a-z]{1,100}[0-9]{1,100}){1,100}xN$")),
    "optional atoms": tools_of(20, *patterns("^" + "[a-z0-9]?" * 500 + "xN$")),
    "just allowed": tools_of(40, *patterns("^([a-z]{1,10}){1,4}xN$", "^(([a-z]{1,3}){1,3}){1,2}xN$")),
    "many": tools_of(100, *patterns("^([a-z]{1,10}[0-9]{1,10}){1,3}xN$", *["^[a-z]{1,60}xN$"] * 4)),
    "counted": tools_of(5, *[STRING] * 300, minProperties=20, maxProperties=140),
    "optional": tools_of(5, *[STRING] * 400),
    "open": tools_of(5, *[STRING] * 100, additionalProperties=True),
    "bounds": tools_of(5, *[{"type": "number", "minimum": at + 0.123456, "maximum": 10**9 + at} for at in range(200)]),
    "lengths": tools_of(5, *[{**STRING, "maxLength": 1_000 + at} for at in range(200)]),
    "values": tools_of(5, *[{"enum": [f"{at} {'x' * 300}" for at in range(300)]}]),
    "branches": tools_of(5, {"anyOf": [{"type": "object", "properties": {f"p{at}": STRING}} for at in range(500)]}),
    "apart": tools_of(
        5,
        {
            "oneOf": [
                {"type": "object", "required": [f"k{at}" for at in range(3_000)], "not": {"const": {"k": branch}}}
                for branch in range(60)
            ]
        },
    ),
    "backtracking": tools_of(20, *patterns("^" + "[a]]]" * 60 + "xN", "[" * 900 + "xN", "^" + "(a|b?" * 30 + "xN")),
    "definitions": tools_of(
        5,
        {"$ref": "#/$defs/d0"},
        **{"$defs": {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}, STRING]} for at in range(3_000)}},
    ),
    "refused": tools_of(5, *patterns("(?=x)xN"), *[STRING] * 300),
    "long": tools_of(60, {"type": "array", "items": {"type": "integer"}, "maxItems": 1_999}),
    "endless": tools_of(20, {"type": "array", "items": {"type": "integer"}, "maxItems": 10**6}),
}


@pytest.mark.long
@pytest.mark.parametrize("label", ["v3-spm", "v13"])
@pytest.mark.parametrize("tools", HOSTILE.values(), ids=HOSTILE)
def test_what_would_cost_minutes_is_left_out_and_named(tokenizer_of, label, tools):
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    call = spell(tokenizer, *call_of(label, ("t3", "{}")))
    may_write(tokenizer, constraint(vocabulary, [], choice="none", answer={}), [])
    began = time.process_time()
    plan = constraint(vocabulary, tools, choice="required")
    written = may_write(tokenizer, plan, call)
    # A second is promised; tests run beside others.
    assert time.process_time() - began < 2
    assert written
    assert len(plan.held) + len(plan.notes) == len(tools)
    # llguidance holds to some of them, whole, in that time.
    assert plan.notes or label == "v13"


@pytest.mark.parametrize("label", ALL)
def test_half_a_surrogate_pair_anywhere_stops_no_plan(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    schema = {
        "type": "object",
        "description": HALF,
        "properties": {HALF: {}, "a": {"enum": [HALF, "a"]}, "b": {"type": "string", "pattern": HALF, "format": HALF}},
        "required": [HALF],
        "$defs": {HALF: {"const": HALF}},
        HALF: HALF,
    }
    plan = constraint(vocabulary_of(tokenizer), [ToolSpec("f", HALF, schema)], choice="required", answer=schema)
    assert plan.held == frozenset()
    assert may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("f", '{"a": "a"}'))))
    assert not may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("f", '{"a": "b"}'))))
    "\n".join(plan.notes).encode()


@pytest.mark.parametrize("label", ALL)
@pytest.mark.parametrize(
    "root", [{"$ref": "#/$defs/a"}, {"$ref": "#"}, {"enum": [1]}, {"const": 1}, {"type": "array"}, {"type": []}]
)
def test_arguments_are_an_object_whatever_the_schema_says(tokenizer_of, label, root):
    tokenizer = tokenizer_of(label)
    tool = ToolSpec("f", "", {**root, "$defs": {"a": {"type": "integer"}}})
    plan = constraint(vocabulary_of(tokenizer), [tool], choice="required")
    assert may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("f", "{}"))))
    for wrong in ("1", "[]", '"a"', "null"):
        assert not may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("f", wrong))))
    assert plan.held == frozenset()


@pytest.mark.parametrize("label", ALL)
def test_what_is_too_large_together_is_held_to_names_and_json(tokenizer_of, monkeypatch, label):
    compiles = module.compiles
    monkeypatch.setattr(module, "compiles", lambda grammar: "maybe" not in grammar.text and compiles(grammar))
    tokenizer = tokenizer_of(label)
    tools = [ToolSpec("f", "", {"type": "object", "properties": {"a": {"enum": ["maybe"]}}}), ToolSpec("g", "", {})]
    answer = {"enum": ["maybe"]}
    plan = constraint(vocabulary_of(tokenizer), tools, answer=answer)
    assert may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("f", '{"a": [1]}'))))
    assert not may_write(tokenizer, plan, spell(tokenizer, *call_of(label, ("h", '{"a": [1]}'))))
    assert not may_write(tokenizer, plan, spell(tokenizer, CALLS, "f"))
    assert plan.held == frozenset()
    assert plan.notes == (
        "calls of f are checked, not constrained, as to the whole schema",
        "calls of g are checked, not constrained, as to the whole schema",
        "the answer is not constrained as to the whole schema",
    )


def check_nasty(name, seed):
    """How many of some walks under one schema came to an end; whatever those wrote is checked."""
    schema = nasty_schema(seed)
    parts = module._Parts(BACKENDS[name])
    found = parts.tool("f", schema, base="#")
    "\n".join(parts.notes).encode()
    grammar = grammar_of(BACKENDS[name], found)
    fits = jsonschema.Draft202012Validator(schema if parts.held else found)
    ended = 0
    for number in range(4):
        walk = Walk(grammar)
        written = walk.write(rng_of(f"{seed} {number}"), longest=800)
        if written is None:
            continue
        ended += 1
        if (value := value_of(written, name)) is not None:
            fits.validate(value)
    return ended


@pytest.mark.long
@pytest.mark.parametrize("name", BACKENDS)
def test_under_random_nasty_schemas_calls_are_json_and_fit_what_is_held(name):
    assert sum(check_nasty(name, seed) for seed in range(SCHEMAS)) > SCHEMAS


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_under_thousands_of_them_too(name):
    assert sum(check_nasty(name, seed) for seed in range(SCHEMAS, 3_000)) > 3_000 - SCHEMAS

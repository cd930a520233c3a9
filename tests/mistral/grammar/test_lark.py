from __future__ import annotations

import inspect
import json
import random

import pytest
from grammar_matchers import accepts
from mistral_cases import Case, encode
from mistral_common.guidance.grammar_factory import GrammarFactory
from mistral_common.protocol.instruct.tool_calls import Function, Tool, ToolChoiceEnum
from mistral_tokenizers import ALL, ARGS, CALL_ID, CALLS, END_THINK, EOS, NAMED, THINK, spell, vocabulary_of

from toolchat.mistral.grammar.constraint import Grammar, constraint
from toolchat.mistral.grammar.lark import LLGUIDANCE, supports_lark
from toolchat.mistral.grammar.narrowing import narrowed
from toolchat.wire.messages import ToolSpec

WEATHER = ToolSpec(
    "get_current_weather",
    "The weather in a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "state": {"type": "string"},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "state", "unit"],
    },
)
PLACE = ToolSpec(
    "go",
    "Go somewhere.",
    {
        "type": "object",
        "properties": {
            "place": {"$ref": "#/$defs/Place"},
            "stops": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            "who": {"anyOf": [{"type": "object", "properties": {"name": {"type": "string"}}}, {"type": "null"}]},
            "options": {"type": "object"},
        },
        "required": ["place"],
        "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
    },
)
PING = ToolSpec("ping", "No arguments.", {"type": "object", "properties": {}})
TOOLS = [WEATHER, PLACE, PING]
RIGHT = '{"city": "Dallas", "state": "TX", "unit": "fahrenheit"}'


def grammar_of(tokenizer, tools, **options):
    return constraint(vocabulary_of(tokenizer), tools, **options).step.grammar


@pytest.fixture
def allows(tokenizer_of):
    def check(*parts, label="v13", tools=TOOLS, tool_choice="auto", parallel=True):
        tokenizer = tokenizer_of(label)
        grammar = grammar_of(tokenizer, tools, choice=tool_choice, parallel=parallel)
        return accepts(tokenizer, grammar, spell(tokenizer, *parts))

    return check


@pytest.mark.parametrize("label", ALL)
def test_only_tekken_takes_a_lark_grammar(tokenizer_of, label):
    assert supports_lark(vocabulary_of(tokenizer_of(label))) == (not label.endswith("spm"))


@pytest.mark.parametrize("label", NAMED)
def test_right_calls_pass(allows, label):
    call = [CALLS, "get_current_weather", ARGS, RIGHT]
    for parts in ([*call], ["Let me see.", *call], [*call, CALLS, "ping", ARGS, "{}"], ["Just text."]):
        assert allows(*parts, label=label)
        assert allows(*parts, label=label, tools=[*reversed(TOOLS)])


def test_a_call_may_have_an_id_where_those_of_the_history_have_one(allows):
    call = [CALLS, "get_current_weather", CALL_ID, "abcdefghi", ARGS, RIGHT]
    assert allows(*call, label="v11")
    assert allows(*call, *call, CALLS, "ping", ARGS, "{}", label="v11")
    for label in ("v13", "v13-plain", "v15"):
        assert not allows(*call, label=label)


@pytest.mark.parametrize(
    "parts",
    [
        (CALLS, "get_weather", ARGS, RIGHT),
        (CALLS, "get_current_weather2", ARGS, RIGHT),
        (CALLS, "get_current_weather", CALL_ID, "abcdefgh", ARGS, RIGHT),
        (CALLS, "get_current_weather", CALL_ID, "abcdefghij", ARGS, RIGHT),
        (CALLS, "get_current_weather", CALL_ID, ARGS, RIGHT),
        (CALLS, "get_current_weather", CALL_ID, "abcdefghi", RIGHT),
        (CALLS, CALL_ID, "abcdefghi", "get_current_weather", ARGS, RIGHT),
        (CALLS, "get_current_weather", RIGHT),
        (CALLS, "get_current_weather", ARGS, RIGHT.replace("fahrenheit", "kelvin")),
        (CALLS, "get_current_weather", ARGS, RIGHT.replace("}", ', "extra": 1}')),
        (CALLS, "get_current_weather", ARGS, RIGHT.replace('"TX"', "7")),
        (CALLS, "get_current_weather", ARGS, '{"city": "Dallas"}'),
        (CALLS, "get_current_weather", ARGS, "{}"),
        (CALLS, "get_current_weather", ARGS, RIGHT[:-1]),
        (CALLS, "get_current_weather", ARGS, "[1]"),
        (CALLS, "ping", ARGS, '{"a": 1}'),
        (CALLS, "go", ARGS, '{"place": {"x": 1, "y": 2}}'),
        (CALLS, "go", ARGS, '{"place": {"x": 1}, "stops": [{"x": 1}, {"y": 1}]}'),
        (CALLS, "go", ARGS, '{"place": {"x": 1}, "who": {"nick": "b"}}'),
        (CALLS, "get_current_weather", ARGS, RIGHT, "And then some text."),
        (CALLS, "get_current_weather", ARGS, RIGHT.replace(", ", "," + "\n" * 40)),
        (CALLS,),
        (ARGS,),
    ],
)
@pytest.mark.parametrize("label", ["v11", "v13"])
def test_wrong_calls_cannot_be_written(allows, label, parts):
    assert not allows(*parts, label=label)


@pytest.mark.parametrize(
    "arguments",
    [
        '{"place": {"x": 1}}',
        '{"place": {"x": 1}, "stops": [{"x": 1}, {"x": 2}]}',
        '{"place": {"x": 1}, "who": {"name": "b"}}',
        '{"place": {"x": 1}, "who": null, "options": {"any": ["thing", {}]}}',
    ],
)
def test_nested_objects_are_closed_and_free_form_ones_stay_free(allows, arguments):
    assert allows(CALLS, "go", ARGS, arguments)


@pytest.mark.parametrize("label", ["v13", "v15"])
@pytest.mark.parametrize("choice", ["auto", "required", "ping"])
def test_thinking_may_come_first(allows, label, choice):
    parts = [THINK, "hm", END_THINK, CALLS, "ping", ARGS, "{}"]
    assert allows(*parts, label=label, tool_choice=choice)


@pytest.mark.parametrize("label", NAMED)
def test_a_required_call_has_no_text_before_it(allows, label):
    call = [CALLS, "ping", ARGS, "{}"]
    for choice in ("required", "ping"):
        assert allows(*call, label=label, tool_choice=choice)
        assert not allows("Text.", *call, label=label, tool_choice=choice)
        assert not allows("Text.", label=label, tool_choice=choice)
    if label in ("v13", "v15"):
        assert not allows(THINK, "hm", END_THINK, "Text.", *call, label=label, tool_choice="required")


def test_a_named_choice_allows_that_tool_only(allows):
    assert not allows(CALLS, "get_current_weather", ARGS, RIGHT, tool_choice="ping")
    assert allows(CALLS, "get_current_weather", ARGS, RIGHT, tool_choice="get_current_weather")


def test_without_parallel_calls_there_is_one(allows):
    call = [CALLS, "ping", ARGS, "{}"]
    assert allows(*call, parallel=False)
    assert not allows(*call, *call, parallel=False)
    assert allows(*call, *call, *call)


@pytest.mark.long
@pytest.mark.parametrize("label", ["v11", "v13"])
def test_the_language_is_that_of_the_librarys_factory(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    factory = GrammarFactory(tokenizer)
    strict = [
        Tool(function=Function(name=tool.name, parameters=narrowed(tool.parameters, LLGUIDANCE).schema, strict=True))
        for tool in TOOLS
    ]
    # mistral_common 1.13 made the last two mandatory, of which 1.12 knows none or one.
    known = inspect.signature(factory.get_lark_from_jinja).parameters
    options = {name: False for name in ("json_only", "force_tool_names") if name in known}
    theirs = factory.get_lark_from_jinja(
        factory.select_jinja_template(), ToolChoiceEnum.auto, strict, None, parallel_tool_calls=True, **options
    )
    ours = grammar_of(tokenizer, TOOLS)
    rng = random.Random(label)
    pieces = ["Text. ", CALLS, "ping", "get_current_weather", ARGS, "{}", RIGHT, " ", '{"a": 1}']
    pieces += [THINK, "hm", END_THINK] if label == "v13" else []
    call = (CALLS, "ping", ARGS, "{}")
    fixed = [("Text.", *call), call, (*call, *call), (*call, " ", *call), ("Text.",), (*call, "Text.")]
    drawn = [tuple(rng.choices(pieces, k=rng.randint(1, 6))) for _ in range(120)]
    spelled = [spell(tokenizer, *parts) for parts in fixed + drawn]
    verdicts = [(accepts(tokenizer, ours, ids), accepts(tokenizer, Grammar("lark", theirs), ids)) for ids in spelled]
    assert all(own == other for own, other in verdicts)
    assert {own for own, _ in verdicts} == {True, False}


@pytest.mark.parametrize("label", ["v13", "v13-plain", "v15"])
def test_what_mistral_common_encodes_for_these_tools_passes(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    wanted = Case(
        (
            (WEATHER.name, {"city": 'é "x" 😀', "state": "[TOOL_CALLS]", "unit": "celsius"}, "abcdefghi"),
            (PLACE.name, {"place": {"x": 1}, "stops": [{"x": 2}, {"x": 3}]}, "bcdefghij"),
            (PING.name, {}, "cdefghijk"),
        )
    )
    ids = encode(tokenizer, wanted)
    assert ids[-1] == spell(tokenizer, EOS)[0]
    assert accepts(tokenizer, grammar_of(tokenizer, TOOLS, choice="required"), ids[:-1])


UNSUPPORTED = [
    ({"a": {"type": "array", "uniqueItems": True}}, '{"a": [1]}'),
    ({"a": {"type": "string", "format": "weird"}}, '{"a": "x"}'),
    ({"a": {"not": {"type": "string"}}}, '{"a": 1}'),
    ({"a": {"oneOf": [{"type": "number"}, {"type": "integer"}]}}, '{"a": 1}'),
    ({"a": {"$ref": "http://nowhere.invalid/x"}}, '{"a": 1}'),
    ({"a": {"type": "string", "pattern": "(?=x)xy"}}, '{"a": "xy"}'),
]


@pytest.mark.parametrize(("properties", "arguments"), UNSUPPORTED)
def test_a_keyword_llguidance_lacks_loosens_its_own_tool_only(allows, properties, arguments):
    tools = [ToolSpec("odd", "", {"type": "object", "properties": properties}), PING]
    assert allows(CALLS, "odd", ARGS, arguments, tools=tools)
    assert not allows(CALLS, "even", ARGS, arguments, tools=tools)
    assert not allows(CALLS, "odd", ARGS, "[]", tools=tools)
    assert not allows(CALLS, "ping", ARGS, '{"a": 1}', tools=tools)


def test_a_keyword_llguidance_lacks_keeps_the_rest_of_the_schema(allows):
    tools = [ToolSpec("odd", "", {"type": "object", "properties": UNSUPPORTED[0][0]})]
    assert not allows(CALLS, "odd", ARGS, '{"b": []}', tools=tools)
    assert not allows(CALLS, "odd", ARGS, '{"a": 1}', tools=tools)


def test_a_schema_without_parameters_takes_none(allows):
    for parameters in ({}, {"type": "object"}, {"type": "object", "properties": {}}):
        assert allows(CALLS, "f", ARGS, "{}", tools=[ToolSpec("f", "", parameters)])
        assert not allows(CALLS, "f", ARGS, '{"a": 1}', tools=[ToolSpec("f", "", parameters)])


def test_the_order_of_properties_is_the_authors(tokenizer_of, allows):
    schema = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "integer"}}}
    turned = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
    text = '{"b": 1, "a": 2}'
    assert allows(CALLS, "f", ARGS, text, tools=[ToolSpec("f", "", schema)])
    assert not allows(CALLS, "f", ARGS, text, tools=[ToolSpec("f", "", turned)])


def test_a_schema_in_any_language_makes_a_grammar(allows):
    schema = {
        "type": "object",
        "properties": {"måned": {"enum": ["maj\n", 'ju"ni', "漢"]}},
        "required": ["måned"],
    }
    tools = [ToolSpec("f", "", schema)]
    assert allows(CALLS, "f", ARGS, json.dumps({"måned": 'ju"ni'}, ensure_ascii=False), tools=tools)
    assert not allows(CALLS, "f", ARGS, '{"måned": "juli"}', tools=tools)

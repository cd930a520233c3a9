from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchat.cli.tool_call import arguments_in, arguments_of
from toolchat.tools.toolbox import Tool
from toolchat.wire.errors import UsageError

SCALARS: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
PROPERTIES: dict[str, Any] = {
    "city": {"type": "string"},
    "limit": {"type": "integer"},
    "ratio": {"type": "number"},
    "loud": {"type": "boolean"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "sizes": {"type": "array", "items": {"type": "integer"}},
    "where": {"$ref": "#/$defs/Where"},
    "loose": SCALARS,
    "size": {"enum": [1, 2, "auto"]},
    "max_tokens": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    "größe": {"type": "integer"},
    "flag_or_text": {"type": ["boolean", "string"]},
}


def tool(properties: dict[str, Any]) -> Tool:
    where = {"type": "object", "properties": {"folder": {"type": "string"}}}
    parameters = {"type": "object", "properties": properties, "$defs": {"Where": where}}
    return Tool("find", "Find.", parameters, "m:find", "find()", "t:1:1")


FIND = tool(PROPERTIES)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["--city", "Dallas"], {"city": "Dallas"}),
        (["--city=Dallas"], {"city": "Dallas"}),
        (["--city", "5"], {"city": "5"}),
        (["--city", "-"], {"city": "-"}),
        (["--city="], {"city": ""}),
        (["--city=--x"], {"city": "--x"}),
        (["--city", "no"], {"city": "no"}),
        (["--limit", "5", "--ratio", "-0.5"], {"limit": 5, "ratio": -0.5}),
        (["--limit", "five"], {"limit": "five"}),
        (["--ratio", "3"], {"ratio": 3}),
        (["--ratio", "NaN"], {"ratio": "NaN"}),
        (["--ratio", "1e999"], {"ratio": "1e999"}),
        (["--loud"], {"loud": True}),
        (["--no-loud"], {"loud": False}),
        (["--loud", "off", "--city", "x"], {"loud": False, "city": "x"}),
        (["--loud", "--city", "x"], {"loud": True, "city": "x"}),
        (["--tags", "a"], {"tags": ["a"]}),
        (["--tags", "a", "--tags", "b"], {"tags": ["a", "b"]}),
        (["--tags", '["a", "b"]'], {"tags": ["a", "b"]}),
        (["--sizes", "1", "--sizes", "2"], {"sizes": [1, 2]}),
        (["--where", '{"folder": "x"}'], {"where": {"folder": "x"}}),
        (["--loose", "5"], {"loose": 5}),
        (["--loose", '"5"'], {"loose": "5"}),
        (["--loose", "five"], {"loose": "five"}),
        (["--size", "1", ], {"size": 1}),
        (["--size", "auto"], {"size": "auto"}),
        (["--max-tokens", "3"], {"max_tokens": 3}),
        (["--max-tokens", "null"], {"max_tokens": None}),
        (["--gro\u0308ße", "4"], {"größe": 4}),
        (["--flag_or_text", "yes it is"], {"flag_or_text": "yes it is"}),
        ([], {}),
    ],
)  # fmt: skip
def test_a_word_is_what_its_parameter_takes(words: list[str], arguments: dict[str, Any]) -> None:
    assert arguments_of(FIND, words) == arguments


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cty", "x"], '--cty: find takes --city, --limit, .*; did you mean "--city"'),
        (["Dallas"], '"Dallas" belongs to no parameter of find; expected --NAME VALUE; write --city Dallas'),
        (["-c", "x"], '"-c" belongs to no parameter'),
        (["--city"], "--city has no value"),
        (["--city", "--limit"], "--city has no value; .* write --city=VALUE"),
        (["--city", "a", "--city", "b"], "--city is given 2 times; find takes one value of it"),
        (["--no-city", "x"], "--no-city: find takes"),
    ],
)
def test_a_word_that_belongs_to_no_parameter_is_refused_in_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        arguments_of(FIND, words)
    assert "\n" not in str(caught.value)


def test_a_tool_that_takes_nothing_says_so() -> None:
    with pytest.raises(UsageError, match="--x: find takes no arguments; leave it out"):
        arguments_of(tool({}), ["--x", "1"])
    with pytest.raises(UsageError, match="it takes no arguments: leave it out"):
        arguments_of(tool({}), ["x"])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "city": st.text(),
            "limit": st.integers(),
            "ratio": st.floats(allow_nan=False, allow_infinity=False),
            "loud": st.booleans(),
            "tags": st.lists(st.text(), min_size=2),
            "sizes": st.lists(st.integers()),
            "loose": st.integers() | st.booleans() | st.none(),
            "where": st.dictionaries(st.text(), st.text()),
        },
    )
)
def test_every_argument_can_be_written_as_a_word(arguments: dict[str, Any]) -> None:
    words = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in arguments.items()]
    assert arguments_of(FIND, words) == arguments


@pytest.mark.parametrize("text", ["[1]", "{", "nothing", '{"a": NaN}', "5", "[" * 100_000])
def test_what_is_no_json_object_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"--json: .*expected an object, such as ") as caught:
        arguments_in(text, "--json")
    assert "\n" not in str(caught.value)


def test_an_empty_standard_input_gives_no_arguments() -> None:
    assert arguments_in(" \n", "standard input") == {}
    assert arguments_in('{"a": 1}\n', "standard input") == {"a": 1}

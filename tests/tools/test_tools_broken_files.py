# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from toolchat.tools.file_schema import file_schema
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.tools_file import read_tools_file
from toolchat.wire.errors import ExitCode, UsageError

TOOL = "callable: toolchat.samples.weather:get_current_weather"
HEAD = "version: 1\ntools:\n- "
ONE = f"{HEAD}{TOOL}\n  "
PARAMETER = f"{ONE}parameters:\n    city: "

# No JSON value, or one in which the mistake is gone: an editor's YAML parser has its own word for these.
NO_YAML = [
    ("", "1:1", "the file is empty; expected version: 1"),
    ("# only a comment\n", "1:1", "the file is empty"),
    ("tools: [", "2:1", "not valid YAML: did not find expected node content"),
    ("version: 1\ntools:\n  - callable: a:b\n   name: c\n", "4:4", "not valid YAML"),
    ("a: b: c", "1:5", "not valid YAML: mapping values are not allowed"),
    ("version: 1\n\ttools: []", "2:1", "not valid YAML: found"),
    ("version: 1\ntools: *nothing", "2:8", "not valid YAML: found undefined alias"),
    ("version: 1\n---\ntools: []\n", "2:1", "not valid YAML: but found another document"),
    ("version: 1\ntools: [\x01]", "2:9", "not valid YAML: control characters"),
    ("[" * 100, "2:1", "not valid YAML"),
    ("[" * 101, "1:101", "is nested over 100 levels deep; correct the file at this place"),
    ("tools: " + "{a: " * 100 + "1" + "}" * 100, "1:404", "is nested over 100 levels deep"),
    (
        "version: 1\ntools: []\n? [x]\n: 1",
        "3:3",
        "unknown key a list; expected version, defaults, tools, mcp; remove it",
    ),
    ("version: 1\nversion: 1\ntools: []", "2:1", 'the key "version" stands here a second time'),
    (
        f"{ONE}name: a\n  name: b",
        "5:3",
        'the key "name" stands here a second time; expected it once; remove one of the two',
    ),
    (f"{ONE}parameters:\n    gr\u00f6\u00dfe: a\n    gro\u0308\u00dfe: b", "6:5", "stands here a second time"),
    (f"{PARAMETER}a\n    city: b", "6:5", 'the key "city" stands here a second time'),
    ("version: !!python/object:os.x 1\ntools: []", "1:10", "version is 1; expected 1"),
]

STRUCTURAL = [
    ("- a\n- b\n", "1:1", "the file is a list; expected the keys version, defaults, tools"),
    ("just words", "1:1", 'the file is "just words"; expected the keys version, defaults, tools'),
    ("tools: []", "1:1", "version is missing; expected version: 1; add it"),
    ('version: "1"\ntools: []', "1:10", 'version is "1"; expected 1; write version: 1'),
    ("version: 2\ntools: []", "1:10", "version is 2; expected 1"),
    ("version: 1\n", "1:1", "tools is missing; expected a list"),
    ("version: 1\ntools:\n", "2:7", "tools is empty; expected a list"),
    ("version: 1\ntools: {a: b}", "2:8", "tools is a mapping; expected a list; begin each tool with - callable:"),
    ("version: 1\ntool: []\ntools: []", "2:1", 'unknown key "tool"; expected version, defaults, tools, mcp; did you mean "tools"?'),
    ("version: 1\ntools: []\nDefaults: {}", "3:1", 'unknown key "Defaults"; expected version, defaults, tools, mcp; did you mean "defaults"?'),
    ("version: 1\ndefaults: ask\ntools: []", "2:11", 'defaults is "ask"; expected the keys approval, timeout, memory'),
    ("version: 1\ndefaults: {aproval: ask}\ntools: []", "2:12", 'did you mean "approval"?'),
    ("version: 1\ndefaults: {name: x}\ntools: []", "2:12", 'unknown key "name"; expected approval, timeout, memory, max_result_tokens, stateful, enabled, env, cwd, privileges, untyped, effects, untrusted; remove it'),
    ("version: 1\ndefaults: {timeout: fast}\ntools: []", "2:21", 'timeout is "fast"; expected seconds, as 30, "30s" or "2m"'),
    (f"{HEAD}a.b.c", "3:3", 'a tool is "a.b.c"; expected the keys callable, name, description'),
    (f"{HEAD}a.b:c.", "3:3", 'callable is "a.b:c."; expected module:function'),
    (f"{HEAD}name: x", "3:3", "callable is missing; expected callable: module:function; name the tool's function"),
    (f"{HEAD}callable: 5", "3:13", "callable is 5; expected text; write it in quotes"),
    (f"{HEAD}callable: [a]", "3:13", "callable is a list; expected text"),
    (f"{HEAD}callable: my_tools.greet", "3:13", 'callable is "my_tools.greet"; expected module:function or ./file.py:function; did you mean "my_tools:greet"?'),
    (f"{HEAD}callable: tools.py:greet", "3:13", 'did you mean "./tools.py:greet"?'),
    (f"{HEAD}callable: sub/tools.py:greet", "3:13", 'did you mean "./sub/tools.py:greet"?'),
    (f"{HEAD}callable: ./tools:greet", "3:13", 'did you mean "./tools.py:greet"?'),
    (f"{HEAD}callable: my-tools:greet", "3:13", 'did you mean "./my-tools.py:greet"?'),
    (f"{HEAD}callable: m:Store.", "3:13", 'callable is "m:Store."; expected module:function or ./file.py:function'),
    (f"{HEAD}callable: /home/me/x.py:f", "3:13", "expected a file in the folder of the tools file or below it; put it there"),
    (f"{HEAD}callable: ../x.py:f", "3:13", "expected a file in the folder of the tools file or below it"),
    (f"{HEAD}callable: 'm:'", "3:13", 'callable is "m:"; expected module:function or ./file.py:function'),
    (f"{HEAD}callable: 'm:1f'", "3:13", "write for example my_tools:greet"),
    (f"{ONE}name: a b", "4:9", 'name is "a b"; expected 1 to 64 of the characters a-z A-Z 0-9 _ -; rename the tool'),
    (f"{ONE}name: {'x' * 65}", "4:9", "expected 1 to 64"),
    (f"{ONE}name: 7", "4:9", "name is 7; expected text"),
    (f"{ONE}description:", "4:15", "description is empty; expected text"),
    (f"{ONE}description: '  '", "4:16", "description is empty; expected text"),
    (f"{ONE}description: {'x ' * 600}", "4:16", "description has 1199 characters; expected at most 1024; shorten it"),
    (f"{ONE}desciption: x", "4:3", 'unknown key "desciption"'),
    (f"{ONE}desciption: x", "4:3", 'did you mean "description"?'),
    (f"{ONE}approval: alow", "4:13", 'approval is "alow"; expected allow, ask or deny; did you mean "allow"?'),
    (f"{ONE}approval: yes", "4:13", 'approval is yes; expected allow, ask or deny; did you mean "allow"?'),
    (f"{ONE}approval: never", "4:13", 'did you mean "deny"?'),
    (f"{ONE}approval: [ask]", "4:13", "approval is a list; expected allow, ask or deny; write approval: ask"),
    (f"{ONE}timeout: 0", "4:12", "timeout is 0; expected more than 0 seconds and at most 24h"),
    (f"{ONE}timeout: -5", "4:12", "timeout is -5; expected seconds"),
    (f"{ONE}timeout: 90001", "4:12", "expected more than 0 seconds and at most 24h"),
    (f"{ONE}timeout: off", "4:12", "timeout is off; expected seconds, as 30, \"30s\" or \"2m\"; a tool cannot be without a limit"),
    (f"{ONE}timeout: 2 days", "4:12", 'timeout is "2 days"; expected seconds'),
    (f"{ONE}timeout: .inf", "4:12", "timeout is .inf; expected seconds"),
    (f"{ONE}memory: 512mb", "4:11", 'memory is "512mb"; expected a size, as "512MB" or "2GiB", bytes, or off; did you mean "512MB"?'),
    (f"{ONE}memory: 2g", "4:11", 'did you mean "2GB"?'),
    (f"{ONE}memory: 512", "4:11", 'memory is 512; expected at least 1MiB and at most 1024TiB; did you mean "512MB"?'),
    (f"{ONE}memory: lots", "4:11", "write memory: 512MB"),
    (f"{ONE}max_result_tokens: 1k", "4:22", 'max_result_tokens is "1k"; expected a number of tokens; write for example max_result_tokens: 2000'),
    (f"{ONE}max_result_tokens: 3", "4:22", "max_result_tokens is 3; expected at least 32; raise it"),
    (f"{ONE}stateful: 'true'", "4:13", 'stateful is "true"; expected true or false; write stateful: true'),
    (f"{ONE}enabled: 1", "4:12", "enabled is 1; expected true or false"),
    (f"{ONE}privileges: kep", "4:15", 'privileges is "kep"; expected drop or keep; did you mean "keep"?'),
    (f"{ONE}untyped: refus", "4:12", 'untyped is "refus"; expected take or refuse; did you mean "refuse"?'),
    (f"{PARAMETER}{{type: str}}", "5:18", 'type of city is "str"; expected string, number, integer, boolean, null, array, object, any; did you mean "string"?'),
    (f"{PARAMETER}{{type: []}}", "5:18", "type of city is an empty list"),
    (f"{ONE}privileges: true", "4:15", "privileges is true; expected drop or keep; write privileges: keep"),
    (f"{ONE}env: HOME", "4:8", 'env is "HOME"; expected a list of variable names; write env: [HOME]'),
    (f"{ONE}env: [API_KEY=secret]", "4:9", 'write "API_KEY"'),
    (f"{ONE}env: [TOOLCHAT_API_KEY]", "4:9", "expected no TOOLCHAT_ name, toolchat keeps its own variables from tools"),
    (f"{ONE}env: [A, A]", "4:12", 'env holds "A" a second time; expected it once; remove one of the two'),
    (f"{ONE}parameters: [city]", "4:15", "parameters is a list; expected a mapping of parameters"),
    (f"{PARAMETER}", "5:10", "city is empty; expected text"),
    (f"{PARAMETER}[a]", "5:11", "city is a list; expected a description or a mapping"),
    (f"{PARAMETER}{{minimun: 1}}", "5:12", 'unknown key "minimun" of city'),
    (f"{PARAMETER}{{min_length: 1}}", "5:12", 'did you mean "minLength"?'),
    (f"{PARAMETER}{{enum: paris}}", "5:18", 'enum of city is "paris"; expected a list of values; write [a, b]'),
    (f"{PARAMETER}{{enum: []}}", "5:18", "enum of city is an empty list; expected a list of values"),
    (f"{PARAMETER}{{enum: [a, b, a]}}", "5:25", 'enum of city holds "a" a second time'),
    (f"{PARAMETER}{{minimum: '3'}}", "5:21", 'minimum of city is "3"; expected a number; write it without quotes'),
    (f"{PARAMETER}{{minLength: -1}}", "5:23", "minLength of city is -1; expected a whole number from 0"),
    (f"{PARAMETER}{{maxLength: 1.5}}", "5:23", "maxLength of city is 1.5; expected a whole number from 0"),
    (f"{PARAMETER}{{multipleOf: 0}}", "5:24", "multipleOf of city is 0; expected more than 0"),
    (f"{PARAMETER}{{pattern: null}}", "5:21", "pattern of city is null; expected a regular expression"),
    (f"{PARAMETER}{{description: 4}}", "5:25", "description of city is 4; expected text"),
    (f"{PARAMETER}{{examples: Rome}}", "5:22", 'examples of city is "Rome"; expected a list of values'),
    (f"{HEAD}callable: m:C\n  arguments: [1]", "4:14", "arguments is a list; expected a mapping; write name: value"),
    (f"{HEAD}callable: m:C\n  arguments: {{a b: 1}}", "4:15", 'arguments holds the key "a b"; expected an argument\'s name'),
    (f"{HEAD}callable: m:C\n  methods: add", "4:12", 'methods is "add"; expected a list of names'),
    (f"{HEAD}callable: m:C\n  methods: []", "4:12", "methods is an empty list"),
    (f"{HEAD}callable: m:C\n  methods: [add, add]", "4:18", 'methods holds "add" a second time'),
    (f"{HEAD}callable: m:C\n  methods: [__init__]", "4:13", 'methods holds "__init__"; expected a method\'s name'),
]  # fmt: skip

# What no schema of the file alone can say.
BY_READING = [
    (f"{ONE}memory: no", "4:11", "memory is no; expected a size"),
    (f"{HEAD}callable: m:grüße", "3:13", '"grüße" cannot be a tool\'s name; expected 1 to 64 of the characters a-z A-Z 0-9 _ -; add name:'),
    (f"{PARAMETER}{{pattern: '['}}", "5:21", 'pattern of city is "[", which does not compile: unterminated character set'),
    (f"{PARAMETER}{{minimum: 5, maximum: 3}}", "5:33", "maximum of city is 3, and minimum is 5; expected minimum below maximum; swap or correct them"),
    (f"{PARAMETER}{{minLength: 5, maxLength: 3}}", "5:37", "expected minLength below maxLength"),
    (f"{PARAMETER}{{exclusiveMinimum: 3, maximum: 3}}", "5:42", "expected exclusiveMinimum below maximum"),
    (f"{PARAMETER}{{default: .nan}}", "5:21", "default of city is .nan, which JSON cannot hold; expected a JSON value"),
    (f"{PARAMETER}{{default: {{1: a}}}}", "5:22", "has the key 1, which is no text"),
    (f"{PARAMETER}{{enum: [no, de]}}", "5:19", 'enum of city holds no, which YAML reads as false; expected what is meant; write "no" in quotes, or false'),
    (f"{PARAMETER}{{enum: [de, 12:30]}}", "5:23", 'enum of city holds 12:30, which YAML reads as 750; expected what is meant; write "12:30" in quotes'),
    (f"{PARAMETER}{{examples: [010]}}", "5:23", "examples of city holds 010, which YAML reads as 8"),
    (f"{PARAMETER}{{default: 12:30}}", "5:21", 'default of city holds 12:30, which YAML reads as 750; expected what is meant; write "12:30" in quotes, or 750'),
    (f"{PARAMETER}{{default: [yes]}}", "5:22", "default of city holds yes, which YAML reads as true"),
    (f"{PARAMETER}{{minimum: 010}}", "5:21", "minimum of city holds 010, which YAML reads as 8"),
    (f"{PARAMETER}{{schema: {{enum: [a, off]}}}}", "5:31", "schema of city holds off, which YAML reads as false"),
    (f"{ONE}arguments: {{city: 1:02}}", "4:21", "city holds 1:02, which YAML reads as 62"),
    (f"{ONE}arguments: {{cities: {{a: [fr, no]}}}}", "4:32", 'cities holds no, which YAML reads as false; expected what is meant; write "no" in quotes, or false'),
    (f"{PARAMETER}{{default: !x a}}", "5:21", "with the tag !x, which JSON cannot hold"),
]  # fmt: skip

LOCAL = "version: 1\ntools:\n- callable: ./broken_tools.py:"
SOURCE = '''
import enum, datetime

class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"

class Store:
    def __init__(self, path: str, limit: int = 3):
        if limit > 5: raise ValueError("too many")
    def add(self, text: str) -> None:
        """Add."""
    def search(self, text: str) -> None:
        """Search."""

class Empty: pass

class Bad:
    def use(self, callback): "Use."

def by_class(kind: type): "Needs a class."
def by_store(q: str, store: Store): "Needs an object."

class Half(Bad):
    def add(self, x): "Add."

def f(n: int, name: str = "x", unit: Unit = Unit.C, tags: list[str] = [], ok: bool = True, day: datetime.date | None = None, loose=None) -> str:
    """Do."""

def nothing() -> None:
    """Do nothing."""
'''
F = f"{LOCAL}f\n  parameters:\n    "
STORE = f"{LOCAL}Store\n  "

BY_LOADING = [
    (f"{HEAD}callable: ./brokn_tools.py:f", "3:13", 'there is no file "./brokn_tools.py"; expected it beside the tools file; did you mean "./broken_tools.py"?'),
    (f"{HEAD}callable: brokn_tools:f", "3:13", 'there is no module "brokn_tools"; expected brokn_tools.py beside the tools file or an installed module; did you mean "broken_tools"?'),
    (f"{LOCAL}g", "3:13", 'file "./broken_tools.py" has no "g"; expected a function of that file'),
    (f"{LOCAL}Stor", "3:13", 'did you mean "Store"?'),
    (f"{LOCAL}f\n- callable: ./broken_tools.py:f", "4:13", 'a second tool is named "f"; the first stands at '),
    (f"{LOCAL}nothing\n- callable: ./broken_tools.py:f\n  name: nothing", "5:9", 'a second tool is named "nothing"'),
    (f"{F}nam: text", "5:5", 'unknown parameter "nam"; expected n, name, unit, tags, ok, day, loose; did you mean "name"?'),
    (f"{LOCAL}nothing\n  parameters:\n    x: text", "5:5", 'unknown parameter "x"; expected none, the function takes nothing'),
    (f"{F}name: {{minimum: 1}}", "5:21", "minimum of name is 1, but name is string; expected it of a number only; remove it"),
    (f"{F}n: {{minLength: 1}}", "5:20", "minLength of n is 1, but n is integer; expected it of a string only"),
    (f"{F}n: {{pattern: a}}", "5:18", 'pattern of n is "a", but n is integer'),
    (f"{F}name: {{minItems: 1}}", "5:22", "expected it of an array only"),
    (f"{F}unit: {{enum: [kelvin]}}", "5:18", "enum of unit holds \"kelvin\"; expected 'celsius' or 'fahrenheit'; correct or remove it"),
    (f"{F}n: {{enum: [1, two]}}", "5:15", 'enum of n holds "two"; expected a valid integer'),
    (f"{F}tags: {{enum: [a]}}", "5:18", 'enum of tags holds "a"; expected a valid array'),
    (f"{F}n: {{default: '3'}}", "5:18", 'default of n is "3"; expected a valid integer; correct or remove it'),
    (f"{F}name: {{default: no}}", "5:21", 'default of name is false; expected a valid string; YAML reads no so: write "no" in quotes'),
    (f"{F}loose: {{default: off}}", "5:22", 'default of loose holds off, which YAML reads as false'),
    (f"{LOCAL}f\n  arguments: {{name: no}}", "4:21", 'name holds no, which YAML reads as false; expected what is meant; write "no" in quotes, or false'),
    (f"{LOCAL}f\n  arguments: {{loose: Yes}}", "4:22", "loose holds Yes, which YAML reads as true"),
    (f"{STORE}arguments: {{path: no}}", "4:21", "path holds no, which YAML reads as false"),
    (f"{STORE}arguments: {{path: x}}\n  methods: {{add: {{arguments: {{text: on}}}}}}", "5:37", "text holds on, which YAML reads as true"),
    (f"{F}loose: {{hidden: true, default: no}}", "5:36", "loose holds no, which YAML reads as false"),
    (f"{F}day: {{default: soon}}", "5:20", 'default of day is "soon"; expected a valid date'),
    (f"{F}n: {{default: 9, maximum: 5}}", "5:18", "default of n is 9, which the other keys exclude; expected less than or equal to 5; correct one of them"),
    (f"{F}name: {{minLength: 2}}", "5:5", 'the function\'s own default of name is "x", which the other keys exclude; expected at least 2 characters long; widen that, or add default:'),
    (f"{F}unit: {{enum: [fahrenheit]}}", "5:5", 'the function\'s own default of unit is "celsius"'),
    (f"{LOCAL}f\n  arguments: {{a: 1}}", "4:18", '"./broken_tools.py:f" takes no argument "a"; expected n, name, unit'),
    (f"{LOCAL}f\n  methods: [a]", "4:12", "methods: "),
    (f"{LOCAL}Store", "3:13", '"./broken_tools.py:Store" needs the argument path; expected arguments: with each of them; add path: VALUE'),
    (f"{STORE}arguments: {{pth: x}}", "4:14", "needs the argument path"),
    (f"{STORE}arguments: {{path: x, limt: 3}}", "4:30", 'takes no argument "limt"; expected path, limit; did you mean "limit"?'),
    (f"{STORE}arguments: {{path: x, limit: many}}", "4:31", "limit does not fit the constructor: expected a valid integer"),
    (f"{STORE}arguments: {{path: x, limit: 6}}", "3:13", 'cannot be made: ValueError: too many (broken_tools.py:10)'),
    (f"{STORE}arguments: {{path: x}}\n  methods: [serch]", "5:13", 'has no method "serch"; expected add, search; did you mean "search"?'),
    (f"{STORE}arguments: {{path: x}}\n  description: y", "5:16", "description is given for the class Store; expected it of a function"),
    (f"{STORE}arguments: {{path: x}}\n  stateful: false", "5:13", "stateful is false for the class Store; expected true"),
    (f"{STORE}arguments: {{path: x}}\n  name: {'s' * 60}", "3:13", "cannot be a tool's name; expected 1 to 64"),
    (f"{LOCAL}Empty", "3:13", 'the class "./broken_tools.py:Empty" has no public methods'),
    (f"{LOCAL}by_class", "3:13", "its parameter kind is a class, which JSON cannot hold; take its name as a string; wrap it in a def without kind, set it with arguments: {kind: VALUE}"),
    (f"{LOCAL}by_store", "3:13", "its parameter store is a Store, which JSON cannot hold; wrap it in a def without store, set it with arguments: {store: VALUE}, or say parameters: {store: {type: string}}"),
    (f"{LOCAL}Bad", "3:13", '"./broken_tools.py:Bad.use" cannot be a tool: its parameter callback has no type, and what is said of it cannot be had from JSON; wrap it in a def without callback'),
    (f"{LOCAL}Half\n  untyped: refuse", "3:13", '"./broken_tools.py:Half.add" cannot be a tool: its parameter x has no type; add a type hint such as x: str'),
    (f"{LOCAL}Half.ad", "3:13", '"./broken_tools.py:Half" has no "ad"; expected a method of it; did you mean "add"?'),
    (f"{LOCAL}Half\n  methods: [use]", "3:13", '"./broken_tools.py:Half.use" cannot be a tool'),
    (f"{LOCAL}Half.add\n  methods: [use]", "4:12", 'methods: "./broken_tools.py:Half.add" is one method; expected a class here; remove the key'),
    (f"{F}n: {{type: string}}", "5:15", "type of n is given, but its signature says int; expected it of a parameter without a type; remove it"),
]  # fmt: skip


def first_problem(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_tools(path)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("text", "place", "message"), [*NO_YAML, *STRUCTURAL, *BY_READING])
def test_each_mistake_is_named_at_its_place_before_anything_is_imported(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    path = tmp_path / "tools.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_tools_file(path)
    assert caught.value.exit_code == ExitCode.USAGE
    assert any(line.startswith(f"{path}:{place}: ") and message in line for line in str(caught.value).splitlines()), (
        str(caught.value)
    )


def test_nesting_that_would_end_the_process_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tools.yaml"
    path.write_text("[" * 500_000)
    # PyYAML 6.0.3 reports the levels one by one; 6.0.4 looks ahead and refuses the 1,001st first.
    with pytest.raises(UsageError, match=r"^\S+tools\.yaml:1:(101|1001): .*nest.*; correct the file at this place$"):
        read_tools_file(path)


@pytest.mark.parametrize(("text", "place", "message"), BY_LOADING)
def test_each_mistake_against_the_code_is_named_at_its_place(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    (tmp_path / "broken_tools.py").write_text(SOURCE)
    path = tmp_path / "tools.yaml"
    lines = first_problem(path, text)
    assert any(line.startswith(f"{path}:{place}: ") and message in line for line in lines), lines


@pytest.mark.parametrize("text", [text for text, _, _ in STRUCTURAL])
def test_an_editor_with_the_schema_sees_what_is_wrong_in_form(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(file_schema()).validate(plain(text))


@pytest.mark.parametrize(
    "text",
    [
        *[text for text, _, _ in BY_LOADING],
        *["version: 1\ntools: []", f"{ONE}memory: off", f"{ONE}memory: 2GiB", f"{ONE}timeout: 0.5", f"{ONE}timeout: 2m"],
        f"{ONE}env: [HOME_TOWN]\n  enabled: false\n  stateful: true\n  max_result_tokens: 100\n  approval: deny\n  privileges: keep",
        "version: 1\ndefaults: {approval: ask, memory: 1048576, timeout: 1h}\ntools: []",
        f"{HEAD}callable: ./a/b-c.py:Thing\n  arguments: {{a: [1, {{b: null}}]}}\n  methods: [go]",
        f"{PARAMETER}{{enum: [a, null], default: a, pattern: x, minLength: 0, examples: [a], description: d}}",
    ],
)  # fmt: skip
def test_an_editor_with_the_schema_sees_nothing_wrong_in_what_reads_well(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tools.yaml"
    path.write_text(text)
    read_tools_file(path)
    jsonschema.Draft7Validator(file_schema()).validate(plain(text))


def test_the_schema_is_one_and_the_samples_fit_it() -> None:
    schema = file_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(plain(sample_tools_path().read_text()))


@pytest.mark.process
def test_the_command_prints_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "toolchat", "tools", "schema"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(json.dumps(file_schema()))


def test_the_problems_of_the_text_and_of_the_code_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "broken_tools.py").write_text(SOURCE)
    path = tmp_path / "tools.yaml"
    lines = first_problem(
        path,
        f"{STORE}tmeout: 3\n- callable: ./broken_tools.py:f\n  parameters: {{nam: x, n: {{pattern: y}}}}\n"
        "- callable: gone_tools:a\n- callable: gone_tools:b\n- callable: ./broken_tools.py:f\n  timeout: x\n",
    )
    assert [line.removeprefix(f"{path}:").split(": ")[0] for line in lines] == ["4:3", "6:16", "6:37", "7:13", "10:12"]


def plain(text: str) -> Any:
    return yaml.load(text, Loader=yaml.BaseLoader) if not text else yaml.safe_load(text)

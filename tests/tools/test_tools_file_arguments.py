# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolchat.tools.argument_check import Checked, Rejected, check_arguments
from toolchat.tools.load import load_tools
from toolchat.tools.toolbox import LoadedToolbox
from toolchat.tools.variables import Redactor, expanded
from toolchat.wire.errors import UsageError

SOURCE = '''
from datetime import date
from pathlib import Path

def weather(city: str, api_key: str, units: str = "metric", days: int = 1) -> str:
    """Tell the weather."""
    return f"{city} {api_key} {units} {days}"

def positional(text: str, folder: Path, /, *words: str, **more: int) -> str:
    """Pass by position."""
    return f"{text} {folder!r} {words} {more}"

def dated(text: str, day: date) -> str:
    """Take a date."""
    return f"{text} {day.year}"

def tells(text: str, callback) -> str:
    """Take what JSON has not."""
    return f"{text} {callback}"

def grows(text: str, seen: list) -> int:
    """Change what it is given."""
    seen.append(text)
    return len(seen)

def loose(x, rows: list, table: dict, n: int = 3) -> str:
    """Say little of its parameters."""
    return f"{x!r} {rows!r} {table!r} {n!r}"

async def later(city: str, api_key: str) -> str:
    """Wait."""
    return city + api_key
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "given_tools.py").write_text(SOURCE)
    return tmp_path / "tools.yaml"


def load(path: Path, *tools: str) -> LoadedToolbox:
    path.write_text("version: 1\ntools:\n" + "".join(f"- callable: ./given_tools.py:{tool}\n" for tool in tools))
    return load_tools(path)


def call(toolbox: LoadedToolbox, name: str, **arguments: Any) -> Any:
    loaded = toolbox.get(name)
    assert loaded is not None
    checked = check_arguments(loaded, arguments)
    return loaded.function(**checked.values) if isinstance(checked, Checked) else checked.message


def refused(path: Path, tool: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(path, tool)
    return str(caught.value).removeprefix(f"{path}:")


def test_a_bound_parameter_is_neither_seen_nor_set_by_the_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_KEY", "k-1")
    toolbox = load(path, 'weather\n  arguments: {api_key: "${WEATHER_KEY}", units: imperial}')
    assert set(toolbox.tools[0].tool.parameters["properties"]) == {"city", "days"}
    assert call(toolbox, "weather", city="Oslo") == "Oslo k-1 imperial 1"
    assert "api_key" in call(toolbox, "weather", city="Oslo", api_key="mine")
    assert toolbox.tools[0].tool.options.given == ("WEATHER_KEY",)
    assert "k-1" not in repr(toolbox)


def test_bound_values_are_converted_and_passed_by_position_where_they_must_be(path: Path) -> None:
    toolbox = load(
        path, "positional\n  arguments: {folder: /x, words: [a, b]}", "dated\n  arguments: {day: 2025-01-02}"
    )
    assert call(toolbox, "positional", text="t") == "t PosixPath('/x') ('a', 'b') {}"
    assert call(toolbox, "positional", text="t", more={"z": 1}) == "t PosixPath('/x') ('a', 'b') {'z': 1}"
    assert call(toolbox, "dated", text="t") == "t 2025"


def test_what_json_cannot_hold_may_be_bound(path: Path) -> None:
    assert "set it with arguments: {callback: VALUE}" in refused(path, "tells")
    assert call(load(path, "tells\n  arguments: {callback: null}"), "tells", text="t") == "t None"


def test_each_call_is_given_its_own_copy_of_a_bound_list(path: Path) -> None:
    toolbox = load(path, "grows\n  arguments: {seen: [1]}")
    assert [call(toolbox, "grows", text="a"), call(toolbox, "grows", text="b")] == [2, 2]


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("weather\n  arguments: {apikey: x}", '4:23: "./given_tools.py:weather" takes no argument "apikey"; expected city'),
        ("weather\n  arguments: {days: many}", "4:21: days does not fit the function: expected a valid integer"),
        (
            'weather\n  arguments: {api_key: "${NOT_SET_HERE}"}',
            "4:24: api_key needs the variable NOT_SET_HERE, which is not set; set it before toolchat starts, or write",
        ),
        ('weather\n  arguments: {api_key: "${TOOLCHAT_X}"}', '4:24: api_key holds "TOOLCHAT_X"; expected no TOOLCHAT_ name'),
        (
            "weather\n  arguments: {days: 2}\n  parameters: {days: The days}",
            "5:16: days is set in arguments too, where the model does not see it; expected it in one place",
        ),
        ("weather\n  parameters: {city: {hidden: true}}", "4:31: city is hidden, and the function needs it"),
        ("weather\n  parameters: {citi: {hidden: true}}", '4:16: unknown parameter "citi"'),
        ("weather\n  parameters: {days: {hidden: true, default: x}}", "4:46: days does not fit the function"),
        ("weather\n  parameters: {days: {hidden: 1}}", "4:31: hidden of days is 1; expected true or false"),
        ("weather\n  parameters: {days: {schema: {type: integer}}}", "4:31: schema of days is given, but its signature says int"),
        ("loose\n  parameters: {x: {schema: [a]}}", "4:28: schema of x is a list; expected a JSON Schema"),
        ("loose\n  parameters: {x: {schema: {type: str}}}", "4:28: schema of x: type is 'str'; expected string, number"),
        ("loose\n  parameters: {x: {schema: {not: {}}}}", "4:28: schema of x: not cannot be held to; expected"),
        ("loose\n  parameters: {x: {schema: {}, type: string}}", "4:38: type of x stands beside its schema"),
        ("weather\n  cwd: nowhere", '4:8: cwd is "nowhere", and there is no such folder'),
        ('weather\n  env: {A: "${NOT_SET_HERE}"}', "4:8: A of env needs the variable NOT_SET_HERE, which is not set"),
        ("weather\n  env: {A: [1]}", "4:12: A of env is a list; expected text"),
        ("weather\n  env: {A: on}", "4:12: A of env is on; expected text; put it in quotes"),
        ("weather\n  env: {LD_PRELOAD: x.so}", '4:9: env sets "LD_PRELOAD"; expected no PYTHON or LD_ name'),
        ("weather\n  env: {TOOLCHAT_A: x}", "4:9: env holds \"TOOLCHAT_A\"; expected no TOOLCHAT_ name"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_at_its_place(path: Path, tool: str, message: str) -> None:
    assert message in refused(path, tool)


def test_a_word_that_yaml_reads_as_a_truth_is_one_only_where_that_is_meant(path: Path) -> None:
    with (path.parent / "given_tools.py").open("a") as code:
        code.write('''
def switched(verbose: bool, quiet: bool | None = None, old=True) -> list:
    """Take switches."""
    return [verbose, quiet, old]
''')
    words = "arguments: {verbose: yes}\n  parameters: {quiet: {hidden: true, default: off}, old: {default: no}}"
    assert call(load(path, f"switched\n  {words}"), "switched") == [True, False, False]
    command = "version: 1\ntools:\n- command: [echo, '{word}']\n  description: Say.\n  arguments: {word: no}\n"
    path.write_text(command)
    with pytest.raises(UsageError, match=r"5:21: word holds no, which YAML reads as false"):
        load_tools(path)


def test_a_hidden_parameter_has_the_files_default_or_its_own(path: Path) -> None:
    text = "weather\n  parameters:\n    api_key: {hidden: true, default: k}\n    days: {hidden: true}\n"
    toolbox = load(path, text + "    units: {hidden: false, enum: [metric, imperial]}")
    assert set(toolbox.tools[0].tool.parameters["properties"]) == {"city", "units"}
    assert call(toolbox, "weather", city="Oslo") == "Oslo k metric 1"


def test_a_schema_says_what_a_parameter_without_a_type_or_an_open_one_holds(path: Path) -> None:
    point = {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 1, "description": "Of it"}, "at": {"type": "number"}},
        "required": ["name"],
    }
    text = f"loose\n  parameters:\n    x: {{schema: {json.dumps(point)}}}\n"
    text += '    rows: {description: The rows, schema: {type: array, maxItems: 2, items: {enum: ["a", 1]}}}\n'
    text += "    table: {schema: {type: object, additionalProperties: {type: [integer, 'null'], minimum: 0}}, default: {}}\n"
    toolbox = load(path, text)
    shown = toolbox.tools[0].tool.parameters
    assert shown["properties"]["x"] == point
    assert shown["properties"]["rows"] == {
        "type": "array", "description": "The rows", "items": {"enum": ["a", 1]}, "maxItems": 2
    }  # fmt: skip
    assert shown["required"] == ["x", "rows"]
    assert call(toolbox, "loose", x={"name": "n"}, rows=["a", 1]) == "{'name': 'n'} ['a', 1] {} 3"
    for wrong in ({"x": {}}, {"x": {"name": ""}}, {"x": {"name": "n", "z": 1}}, {"rows": [2]}, {"rows": ["a"] * 3}):
        loaded = toolbox.tools[0]
        assert isinstance(check_arguments(loaded, {"x": {"name": "n"}, "rows": [], **wrong}), Rejected), wrong
    assert isinstance(check_arguments(loaded, {"x": {"name": "n"}, "rows": [], "table": {"a": -1}}), Rejected)


def test_variables_are_expanded_as_a_shell_does_and_nothing_else() -> None:
    environment = {"A": "one", "EMPTY": ""}
    for text, value in {
        "${A}": "one",
        "x${A}y${A}": "xoneyone",
        "$${A}": "${A}",
        "$A": "$A",
        "${B:-two}": "two",
        "${EMPTY:-two}": "two",
        "${EMPTY}": "",
        "${a b}": "${a b}",
    }.items():
        assert expanded(text, environment) == value
    assert expanded({"k": ["${A}", 1, None]}, environment) == {"k": ["one", 1, None]}


def test_a_value_is_hidden_in_each_form_that_programs_write_it_in() -> None:
    redactor = Redactor({"KEY": 'a"b\\c d\n/é+secret', "SHORT": "ab"})
    for text in (
        'a"b\\c d\n/é+secret',
        json.dumps('a"b\\c d\n/é+secret'),
        repr('a"b\\c d\n/é+secret'),
        "only this line: /é+secret!",
        "YSJiXGMgZAovw6krc2VjcmV0",
        "key=a%22b%5Cc+d%0A%2F%C3%A9%2Bsecret",
    ):
        assert "${KEY}" in redactor.text(text), text
        assert "secret" not in redactor.text(text)
        assert "c2VjcmV0" not in redactor.text(text)
    assert redactor.text("ab is a word") == "ab is a word"
    assert redactor.data({"a": ["/é+secret"], "/é+secret": 1}) == {"a": ["${KEY}"], "${KEY}": 1}
    assert Redactor({"ONE": "secret", "LONGER": "secret-2"}).text("secret-2 secret") == "${LONGER} ${ONE}"


def test_what_looks_expanded_and_is_not_is_said(path: Path) -> None:
    text = 'weather\n  description: "Weather of ${HOME}"\n  arguments: {api_key: ~/key}\n'
    toolbox = load(path, text + '  parameters: {units: {default: "${UNITS}"}}')
    places = [notice.removeprefix(f"{path}:") for notice in toolbox.notices]
    assert places == [
        '5:24: api_key holds "~", which is not expanded here; write ${HOME} for your home',
        '4:16: "${HOME}" in description is not expanded; it is in arguments, env and cwd only',
        '6:33: "${UNITS}" in parameters is not expanded; it is in arguments, env and cwd only',
    ]

# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

from collections.abc import Callable
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from toolchat.tools.argument_check import Checked, Rejected, check_arguments
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.schema import function_schema
from toolchat.tools.toolbox import LoadedTool, Tool, Toolbox, unknown_tool_message


def make(function: Callable[..., Any], entries: dict[str, ParameterEntry] | None = None) -> LoadedTool:
    schema = function_schema(function, entries)
    name = function.__name__
    tool = Tool(name, "A tool.", schema.parameters, f"m:{name}", schema.signature, "t:1:1")
    return LoadedTool(tool, function, schema.model)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Stop(BaseModel):
    city: str
    nights: int = 1


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def weather(city: str, state: str, unit: Literal["celsius", "fahrenheit"]) -> str:
    return f"{city} {state} {unit}"


def trip(
    stops: list[Stop],
    day: date,
    color: Color = Color.RED,
    seats: Annotated[int, Field(ge=1, le=9)] = 1,
    pairs: Annotated[int, AfterValidator(even)] = 2,
    price: float | None = None,
    tags: list[str] | None = None,
    either: int | list[int] | None = None,
    sure: bool = False,
) -> None: ...


def nothing() -> None: ...


WEATHER, TRIP, NOTHING = make(weather), make(trip), make(nothing)
TRIP_GIVEN: dict[str, Any] = {"stops": [{"city": "Rome"}], "day": "2025-03-01"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"city": "D", "state": "TX", "unit": "kelvin"}, 'unit must be one of "celsius", "fahrenheit" (got "kelvin")'),
        ({"city": "D", "unit": "celsius"}, 'missing argument "state" (string)'),
        ({"city": "D", "state": "TX"}, 'missing argument "unit" (one of "celsius", "fahrenheit")'),
        ({"city": "D", "state": "TX", "unit": "celsius", "foo": 1}, 'unknown argument "foo"; the arguments are city, state, unit'),
        ({"City": "D", "state": "TX", "unit": "celsius"}, 'missing argument "city" (string); unknown argument "City"; the arguments are city, state, unit'),
        ({"city": ["D"], "state": None, "unit": 5}, 'city must be a string (got ["D"]); state must be a string (got null); unit must be one of "celsius", "fahrenheit" (got 5)'),
        ({"city": {"a": "x" * 200}, "state": "TX", "unit": "celsius"}, 'city must be a string (got {"a": "' + "x" * 53 + "...)"),
        ({}, 'missing argument "city" (string); missing argument "state" (string); missing argument "unit" (one of "celsius", "fahrenheit")'),
    ],
)  # fmt: skip
def test_wrong_arguments_are_explained_with_what_is_allowed(arguments: dict[str, Any], message: str) -> None:
    assert check_arguments(WEATHER, arguments) == Rejected(f"Error: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seats": 0}, "seats must be greater than or equal to 1 (got 0)"),
        ({"seats": "many"}, 'seats must be an integer (got "many")'),
        ({"seats": 1.5}, "seats must be an integer (got 1.5)"),
        ({"pairs": 3}, "pairs: must be even (got 3)"),
        ({"price": "free"}, 'price must be a number (got "free")'),
        ({"price": float("nan")}, "price must be a finite number (got NaN)"),
        ({"sure": "perhaps"}, 'sure must be a boolean (got "perhaps")'),
        ({"color": "green"}, 'color must be one of "red", "blue" (got "green")'),
        ({"tags": "a"}, 'tags must be an array of strings (got "a")'),
        ({"tags": [["a"]]}, 'tags[0] must be a valid string (got ["a"])'),
        ({"either": "x"}, "either must be an integer or an array of integers"),
        ({"day": "soon"}, 'day must be a date (got "soon")'),
        ({"stops": [{"nights": 2}]}, "stops[0].city is missing"),
        ({"stops": [{"city": "Rome"}, {"city": "Bonn", "nights": "few"}]}, "stops[1].nights must be a valid integer"),
        ({"day": None}, "day must be a date (got null)"),
        ({"stops": "Rome"}, 'stops must be an array of objects (got "Rome")'),
    ],
)  # fmt: skip
def test_deeper_mistakes_are_named_by_their_path(changes: dict[str, Any], message: str) -> None:
    result = check_arguments(TRIP, {**TRIP_GIVEN, **changes})
    assert isinstance(result, Rejected)
    assert message in result.message
    assert result.message.startswith("Error: ")
    assert "\n" not in result.message


def test_a_tool_without_arguments_says_so() -> None:
    assert check_arguments(NOTHING, {"x": 1}) == Rejected('Error: unknown argument "x"; the tool takes no arguments')
    assert check_arguments(NOTHING, {}) == Checked({}, {}, repaired=False)


def test_right_arguments_pass_unchanged() -> None:
    arguments = {"city": "Dallas", "state": "TX", "unit": "celsius"}
    assert check_arguments(WEATHER, arguments) == Checked(arguments, arguments, repaired=False)


def test_values_become_what_the_function_takes_and_defaults_stay_its_own() -> None:
    arguments = {**TRIP_GIVEN, "color": "blue", "price": 20}
    assert check_arguments(TRIP, arguments) == Checked(
        arguments,
        {"stops": [Stop(city="Rome")], "day": date(2025, 3, 1), "color": Color.BLUE, "price": 20.0},
        repaired=False,
    )


@pytest.mark.parametrize(
    ("name", "written", "repaired"),
    [
        ("seats", "5", 5),
        ("seats", 5.0, 5),
        ("price", "2.5", 2.5),
        ("sure", "true", True),
        ("tags", [1, "b"], ["1", "b"]),
        ("tags", ["\ud83d"], ["\ufffd"]),
    ],
)
def test_what_is_plainly_meant_is_converted_and_marked(name: str, written: Any, repaired: Any) -> None:
    result = check_arguments(TRIP, {**TRIP_GIVEN, name: written})
    assert isinstance(result, Checked)
    assert result.repaired
    assert result.arguments == {**TRIP_GIVEN, name: repaired}
    assert result.values[name] == repaired
    assert type(result.values[name]) is type(repaired)


def test_null_for_an_optional_parameter_means_left_out() -> None:
    result = check_arguments(TRIP, {**TRIP_GIVEN, "seats": None})
    assert result == Checked(TRIP_GIVEN, {"stops": [Stop(city="Rome")], "day": date(2025, 3, 1)}, repaired=True)


def test_arguments_nested_beyond_reason_are_rejected() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    result = check_arguments(WEATHER, {"city": deep, "state": "TX", "unit": "celsius"})
    assert isinstance(result, Rejected)


def test_an_unknown_tool_is_answered_with_the_names_there_are() -> None:
    toolbox = Toolbox(Path("tools.yaml"), (WEATHER.tool, TRIP.tool))
    assert unknown_tool_message("x", toolbox) == 'Error: there is no tool "x"; the tools are weather, trip'
    assert unknown_tool_message("x", Toolbox(Path("t"), ())) == 'Error: there is no tool "x"; there are no tools'


def test_a_text_that_its_type_changes_is_shown_and_compared_as_the_function_gets_it() -> None:
    stripped = Annotated[str, StringConstraints(strip_whitespace=True)]

    def read(path: stripped, more: list[stripped], day: date) -> str:
        return "x"

    read.__annotations__ = {"path": stripped, "more": list[stripped], "day": date, "return": str}
    checked = check_arguments(make(read), {"path": " /etc/passwd", "more": ["a ", "b"], "day": "2025-01-02"})
    assert isinstance(checked, Checked)
    assert checked.arguments == {"path": "/etc/passwd", "more": ["a", "b"], "day": "2025-01-02"}
    assert checked.repaired
    assert checked.values["path"] == "/etc/passwd"
    same = check_arguments(make(read), {"path": "a", "more": [], "day": "2025-01-02"})
    assert isinstance(same, Checked)
    assert not same.repaired

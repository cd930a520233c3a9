# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typing_extensions
from pydantic import BaseModel, Field

from toolchat.tools.argument_check import Checked, Rejected, check_arguments
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.problems import Place
from toolchat.tools.schema import ParametersError, function_schema
from toolchat.tools.toolbox import LoadedTool, Tool


class Unit(Enum):
    C = "celsius"
    F = "fahrenheit"
    K = "kelvin"


@dataclass
class Stop:
    city: str
    nights: int = 1


def entries(**words: dict[str, Any]) -> dict[str, ParameterEntry]:
    return {
        name: ParameterEntry(Place(1, 1), given, dict.fromkeys(given, Place(2, 2))) for name, given in words.items()
    }


def make(function: Callable[..., Any], **words: dict[str, Any]) -> LoadedTool:
    schema = function_schema(function, entries(**words))
    tool = Tool(function.__name__, "A tool.", schema.parameters, "m:f", schema.signature, "t:1:1")
    return LoadedTool(tool, function, schema.model)


def many(
    n: int,
    unit: Unit = Unit.C,
    name: str | None = None,
    tags: list[str] | None = None,
    ratio: Annotated[float, Field(ge=0)] = 0.5,
    price: Decimal = Decimal(1),
    day: date | None = None,
    ok: bool | int = True,
) -> None:
    """Do.

    Args:
        n: From the docstring
    """


def test_what_the_file_says_is_merged_over_what_the_signature_says() -> None:
    tool = make(
        many,
        n={"description": "From the file", "minimum": 1, "default": 3, "examples": [4]},
        unit={"enum": ["celsius", "fahrenheit"]},
        name={"pattern": "^[a-z]+$", "maxLength": 5},
        ratio={"maximum": 1},
    ).tool
    properties = tool.parameters["properties"]
    assert properties["n"] == {
        "type": "integer",
        "description": "From the file",
        "minimum": 1,
        "default": 3,
        "examples": [4],
    }
    assert properties["unit"] == {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}
    assert properties["name"] == {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5}
    assert properties["ratio"] == {"type": "number", "minimum": 0, "default": 0.5, "maximum": 1}
    assert properties["tags"] == {"type": "array", "items": {"type": "string"}}
    assert "required" not in tool.parameters
    assert list(properties) == ["n", "unit", "name", "tags", "ratio", "price", "day", "ok"]


@pytest.mark.parametrize(
    ("words", "arguments", "message"),
    [
        ({"n": {"minimum": 1}}, {"n": 0}, "n must be greater than or equal to 1 (got 0)"),
        ({"n": {"minimum": 1}}, {"n": "0"}, 'n must be greater than or equal to 1 (got "0")'),
        ({"n": {"exclusiveMinimum": 1}}, {"n": 1}, "n must be greater than 1 (got 1)"),
        ({"n": {"maximum": 1}}, {"n": 2}, "n must be less than or equal to 1 (got 2)"),
        ({"n": {"exclusiveMaximum": 2}}, {"n": 2}, "n must be less than 2 (got 2)"),
        ({"n": {"multipleOf": 5}}, {"n": 12}, "n must be a multiple of 5 (got 12)"),
        ({"n": {"enum": [1, 2]}}, {"n": 3}, "n must be one of 1, 2 (got 3)"),
        ({"unit": {"enum": ["celsius", "fahrenheit"]}}, {"unit": "kelvin"}, 'unit must be one of "celsius", "fahrenheit"'),
        ({"name": {"minLength": 2, "maxLength": 3}}, {"name": "abcd"}, "name must be at least 2 and at most 3 characters"),
        ({"name": {"pattern": "^a"}}, {"name": "ba"}, 'name must be text that matches ^a (got "ba")'),
        ({"tags": {"minItems": 2}}, {"tags": ["a"]}, "tags must be at least 2 items long"),
        ({"tags": {"maxItems": 1}}, {"tags": ["a", "b"]}, "tags must be at most 1 items long"),
        ({"price": {"minimum": 1.5}, "n": {}}, {"price": 1.2, "n": 1}, "price must be greater than or equal to 1.5"),
        ({"day": {"enum": ["2025-01-01"]}}, {"day": "2025-01-02"}, 'day must be one of "2025-01-01"'),
        ({"ok": {"enum": [1, True]}}, {"ok": 0}, "ok must be one of 1, true"),
    ],
)  # fmt: skip
def test_what_the_file_says_is_enforced(words: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    words = {name: ({**given, "default": 2} if name == "price" else given) for name, given in words.items()}
    result = check_arguments(make(many, **words), {"n": 1, **arguments})
    assert isinstance(result, Rejected)
    assert message in result.message


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ({"ratio": {"multipleOf": 0.1}}, {"ratio": 0.3}),
        ({"unit": {"enum": ["celsius"]}}, {"unit": "celsius"}),
        ({"name": {"enum": ["a"]}}, {"name": None}),
        ({"day": {"enum": ["2025-01-01"]}}, {"day": "2025-01-01"}),
        ({"name": {"minLength": 2}}, {"name": "ab"}),
        ({"ok": {"enum": [1, True]}}, {"ok": 1}),
    ],
)
def test_what_the_file_allows_passes(words: dict[str, Any], arguments: dict[str, Any]) -> None:
    assert isinstance(check_arguments(make(many, **words), {"n": 1, **arguments}), Checked)


def test_a_default_from_the_file_is_given_to_the_function_as_a_real_value_and_never_shared() -> None:
    tool = make(many, n={"default": 7}, day={"default": "2025-03-01"}, tags={"default": ["a"]})
    first, second = check_arguments(tool, {}), check_arguments(tool, {"day": None})
    assert isinstance(first, Checked)
    assert isinstance(second, Checked)
    assert first.values == {"n": 7, "day": date(2025, 3, 1), "tags": ["a"]}
    assert first.arguments == {}
    assert first.values["tags"] is not second.values["tags"]


def test_null_stays_possible_where_a_required_parameter_takes_it() -> None:
    def choose(unit: Unit | None) -> None: ...

    tool = make(choose, unit={"enum": ["celsius"]})
    assert tool.tool.parameters["properties"]["unit"] == {"enum": ["celsius", None]}
    assert isinstance(check_arguments(tool, {"unit": None}), Checked)
    assert isinstance(check_arguments(tool, {"unit": "kelvin"}), Rejected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"ratio": {"minimum": -1}}, "minimum of ratio is -1, but its type says 0"),
        ({"day": {"minimum": 3}}, "minimum of day is 3, but day is string"),
        ({"unit": {"default": "rankine"}}, 'default of unit is "rankine"; expected'),
        ({"name": {"minimum": 3}}, "minimum of name is 3, but name is string; expected it of a number only"),
    ],
)
def test_what_contradicts_the_type_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ParametersError) as caught:
        function_schema(many, entries(**words))
    assert message in str(caught.value)
    assert caught.value.problems[0][0] == Place(2, 2)


def trip(stops: list[Stop], home: Stop | None = None, by: dict[str, Stop] | None = None) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"stops": [{"city": "Rome"}, {"city": "Bonn", "night": 2}]},
            'Error: stops[1].night is unknown; stops[1] has city, nights; did you mean "nights"?',
        ),
        ({"stops": [{"city": 5, "x": 2}]}, "Error: stops[0].x is unknown; stops[0] has city, nights; leave it out"),
        ({"stops": [], "home": {"city": "B", "z": 1}}, "Error: home.z is unknown"),
        ({"stops": [], "by": {"a": {"city": "B", "z": 1}}}, "Error: by.a.z is unknown"),
    ],
)
def test_a_key_deep_inside_that_would_be_dropped_is_refused(arguments: dict[str, Any], message: str) -> None:
    result = check_arguments(make(trip), arguments)
    assert isinstance(result, Rejected)
    assert message in result.message


class Guest(BaseModel):
    name: str
    age: int = Field(0, alias="years")


class Open(BaseModel, extra="allow"):
    name: str


def test_so_are_those_that_a_model_or_a_single_dataclass_would_drop() -> None:
    def book(guest: Guest, stop: Stop, free: Open) -> None: ...

    tool = make(book)
    right = {"guest": {"name": "A", "years": 3}, "stop": {"city": "R"}, "free": {"name": "A", "more": 1}}
    assert isinstance(check_arguments(tool, right), Checked)
    for name, wrong, known in (
        ("guest", {"name": "A", "year": 3}, "name, years"),
        ("stop", {"city": "R", "x": 1}, "city"),
    ):
        result = check_arguments(tool, {**right, name: wrong})
        assert isinstance(result, Rejected)
        assert f"is unknown; {name} has {known}" in result.message


class Room(typing_extensions.TypedDict):
    beds: int
    bath: typing_extensions.NotRequired[bool]


class Hotel(BaseModel):
    best: Room
    others: list[Room] = []
    by_floor: dict[int, Room] = {}


@pytest.mark.parametrize(
    ("hotel", "where"),
    [
        ({"best": {"beds": 1, "balcony": None}}, "hotel.best.balcony"),
        ({"best": {"beds": 1, "balcony": True}}, "hotel.best.balcony"),
        ({"best": {"beds": 1}, "others": [{"beds": 1, "baths": 1}]}, "hotel.others[0].baths"),
    ],
)
def test_so_are_those_that_a_typed_dict_within_a_model_would_drop(hotel: dict[str, Any], where: str) -> None:
    def book(hotel: Hotel) -> None: ...

    tool = make(book)
    right = {"best": {"beds": 1, "bath": True}, "by_floor": {"1": {"beds": 2}}}
    assert isinstance(check_arguments(tool, {"hotel": right}), Checked)
    result = check_arguments(tool, {"hotel": hotel})
    assert isinstance(result, Rejected)
    assert result.message == f"Error: {where} is unknown; leave it out"


def test_the_function_receives_real_objects() -> None:
    def real(path: Path, stop: Stop, units: set[Unit], pair: tuple[int, date]) -> None: ...

    given = {"path": "a/b", "stop": {"city": "Rome"}, "units": ["celsius"], "pair": [1, "2025-01-01"]}
    result = check_arguments(make(real), given)
    assert isinstance(result, Checked)
    assert not result.repaired
    assert result.values == {
        "path": Path("a/b"),
        "stop": Stop("Rome"),
        "units": {Unit.C},
        "pair": (1, date(2025, 1, 1)),
    }

# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

import typing
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Required

import pytest
import typing_extensions
from pydantic import BaseModel, Field

from toolchat.tools.argument_check import Checked, Rejected, check_arguments
from toolchat.tools.schema import SchemaError, function_schema
from toolchat.tools.toolbox import LoadedTool, Tool


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Side(Enum):
    LEFT = "l"
    RIGHT = "r"


class Options(typing.TypedDict):
    a: int
    b: NotRequired[Side]


class Loose(Options, total=False):
    c: Required[date]
    d: Annotated[str, "The d"]


class Point(NamedTuple):
    x: int
    label: str = "p"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Small(typing_extensions.TypedDict):
    a: int


@dataclass
class Nested:
    """One paragraph
    on two lines.

    And what is of no use to a model.
    """

    when: datetime
    inner: list[Small] = field(default_factory=list)


class Chain(typing.TypedDict):
    next: Chain


INTEGER: dict[str, Any] = {"type": "integer"}
STRING: dict[str, Any] = {"type": "string"}
LOOSE = {
    "type": "object",
    "properties": {
        "a": INTEGER,
        "b": {"type": "string", "enum": ["l", "r"]},
        "c": {"type": "string", "format": "date"},
        "d": {"type": "string", "description": "The d"},
    },
    "required": ["a", "c"],
}


def tool_of(hint: Any) -> LoadedTool:
    def use(x: Any) -> None: ...

    use.__annotations__["x"] = hint
    schema = function_schema(use)
    return LoadedTool(Tool("use", "Use.", schema.parameters, "m:use", schema.signature, "t:1:1"), use, schema.model)


@pytest.mark.parametrize(
    ("hint", "schema", "given", "value"),
    [
        (None, {"type": "null"}, None, None),
        (Level, {"type": "integer", "enum": [1, 2]}, 2, Level.HIGH),
        (time, {"type": "string", "format": "time"}, "10:30:00", time(10, 30)),
        (timedelta, {"type": "string", "format": "duration"}, "PT90S", timedelta(seconds=90)),
        (Path, STRING, "a/b", Path("a/b")),
        (bytes, STRING, "ab", b"ab"),
        (uuid.UUID, {"type": "string", "format": "uuid"}, str(uuid.UUID(int=1)), uuid.UUID(int=1)),
        (Decimal, {"type": "number"}, 0.1, Decimal("0.1")),
        (Annotated[Decimal, Field(ge=0)], {"type": "number", "minimum": 0}, 0.1, Decimal("0.1")),
        (tuple[int, int], {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}, [1, 2], (1, 2)),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2},
            [1, "a"],
            (1, "a"),
        ),
        (tuple[int, ...], {"type": "array", "items": INTEGER}, [1, 2, 3], (1, 2, 3)),
        (set[Side], {"type": "array", "items": {"type": "string", "enum": ["l", "r"]}}, ["l", "l"], {Side.LEFT}),
        (frozenset[int], {"type": "array", "items": INTEGER}, [1], frozenset([1])),
        (Iterable[int], {"type": "array", "items": INTEGER}, [1], [1]),
        (Sequence[int], {"type": "array", "items": INTEGER}, [1], [1]),
        (Mapping[str, int], {"type": "object", "additionalProperties": INTEGER}, {"a": 1}, {"a": 1}),
        (dict[int, str], {"type": "object", "additionalProperties": STRING}, {"1": "a"}, {1: "a"}),
        (
            dict[Side, int],
            {"type": "object", "properties": {"l": INTEGER, "r": INTEGER}},
            {"l": 1},
            {Side.LEFT: 1},
        ),
        (
            Point,
            {
                "type": "array",
                "prefixItems": [
                    {"type": "integer", "description": "X"},
                    {"type": "string", "description": "Label", "default": "p"},
                ],
                "minItems": 1,
                "maxItems": 2,
            },
            [1],
            Point(1),
        ),
        (Loose, LOOSE, {"a": 1, "c": "2025-01-01"}, {"a": 1, "c": date(2025, 1, 1)}),
        (Loose | None, {"anyOf": [LOOSE, {"type": "null"}]}, None, None),
        (
            Annotated[Cat | Dog, Field(discriminator="kind")],
            {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"kind": {"type": "string", "const": "cat"}, "lives": {"type": "integer", "default": 9}},
                        "required": ["kind"],
                    },
                    {
                        "type": "object",
                        "properties": {"kind": {"type": "string", "const": "dog"}, "name": STRING},
                        "required": ["kind", "name"],
                    },
                ]
            },
            {"kind": "dog", "name": "Rex"},
            Dog(kind="dog", name="Rex"),
        ),
        (
            Nested,
            {
                "type": "object",
                "description": "One paragraph on two lines.",
                "properties": {
                    "when": {"type": "string", "format": "date-time"},
                    "inner": {"type": "array", "items": {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]}},
                },
                "required": ["when"],
            },
            {"when": "2025-01-01T00:00:00"},
            Nested(datetime(2025, 1, 1)),
        ),
        (Annotated[str, "Any words"], {"type": "string", "description": "Any words"}, "a", "a"),
        (Annotated[str, typing_extensions.Doc("Words")], {"type": "string", "description": "Words"}, "a", "a"),
        (list[Annotated[int, "One"]], {"type": "array", "items": {"type": "integer", "description": "One"}}, [1], [1]),
        (Any, {}, {"a": [1]}, {"a": [1]}),
    ],
)  # fmt: skip
def test_a_type_has_a_plain_schema_and_a_real_value(
    hint: Any, schema: dict[str, Any] | None, given: Any, value: Any
) -> None:
    tool = tool_of(hint)
    assert tool.tool.parameters["properties"]["x"] == schema
    result = check_arguments(tool, {"x": given})
    assert isinstance(result, Checked), result
    assert not result.repaired
    assert result.values == {"x": value}
    assert type(result.values["x"]) is type(value)


@pytest.mark.parametrize(
    ("hint", "given"),
    [
        (Loose, {"a": 1}),
        (Loose, {"a": 1, "c": "2025-01-01", "e": 1}),
        (Point, [1, "a", 2]),
        (tuple[int, str], [1]),
        (Iterable[int], ["a"]),
        (dict[Side, int], {"up": 1}),
        (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "cow"}),
        (Level, 3),
        (uuid.UUID, "1"),
        (Decimal, "a lot"),
    ],
)
def test_what_a_type_cannot_hold_is_refused(hint: Any, given: Any) -> None:
    result = check_arguments(tool_of(hint), {"x": given})
    assert isinstance(result, Rejected)
    assert result.message.startswith("Error: x")


@pytest.mark.parametrize(
    "hint", [typing.Iterator[int], typing.Generator[int, None, None], typing.Awaitable[int], range, type[int]]
)
def test_what_json_cannot_hold_is_refused(hint: Any) -> None:
    with pytest.raises(SchemaError, match=r"^its parameter x "):
        tool_of(hint)


def test_methods_and_nested_names_resolve_where_they_were_written() -> None:
    class Service:
        def look(self, side: Side, *, nested: list[Options]) -> None:
            """Look."""

    schema = function_schema(Service().look)
    assert schema.parameters["required"] == ["side", "nested"]
    assert schema.signature == 'look(side: "l" | "r", nested: list[Options])'


def test_a_generator_may_be_a_tool_and_keeps_its_parameters() -> None:
    def count(to: int) -> typing.Iterator[str]:
        """Count."""
        yield str(to)

    assert function_schema(count).parameters["required"] == ["to"]

from __future__ import annotations

import functools
import json
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.schema import SchemaError, function_schema
from toolchat.wire.messages import ToolSpec

if TYPE_CHECKING:
    from fractions import Fraction as Missing


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """Where someone lives."""

    street: str = Field(description="Street and number")
    zip: int | None = None


class Inner(typing.TypedDict):
    a: int


@dataclass
class Outer:
    inner: Inner


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


@dataclass
class Point:
    x: float
    y: float


def everything(
    city: str,
    unit: Literal["celsius", "fahrenheit"],
    days: int = 3,
    color: Color = Color.RED,
    limit: int | None = None,
    old: Optional[str] = None,  # noqa: UP045
    tags: list[str] | None = None,
    ratio: Annotated[float, Field(ge=0, le=1, description="From the annotation")] = 0.5,
    address: Address | None = None,
    when: date | None = None,
    either: int | str | None = None,
    anything: Any = None,
) -> Missing | None:
    """Do everything.

    More text.

    Args:
        city: The city,
            on two lines
        unit: The unit
        ratio: From the docstring
        limit: At most
        unknown: Not a parameter
    """


def test_a_schema_reads_as_people_write_them() -> None:
    schema = function_schema(everything)
    assert schema.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city, on two lines"},
            "unit": {"type": "string", "description": "The unit", "enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "default": 3},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "limit": {"type": "integer", "description": "At most"},
            "old": {"type": "string"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "ratio": {
                "type": "number",
                "description": "From the docstring",
                "minimum": 0,
                "maximum": 1,
                "default": 0.5,
            },
            "address": {
                "type": "object",
                "description": "Where someone lives.",
                "properties": {
                    "street": {"type": "string", "description": "Street and number"},
                    "zip": {"type": "integer"},
                },
                "required": ["street"],
            },
            "when": {"type": "string", "format": "date"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "anything": {},
        },
        "required": ["city", "unit"],
    }
    assert schema.summary == "Do everything."
    assert schema.signature == (
        'everything(city: str, unit: "celsius" | "fahrenheit", days: int = 3, color: "red" | "blue" = "red", '
        "limit: int | None = None, old: str | None = None, tags: list[str] | None = None, "
        "ratio: float = 0.5, address: Address | None = None, when: date | None = None, "
        "either: int | str | None = None, anything: any = None)"
    )  # fmt: skip


def test_properties_stand_in_the_order_of_the_signature_and_keywords_as_in_training() -> None:
    schema = function_schema(everything).parameters
    assert list(schema) == ["type", "properties", "required"]
    assert list(schema["properties"])[:4] == ["city", "unit", "days", "color"]
    assert list(schema["properties"]["unit"]) == ["type", "description", "enum"]


def test_parameters_may_have_the_names_of_schema_keywords_and_of_pydantic_attributes() -> None:
    def odd(title: str, json: int, model_config: str, default: str | None = None, _x: int = 1) -> None:
        """Odd names."""

    schema = function_schema(odd)
    assert list(schema.parameters["properties"]) == ["title", "json", "model_config", "default", "_x"]
    assert schema.parameters["properties"]["title"] == {"type": "string"}
    assert schema.parameters["properties"]["default"] == {"type": "string"}


def test_a_type_that_holds_itself_keeps_its_reference() -> None:
    def grow(tree: Tree, point: Point) -> None:
        """Grow."""

    schema = function_schema(grow).parameters
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    assert list(schema["$defs"]) == ["Tree"]
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["properties"]["point"]["required"] == ["x", "y"]


def test_a_function_without_parameters_or_docstring() -> None:
    def bare():  # type: ignore[no-untyped-def]
        return 1

    schema = function_schema(bare)
    assert schema.parameters == {"type": "object", "properties": {}}
    assert schema.summary is None
    assert schema.signature == "bare()"


def test_a_decorated_function_keeps_its_own_signature() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    @logged
    def greet(name: str) -> str:
        """Greet."""
        return name

    assert function_schema(greet).signature == "greet(name: str)"


def untyped(x, y: int) -> None: ...  # type: ignore[no-untyped-def]
def calls_back(callback): ...  # type: ignore[no-untyped-def]
def unresolved(x: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def callback(x: int, done: Callable[[], None]) -> None: ...
def custom(x: object | Iterator[int] | Path) -> None: ...
def strange(x: functools.partial[int]) -> None: ...
def iterates(x: list[Iterator[int]]) -> None: ...
def nested(x: Outer) -> None: ...
def strange_later(x: int, y: range) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (unresolved, "the type of its parameter x cannot be resolved (name 'NoSuchName' is not defined)"),
        (callback, "its parameter done is a Callable[[], None], which JSON cannot hold"),
        (strange, "its parameter x is a partial[int], which JSON cannot hold"),
        (lambda x: x, "it is a lambda"),
        (Color, "it is a class"),
        (functools.partial(callback, 1), "its parameter done is a Callable[[], None], which JSON cannot hold"),
        (iterates, "its parameter x can be read only once, and JSON cannot hold that; take a list"),
        (nested, "its parameter x holds a TypedDict inside another type; import it from typing_extensions"),
        (strange_later, "its parameter y is a range, which JSON cannot hold"),
        (max, "it has no readable signature; expected its parameters in the tools file, in their order"),
        (calls_back, "its parameter callback has no type, and what is said of it cannot be had from JSON"),
    ],
)  # fmt: skip
def test_what_a_model_cannot_be_asked_for_is_refused_with_the_reason(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(SchemaError) as caught:
        function_schema(function)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_a_parameter_without_a_type_is_refused_where_the_file_says_so() -> None:
    with pytest.raises(SchemaError) as caught:
        function_schema(untyped, refuse_untyped=True)
    assert str(caught.value) == "its parameter x has no type; add a type hint such as x: str"


def spec(function: Callable[..., Any]) -> ToolSpec:
    return ToolSpec(function.__name__, "A tool.", function_schema(function).parameters)


def test_mistral_common_accepts_and_encodes_every_schema() -> None:
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.tool_calls import Function, Tool
    from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
    from mistral_common.tokens.tokenizers.base import TokenizerVersion
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    def grow(tree: Tree, pair: tuple[int, int], table: dict[str, float] | None = None) -> None:
        """Grow."""

    specs = [*load_tools(sample_tools_path()).toolbox.specs, spec(everything), spec(grow)]
    request: ChatCompletionRequest[Any] = ChatCompletionRequest(
        messages=[UserMessage(content="hi")],
        tools=[Tool(function=Function(name=s.name, description=s.description, parameters=s.parameters)) for s in specs],
    )
    for version in (TokenizerVersion.v3, TokenizerVersion.v13):
        validator = get_validator(version, ValidationMode.test)
        validator.validate_request(request)
    tokenizer = MistralTokenizer.v3()
    text = tokenizer.decode(tokenizer.encode_chat_completion(request).tokens)
    assert json.dumps(specs[0].parameters) in text

"""Signatures drawn at random: what holds of one function's schema holds of all."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import pytest
import typing_extensions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mistral_tokenizers import load, vocabulary_of
from pydantic import BaseModel, Field, create_model

from toolchat.mistral.grammar.constraint import constraint
from toolchat.tools.argument_check import Checked, Rejected, check_arguments
from toolchat.tools.schema import function_schema
from toolchat.tools.toolbox import LoadedTool, Tool


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Kind:
    """A type, the JSON values it takes, some it does not take, and how to tell that a value was converted."""

    hint: Any
    right: st.SearchStrategy[Any]
    wrong: st.SearchStrategy[Any]
    holds: Callable[[Any], bool]
    hashable: bool = False


def is_a(*types: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in types


NOTHING_TAKES = st.just({"no such key": [["x"]]})
WORD = st.text(st.characters(codec="utf-8"), max_size=8)
SAFE = 2**53
# Called, not declared: their fields are drawn.
TYPED: Any = typing.TypedDict
EXTENDED: Any = typing_extensions.TypedDict
LIST: Any = list
SET: Any = set
DICT: Any = dict
TUPLE: Any = tuple

LEAVES = [
    Kind(int, st.integers(-SAFE, SAFE), st.one_of(NOTHING_TAKES, st.just("many"), st.just(1.5)), is_a(int), True),
    Kind(str, WORD, st.one_of(NOTHING_TAKES, st.just(["a"])), is_a(str), True),
    Kind(bool, st.booleans(), st.one_of(NOTHING_TAKES, st.just("perhaps"), st.just(7)), is_a(bool), True),
    Kind(float, st.floats(allow_nan=False, allow_infinity=False), st.just("free"), is_a(float), True),
    Kind(Literal["a", "b"], st.sampled_from(["a", "b"]), st.sampled_from(["c", 3]), is_a(str), True),
    Kind(Color, st.sampled_from(["red", "blue"]), st.sampled_from(["green", [1]]), is_a(Color), True),
    Kind(Level, st.sampled_from([1, 2]), st.sampled_from([3, "LOW"]), is_a(Level), True),
    Kind(date, st.dates().map(str), st.sampled_from(["soon", [1]]), is_a(date), True),
    Kind(
        datetime, st.datetimes().map(datetime.isoformat), st.sampled_from(["soon", {"a": 1}]), is_a(datetime), True
    ),
    Kind(UUID, st.uuids().map(str), st.sampled_from(["1-2", 5]), is_a(UUID), True),
    Kind(Path, WORD.filter(lambda text: "\0" not in text), NOTHING_TAKES, lambda value: isinstance(value, Path), True),
    Kind(Decimal, st.integers(-SAFE, SAFE), st.sampled_from(["free", [1]]), is_a(Decimal), True),
    Kind(Annotated[int, Field(ge=0, le=9), "A digit"], st.integers(0, 9), st.sampled_from([-1, 10]), is_a(int), True),
]  # fmt: skip


def lists(inner: Kind) -> Kind:
    wrong = st.one_of(NOTHING_TAKES, st.just("text"), st.lists(inner.wrong, min_size=1, max_size=2))
    right = st.lists(inner.right, max_size=3)
    return Kind(LIST[inner.hint], right, wrong, lambda value: type(value) is list and all(map(inner.holds, value)))


def sets(inner: Kind) -> Kind:
    right = st.lists(inner.right, max_size=3)
    return Kind(
        SET[inner.hint], right, NOTHING_TAKES, lambda value: type(value) is set and all(map(inner.holds, value))
    )


def tables(inner: Kind) -> Kind:
    wrong = st.one_of(st.just("text"), st.dictionaries(st.just("k"), inner.wrong, min_size=1))
    right = st.dictionaries(WORD, inner.right, max_size=3)
    return Kind(DICT[str, inner.hint], right, wrong, lambda value: all(map(inner.holds, value.values())))


def optional(inner: Kind) -> Kind:
    return Kind(
        typing.Optional[inner.hint],  # noqa: UP045 (| does not take every hint)
        st.one_of(st.none(), inner.right),
        inner.wrong,
        lambda value: value is None or inner.holds(value),
    )


def pairs(kinds: tuple[Kind, Kind]) -> Kind:
    first, second = kinds
    right = st.tuples(first.right, second.right).map(list)
    wrong = st.one_of(NOTHING_TAKES, st.tuples(first.right).map(list), st.tuples(first.wrong, second.right).map(list))
    return Kind(
        TUPLE[first.hint, second.hint],
        right,
        wrong,
        lambda value: type(value) is tuple and first.holds(value[0]) and second.holds(value[1]),
    )


def records(parts: tuple[int, Kind, Kind]) -> Kind:
    flavour, first, second = parts
    wrong = st.one_of(
        st.just("text"),
        st.fixed_dictionaries({"second": second.right}),
        st.fixed_dictionaries({"first": first.right, "third": st.none()}),
        st.fixed_dictionaries({"first": first.wrong}),
    )
    # The schema does not offer null for what may be left out, though it is taken.
    given_second = second.right.filter(lambda value: value is not None)
    right = st.fixed_dictionaries({"first": first.right}, optional={"second": given_second})
    made: Any
    match flavour:
        case 0:
            made = dataclasses.make_dataclass(
                "Record", [("first", first.hint), ("second", second.hint, dataclasses.field(default=None))]
            )
        case 1:
            made = create_model("Record", first=(first.hint, ...), second=(second.hint, None))
        case 2:
            made = TYPED("Record", {"first": first.hint, "second": typing.NotRequired[second.hint]})
        case _:
            made = EXTENDED("Record", {"first": first.hint, "second": typing.NotRequired[second.hint]})

    def holds(value: Any) -> bool:
        if not isinstance(value, dict):
            return type(value) is made and first.holds(value.first)
        return flavour > 1 and first.holds(value["first"])

    return Kind(made, right, wrong, holds)


leaves = st.sampled_from(LEAVES)
# Plain classes first: a TypedDict of typing's inside a dataclass or model is refused before Python 3.12.
flat = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lists), inner.map(tables), leaves.map(sets), inner.map(optional), st.tuples(inner, inner).map(pairs)
    ),
    max_leaves=4,
)
outer = st.sampled_from([0, 1, 3])
kinds = st.one_of(
    flat,
    st.tuples(st.integers(0, 3), flat, flat).map(records),
    st.tuples(st.integers(0, 3), flat, flat).map(records).map(lists),
    st.tuples(st.integers(0, 3), flat, flat).map(records).map(optional),
    st.tuples(outer, st.tuples(outer, flat, flat).map(records), flat).map(records),
)  # fmt: skip
NAMES = st.sampled_from(["city", "type", "json", "model_x", "_y", "default", "a", "properties"])


@st.composite
def signatures(draw: st.DrawFn) -> tuple[Callable[..., Any], dict[str, Kind], set[str]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    chosen = {name: draw(kinds) for name in names}
    optional_ones = {name for name in names if draw(st.booleans())}
    scope: dict[str, Any] = {f"H{index}": kind.hint for index, kind in enumerate(chosen.values())}
    parts = [
        f"{name}: H{index}{' = None' if name in optional_ones else ''}" for index, name in enumerate(chosen)
    ]  # keyword-only, so that any order of defaults is right
    exec(f"def tool(*, {', '.join(parts)}):\n    'A tool.'\n    return locals()", scope)
    return scope["tool"], chosen, optional_ones


def loaded_of(function: Callable[..., Any]) -> LoadedTool:
    schema = function_schema(function)
    return LoadedTool(
        Tool("tool", "A tool.", schema.parameters, "m:tool", schema.signature, "t:1:1"), schema.call, schema.model
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tmp_path_factory.mktemp("tokenizer"), "v13")


QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.mark.long
@QUICK
@given(signatures())
def test_every_schema_is_taken_by_mistral_common_and_constrains_a_call(tokenizer: Any, drawn: Any) -> None:
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.tool_calls import Function
    from mistral_common.protocol.instruct.tool_calls import Tool as MistralTool
    from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
    from mistral_common.tokens.tokenizers.base import TokenizerVersion

    function, chosen, _ = drawn
    spec = loaded_of(function).tool.spec
    jsonschema.Draft7Validator.check_schema(spec.parameters)
    assert list(spec.parameters["properties"]) == list(chosen)
    assert json.loads(json.dumps(spec.parameters)) == spec.parameters
    request: ChatCompletionRequest[Any] = ChatCompletionRequest(
        messages=[UserMessage(content="hi")],
        tools=[MistralTool(function=Function(name=spec.name, description="d", parameters=spec.parameters))],
    )
    get_validator(TokenizerVersion.v13, ValidationMode.test).validate_request(request)
    planned = constraint(vocabulary_of(tokenizer), [spec], choice="required")
    assert planned.step.grammar is not None
    assert all(f'"{name}"' in planned.step.grammar.text for name in chosen)
    # Nothing had to be left out.
    assert (planned.held, planned.notes) == ({spec.name}, ())


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


def test_a_type_that_holds_itself_constrains_a_call_too(tokenizer: Any) -> None:
    def grow(tree: Tree, also: Tree | None = None) -> None:
        """Grow."""

    spec = loaded_of(grow).tool.spec
    planned = constraint(vocabulary_of(tokenizer), [spec], choice="required")
    assert planned.step.grammar is not None
    assert "#/$defs/d0" in planned.step.grammar.text
    assert (planned.held, planned.notes) == ({spec.name}, ())
    checked = check_arguments(loaded_of(grow), {"tree": {"value": 1, "children": [{"value": 2}]}})
    assert isinstance(checked, Checked)
    assert checked.values["tree"].children == [Tree(value=2)]


@pytest.mark.long
@QUICK
@given(st.data(), signatures())
def test_a_right_instance_is_taken_as_it_is_and_reaches_the_function_converted(data: Any, drawn: Any) -> None:
    function, chosen, optional_ones = drawn
    loaded = loaded_of(function)
    present = [name for name in chosen if name not in optional_ones or data.draw(st.booleans())]
    arguments = {name: data.draw(chosen[name].right) for name in present}
    assert jsonschema.Draft202012Validator(loaded.tool.parameters).is_valid(_without_nulls(arguments, optional_ones))
    result = check_arguments(loaded, arguments)
    assert isinstance(result, Checked), (result, arguments)
    received = loaded.function(**result.values)
    for name in chosen:
        if name in present and not (arguments[name] is None and name in optional_ones):
            assert chosen[name].holds(received[name]), (name, received[name])
        else:
            assert received[name] is None


@pytest.mark.long
@QUICK
@given(st.data(), signatures())
def test_a_wrong_instance_is_refused_in_one_line_that_names_the_argument(data: Any, drawn: Any) -> None:
    function, chosen, _ = drawn
    loaded = loaded_of(function)
    arguments = {name: data.draw(kind.right) for name, kind in chosen.items()}
    bad = data.draw(st.sampled_from(sorted(chosen)))
    arguments[bad] = data.draw(chosen[bad].wrong)
    result = check_arguments(loaded, arguments)
    assert isinstance(result, Rejected), (result, arguments)
    assert result.message.startswith(f"Error: {bad}")
    assert "\n" not in result.message


SCALARS = st.one_of(WORD, st.integers(-SAFE, SAFE), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
NO_SCALAR = st.sampled_from([[1], {"a": 1}, [[]]])
UNTYPED = Kind(None, SCALARS, NO_SCALAR, is_a(str, int, float, bool))
# By what their defaults say.
BY_DEFAULT: dict[Any, Kind] = {
    1: Kind(None, st.integers(-SAFE, SAFE) | st.just(1.5), st.sampled_from(["many", [1]]), is_a(int, float)),
    "x": Kind(None, WORD, NO_SCALAR, is_a(str)),
    False: Kind(None, st.booleans(), st.sampled_from(["perhaps", [1]]), is_a(bool)),
    None: UNTYPED,
}
ORDER = ("only", "either", "keyword")


@dataclass(frozen=True)
class Loose:
    """A signature of parameters that may have no type, be positional-only, have a default or stand for many."""

    function: Callable[..., Any]
    kinds: dict[str, Kind]
    defaults: dict[str, Any]
    rest: str | None


@st.composite
def loose_signatures(draw: st.DrawFn) -> Loose:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    places = sorted((draw(st.sampled_from(ORDER)) for _ in names), key=ORDER.index)
    chosen: dict[str, Kind] = {}
    defaults: dict[str, Any] = {}
    parts: list[str] = []
    scope: dict[str, Any] = {}
    begun = rested = False
    rest = draw(st.sampled_from([None, "rest"]))
    for name, place in zip(names, places, strict=True):
        if begun and place != "only" and "/" not in parts:
            parts.append("/")
        if place == "keyword" and not rested:
            parts.append(f"*{rest}: int" if rest else "*")
            rested = True
        begun = begun or place == "only"
        typed = draw(st.booleans())
        # A parameter that is passed by position and follows one with a default has one, too.
        optional = draw(st.booleans()) or (place != "keyword" and bool(defaults))
        if typed:
            kind = draw(leaves)
            default = None
        else:
            default = draw(st.sampled_from(list(BY_DEFAULT)))
            kind = BY_DEFAULT[default] if optional else UNTYPED
        chosen[name] = kind
        scope[f"H_{name}"], scope[f"D_{name}"] = kind.hint, default
        if optional:
            defaults[name] = default
        parts.append(f"{name}{f': H_{name}' if typed else ''}{f' = D_{name}' if optional else ''}")
    if begun and "/" not in parts:
        parts.append("/")
    if rest and not rested:
        parts.append(f"*{rest}: int")
    exec(f"def tool({', '.join(parts)}):\n    'A tool.'\n    return locals()", scope)
    return Loose(scope["tool"], chosen, defaults, rest)


def called(loose: Loose, loaded: LoadedTool, arguments: dict[str, Any]) -> dict[str, Any]:
    result = check_arguments(loaded, arguments)
    assert isinstance(result, Checked), (result, arguments)
    received: dict[str, Any] = loaded.function(**result.values)
    return received


@settings(QUICK, max_examples=80)
@given(st.data(), loose_signatures())
def test_untyped_positional_and_variadic_parameters_reach_the_function(data: Any, loose: Loose) -> None:
    loaded = loaded_of(loose.function)
    assert list(loaded.tool.parameters["properties"]) == list(inspect.signature(loose.function).parameters)
    given_names = [name for name in loose.kinds if name not in loose.defaults or data.draw(st.booleans())]
    arguments = {name: data.draw(loose.kinds[name].right) for name in given_names}
    if loose.rest is not None and data.draw(st.booleans()):
        arguments[loose.rest] = data.draw(st.lists(st.integers(-9, 9), max_size=3))
    jsonschema.Draft202012Validator.check_schema(loaded.tool.parameters)
    assert jsonschema.Draft202012Validator(loaded.tool.parameters).is_valid(arguments)
    received = called(loose, loaded, arguments)
    for name, kind in loose.kinds.items():
        if name in arguments:
            assert kind.holds(received[name]), (name, received[name])
            assert kind.hint is not None or received[name] == arguments[name]
        else:
            assert received[name] is loose.defaults[name]
    if loose.rest is not None:
        assert received[loose.rest] == tuple(arguments.get(loose.rest, ()))


@settings(QUICK, max_examples=80)
@given(st.data(), loose_signatures())
def test_a_wrong_value_for_an_untyped_parameter_is_refused_by_name(data: Any, loose: Loose) -> None:
    loaded = loaded_of(loose.function)
    arguments = {name: data.draw(kind.right) for name, kind in loose.kinds.items()}
    bad = data.draw(st.sampled_from(sorted(loose.kinds)))
    arguments[bad] = data.draw(loose.kinds[bad].wrong)
    result = check_arguments(loaded, arguments)
    assert isinstance(result, Rejected), (result, arguments)
    assert result.message.startswith(f"Error: {bad}")
    assert "\n" not in result.message


@pytest.mark.long
@settings(QUICK, max_examples=80)
@given(loose_signatures())
def test_a_grammar_holds_whatever_has_no_type(tokenizer: Any, loose: Loose) -> None:
    spec = loaded_of(loose.function).tool.spec
    planned = constraint(vocabulary_of(tokenizer), [spec], choice="required")
    assert (planned.held, planned.notes) == ({spec.name}, ())


def _without_nulls(arguments: dict[str, Any], optional_ones: set[str]) -> dict[str, Any]:
    """The schema does not offer null where a parameter may be left out, though it is taken."""
    return {name: value for name, value in arguments.items() if not (value is None and name in optional_ones)}

# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

import datetime
import functools
import html
import math
import os
import statistics
import sys
import time
import typing
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterable, Sequence, Set
from dataclasses import InitVar, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, LiteralString, NewType, TypeVar, Union

import pytest
import typer
import typing_extensions
from mistral_tokenizers import load, vocabulary_of
from pydantic import BaseModel, Field

from toolchat.mistral.grammar.constraint import constraint
from toolchat.tools.argument_check import Checked, Rejected, check_arguments
from toolchat.tools.json_schema import of_kinds
from toolchat.tools.keywords import KINDS, ParameterEntry
from toolchat.tools.load import load_tools
from toolchat.tools.problems import Place
from toolchat.tools.schema import FunctionSchema, SchemaError, function_schema
from toolchat.tools.toolbox import LoadedTool, Tool
from toolchat.wire.errors import UsageError

if TYPE_CHECKING:
    import decimal as numbers_of_ten
    from fractions import Fraction

    from no_such_package import Frame

SCALAR = {"type": ["string", "number", "boolean", "null"]}
NUMBER = {"type": "number"}
STRING = {"type": "string"}
FEW = {"maxItems": 200}
ARRAY = {"type": "array", "items": SCALAR, **FEW}


class Spelled(str):
    __slots__ = ()


T = TypeVar("T", bound=int)
Either = TypeVar("Either", int, str, bytes)
UserId = NewType("UserId", int)
Names = typing_extensions.TypeAliasType("Names", list[str])


def entry(**words: Any) -> ParameterEntry:
    return ParameterEntry(Place(1, 1), words, dict.fromkeys(words, Place(1, 1)))


def loaded(function: Callable[..., Any], **entries: ParameterEntry) -> LoadedTool:
    schema = function_schema(function, entries)
    return LoadedTool(Tool("f", "F.", schema.parameters, "m:f", schema.signature, "t:1:1"), schema.call, schema.model)


def call(tool: LoadedTool, arguments: dict[str, Any]) -> Any:
    checked = check_arguments(tool, arguments)
    assert isinstance(checked, Checked), checked
    return tool.function(**checked.values)


def properties(function: Callable[..., Any], **entries: ParameterEntry) -> dict[str, Any]:
    found: dict[str, Any] = function_schema(function, entries).parameters["properties"]
    return found


def bare(x): ...  # type: ignore[no-untyped-def]


def by_default(a=1, b="x", c=True, d=None, e=[], f={}, g=b"", h=1.5, i=Decimal(1), j=datetime.date(2025, 1, 1), k=object()): ...  # type: ignore[no-untyped-def]  # noqa: B006, B008 # fmt: skip


def by_google(x, y, z=None, w=None):  # type: ignore[no-untyped-def]
    """Do.

    Args:
        x (int): One.
        y (list of str, optional): Two.
        z (Optional[float]): Three.
        w (Foo): Four.
    """


def by_numpy(x, mode="a", axis=None, out=None, where=None):  # type: ignore[no-untyped-def]
    """Do.

    Parameters
    ----------
    x : array_like
        One.
    mode : {'a', 'b'}, optional
        Two.
    axis : None or int or tuple of ints, optional
        Three.
    out : file-like, optional
        Four.
    where : dict
        Five.
    """


def by_sphinx(x, y):  # type: ignore[no-untyped-def]
    """Do.

    :param x: One
    :type x: bool
    :param str y: Two
    """


def by_example(data, table, plain, either):  # type: ignore[no-untyped-def]
    """Do.

    >>> by_example([1, 2], {"a": 1}, 5, either=[[1], [2]])
    >>> by_example((x for x in y), table={}, plain="a", either=3)
    """


ROW = {"type": "array", "items": NUMBER, **FEW}
NUMBERS = {"anyOf": [NUMBER, {"type": "array", "items": {"anyOf": [NUMBER, ROW]}, **FEW}]}
OBJECT = {"type": "object", "additionalProperties": {"anyOf": [SCALAR, ARRAY]}}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (bare, {"x": SCALAR}),
        (by_default, {
            "a": {**NUMBER, "default": 1}, "b": {**STRING, "default": "x"}, "c": {"type": "boolean", "default": True},
            "d": {"type": ["string", "number", "boolean"]}, "e": {**ARRAY, "default": []}, "f": {**OBJECT, "default": {}},
            "g": {**STRING, "default": ""}, "h": {**NUMBER, "default": 1.5}, "i": {**NUMBER, "default": "1"},
            "j": {**STRING, "format": "date", "default": "2025-01-01"}, "k": {"type": ["string", "number", "boolean"]},
        }),
        (by_google, {
            "x": {"type": "integer", "description": "One."}, "y": {"type": "array", "description": "Two.", "items": STRING},
            "z": {"type": "number", "description": "Three."}, "w": {"type": ["string", "number", "boolean"], "description": "Four."},
        }),
        (by_numpy, {
            "x": {"description": "One.", **NUMBERS}, "mode": {"type": "string", "description": "Two.", "enum": ["a", "b"], "default": "a"},
            "axis": {"description": "Three.", "anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
            "where": {"description": "Five.", **OBJECT},
        }),
        (by_sphinx, {"x": {"type": "boolean", "description": "One"}, "y": {"type": "string", "description": "Two"}}),
        (by_example, {
            "data": ARRAY, "table": OBJECT, "plain": SCALAR,
            "either": {"anyOf": [SCALAR, {"type": "array", "items": {"anyOf": [SCALAR, ARRAY]}, **FEW}]},
        }),
    ],
)  # fmt: skip
def test_a_parameter_without_a_type_has_what_can_be_told_of_it(function: Any, expected: dict[str, Any]) -> None:
    assert properties(function) == expected


def anything(x, rows, table, numbers):  # type: ignore[no-untyped-def]
    """Do.

    Args:
        x (any): One.
        rows (list): Two.
        table (dict): Three.
        numbers (array_like): Four.
    """


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", "a" * 20_001, "x holds text of 20,001 characters; expected at most 20,000, because it has no type"),
        ("x", [[1] * 201], "x holds a list of 201 items; expected at most 200"),
        ("x", {"a": "a" * 20_001}, "x holds text of 20,001 characters; expected at most 20,000"),
        ("rows", [1] * 201, "rows holds a list of 201 items; expected at most 200"),
        ("rows", ["a" * 20_001], "rows holds text of 20,001 characters"),
        ("table", {str(n): n for n in range(201)}, "table holds an object of 201 keys; expected at most 200"),
        ("numbers", [[1] * 201], "numbers holds a list of 201 items; expected at most 200"),
    ],
)
def test_what_has_no_type_is_bounded_in_length(name: str, value: Any, message: str) -> None:
    right = {"x": [[1] * 200, "a" * 20_000], "rows": [1] * 200, "table": {"a": 1}, "numbers": [[1.5] * 200] * 200}
    tool = loaded(anything)
    assert isinstance(check_arguments(tool, right), Checked)
    refused = check_arguments(tool, {**right, name: value})
    assert isinstance(refused, Rejected)
    assert message in refused.message


def compared(a: Sequence[Hashable], b: Sequence[object]): ...  # type: ignore[no-untyped-def]


def joined(*dicts, rows: dict[str, int | list[int]] | None = None):  # type: ignore[no-untyped-def]
    """Join."""
    return [key for one in dicts for key in one], rows


def in_prose(a, b, lines, n):  # type: ignore[no-untyped-def]
    """Compare `a` and `b` (lists of strings).

    The elements of n count.

    lines -- list of lines
    """


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (compared, {"a": "text", "b": ["x", 1]}, None),
        (compared, {"a": {}, "b": ""}, "a must be a string or an array"),
        (joined, {"dicts": [{"a": 1}, {}]}, None),
        (joined, {"dicts": [[1]]}, "dicts[0] must be"),
        (joined, {"rows": {"str": {}, "b": [1, "x"]}}, "rows.str must be an integer or an array of integers (got {}); rows.b"),
        (in_prose, {"a": [1], "b": ["x"], "lines": ["x"], "n": [2]}, None),
        (in_prose, {"a": [{}], "b": [], "lines": [], "n": []}, "a[0] must be a string or a number or a boolean or null (got {})"),
    ],
)  # fmt: skip
def test_words_and_types_that_say_little_are_read_and_a_wrong_value_is_named_by_its_place(
    function: Any, arguments: dict[str, Any], message: str | None
) -> None:
    checked = check_arguments(loaded(function), arguments)
    assert isinstance(checked, Checked) if message is None else isinstance(checked, Rejected), checked
    assert message is None or message in checked.message  # type: ignore[union-attr]


def test_a_stub_beside_the_module_gives_types_without_being_run(tmp_path: Path) -> None:
    (tmp_path / "stubbed.py").write_text(
        "class K:\n    def m(self, x, y=None):\n        'Do.'\n        return x\ndef f(a, b, c=None):\n    'Do.'\n    return a\n"
    )
    (tmp_path / "stubbed.pyi").write_text(
        "raise SystemExit\nfrom typing import overload\nclass K:\n    def m(self, x: list[int], y: str | None = ...) -> int: ...\n"
        "@overload\ndef f(a: int, b: Unknown, c: str = ...) -> int: ...\n@overload\ndef f(a: bytes, b: int, c: str = ...) -> int: ...\n"
    )
    path = tmp_path / "tools.yaml"
    path.write_text("version: 1\ntools:\n- callable: ./stubbed.py:f\n- callable: ./stubbed.py:K\n")
    f, m = load_tools(path).tools
    assert f.tool.parameters["properties"] == {
        "a": {"anyOf": [{"type": "integer"}, STRING]},
        "b": SCALAR,
        "c": STRING,
    }
    assert m.tool.parameters["properties"] == {"x": {"type": "array", "items": {"type": "integer"}}, "y": STRING}


@pytest.mark.parametrize(
    ("kinds", "right", "wrong"),
    [
        (["string"], ["a"], [[1], {}]),
        (["integer", "null"], [1, None], ["a", 1.5]),
        (["number"], [1, 2.5], ["a"]),
        (["array"], [[1, ["a"]]], [[[["too deep"]]], {}]),
        (["object"], [{"a": 1, "b": [2]}], [{"a": {"b": 1}}, [1]]),
        (["any"], [1, [1], {"a": [1]}], [[[[1]]], {"a": {"b": {"c": 1}}}]),
    ],
)
def test_the_tools_file_types_a_parameter(kinds: list[str], right: list[Any], wrong: list[Any]) -> None:
    tool = loaded(bare, x=entry(type=kinds, description="The x"))
    assert tool.tool.parameters["properties"]["x"]["description"] == "The x"
    for value in right:
        result = check_arguments(tool, {"x": value})
        assert isinstance(result, Checked), result
        assert (result.values["x"], result.repaired) == (value, False)
    for value in wrong:
        assert isinstance(check_arguments(tool, {"x": value}), Rejected), value
    assert function_schema(bare, {"x": entry(type=kinds)}).untyped == ()
    assert function_schema(bare, {"x": entry(description="The x")}).untyped == ("x",)


def test_several_scalar_types_are_held_by_the_check_and_values_stay_as_they_were_written() -> None:
    tool = loaded(bare)
    for value in ("a", 5, 2.5, True, None, ""):
        result = check_arguments(tool, {"x": value})
        assert isinstance(result, Checked)
        assert (result.values["x"], type(result.values["x"]), result.repaired) == (value, type(value), False)
    assert check_arguments(tool, {"x": [1]}) == Rejected(
        "Error: x must be a string or a number or a boolean or null (got [1])"
    )
    assert check_arguments(tool, {}) == Rejected(
        'Error: missing argument "x" (string or a number or a boolean or null)'
    )


@pytest.mark.parametrize("version", ["v3-spm", "v13"])
def test_several_scalar_types_are_held_by_every_grammar(version: str, tmp_path: Path) -> None:
    def many(a, b=1, *rest, c=None, **more: int): ...  # type: ignore[no-untyped-def]

    for function in (bare, many, by_default, by_example, by_numpy):
        spec = loaded(function).tool.spec
        planned = constraint(vocabulary_of(load(tmp_path, version)), [spec], choice="required")
        assert (planned.held, planned.notes) == ({spec.name}, ())


def positional(a: int, b: int = 2, c: int = 3, /, d: int = 4, *, e: int = 5) -> tuple[int, ...]:
    return a, b, c, d, e


def rest(a: int, b: int = 2, *more: int, key: str = "k") -> tuple[Any, ...]:
    return a, b, more, key


def options(a: int, /, **more: int) -> tuple[Any, ...]:
    return a, more


def untyped_rest(a: int, *args, **kwargs) -> tuple[Any, ...]:  # type: ignore[no-untyped-def]
    return a, args, kwargs


class Style(typing.TypedDict, total=False):
    color: str
    width: typing.Required[int]


def unpacked(a: int, **style: typing_extensions.Unpack[Style]) -> Any:
    return a, style


def field_default(
    q: str = Field("all", description="Words", min_length=2),
    n: Annotated[int, Field(default=3, ge=1)] = 3,
    tags: list[str] = Field(default_factory=list),  # noqa: B008
    need: int = Field(description="Needed"),
) -> Any:
    return q, n, tags, need


def annotated_default(n: Annotated[int, Field(default=7, ge=1, description="How many")]) -> int:
    return n


def option(
    name: str = typer.Argument(help="Who"),
    count: int = typer.Option(2, help="How often", min=1, max=9),
    loud: Annotated[bool, typer.Option(help="In capitals")] = False,
) -> Any:
    return name, count, loud


def left_out(
    x: int,
    done: Callable[[], None] | None = None,
    key: Callable[[int], int] = abs,
    log=sys.stdout,
    logger=None,
    frame: type[int] | None = None,
) -> Any:
    return x, done, key is abs, log is sys.stdout, logger, frame


@pytest.mark.parametrize(
    ("function", "arguments", "result"),
    [
        (positional, {"a": 1}, (1, 2, 3, 4, 5)),
        (positional, {"a": 1, "c": 9, "e": 0}, (1, 2, 9, 4, 0)),
        (positional, {"a": 1, "d": 9}, (1, 2, 3, 9, 5)),
        (rest, {"a": 1}, (1, 2, (), "k")),
        (rest, {"a": 1, "more": [7, 8], "key": "z"}, (1, 2, (7, 8), "z")),
        (options, {"a": 1, "more": {"a": 5, "b": 6}}, (1, {"a": 5, "b": 6})),
        (options, {"a": 1}, (1, {})),
        (untyped_rest, {"a": 1}, (1, (), {})),
        (unpacked, {"a": 1, "width": 2}, (1, {"width": 2})),
        (field_default, {"need": 1}, ("all", 3, [], 1)),
        (field_default, {"need": 1, "q": "ab", "n": 4, "tags": ["t"]}, ("ab", 4, ["t"], 1)),
        (annotated_default, {}, 7),
        (option, {"name": "Ann"}, ("Ann", 2, False)),
        (option, {"name": "Ann", "count": 3}, ("Ann", 3, False)),
        (left_out, {"x": 1}, (1, None, True, True, None, None)),
        (functools.partial(rest, 1, key="fixed"), {"b": 5}, (1, 5, (), "fixed")),
        (functools.lru_cache(options), {"a": 1}, (1, {})),
        (math.sqrt, {"x": 9}, 3.0),
        (math.gcd, {"integers": [12, 18]}, 6),
        (os.path.join, {"a": "x", "p": ["y", "z"]}, "x/y/z"),
        (html.escape, {"s": "<"}, "&lt;"),
        (statistics.mean, {"data": [1, 2, 3]}, 2),
        (sum, {"iterable": [1, 2]}, 3),
    ],
)
def test_what_a_function_takes_reaches_it(function: Any, arguments: dict[str, Any], result: Any) -> None:
    assert call(loaded(function), arguments) == result


def more_of_text(q: str, token: str, n: Annotated[int, Field(le=10)] = 5, callback: Any = print, **more: str) -> str:
    return f"{q} {token} {n} {more}"


@pytest.mark.parametrize("key", ["token", "n", "q", "callback"])
def test_no_key_of_more_sets_what_has_a_name_of_its_own(key: str) -> None:
    """What a partial has fixed, what is checked by its own type, and what is left out."""
    tool = loaded(functools.partial(more_of_text, token="secret"))
    assert call(tool, {"q": "x", "more": {"other": "y"}}) == "x secret 5 {'other': 'y'}"
    with pytest.raises(TypeError, match=f"more cannot have the key {key}"):
        call(tool, {"q": "x", "more": {key: "1000"}})


def test_a_key_of_an_unpacked_dictionary_that_a_partial_has_fixed_is_not_offered() -> None:
    schema = function_schema(functools.partial(unpacked, width=9))
    assert list(schema.parameters["properties"]) == ["a", "color"]


@pytest.mark.parametrize(
    ("function", "names", "note"),
    [
        (untyped_rest, ["a"], None),
        (unpacked, ["a", "color", "width"], None),
        (functools.partial(rest, 1, key="fixed"), ["b", "more"], None),
        (left_out, ["x"], "is offered without done, key, log, logger, frame, which JSON cannot hold"),
        (by_numpy, ["x", "mode", "axis", "where"], "is offered without out, which JSON cannot hold"),
    ],
)
def test_what_the_model_is_not_offered_is_said(function: Any, names: list[str], note: str | None) -> None:
    schema = function_schema(function)
    assert list(schema.parameters["properties"]) == names
    assert schema.notes == ((note,) if note else ())


def test_the_words_of_field_and_option_are_the_models() -> None:
    assert properties(field_default)["q"] == {
        "type": "string",
        "description": "Words",
        "minLength": 2,
        "default": "all",
    }
    assert function_schema(field_default).parameters["required"] == ["need"]
    assert properties(annotated_default) == {
        "n": {"type": "integer", "description": "How many", "minimum": 1, "default": 7}
    }
    assert properties(option) == {
        "name": {"type": "string", "description": "Who"},
        "count": {"type": "integer", "description": "How often", "minimum": 1, "maximum": 9, "default": 2},
        "loud": {"type": "boolean", "description": "In capitals", "default": False},
    }


def lazily(x: numbers_of_ten.Decimal, y: Fraction | None = None) -> Any: ...
def unknown(x: Frame, y: list[Frame.Part] | None = None, z: Frame[int] | None = None) -> Any: ...


def test_types_for_checkers_only_are_resolved_where_that_imports_no_other_package() -> None:
    assert properties(lazily)["x"] == {"type": "number"}
    schema = function_schema(unknown)
    assert schema.parameters["required"] == ["x"]
    assert schema.notes == (
        "takes any JSON, as far as toolchat can tell, as x, y, z: for type checkers only there is a type",
    )
    tool = loaded(unknown)
    assert isinstance(check_arguments(tool, {"x": {"a": [1]}, "y": [[1, 2]]}), Checked)
    assert isinstance(check_arguments(tool, {"x": {"a": {"b": {"c": {}}}}}), Rejected)


def test_types_for_checkers_only_may_stand_in_a_module_beside(tmp_path: Path) -> None:
    (tmp_path / "kinds_beside.py").write_text("import enum\nclass Kind(enum.Enum):\n    A = 'a'\n")
    (tmp_path / "uses_kinds.py").write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from kinds_beside import Kind\n"
        "def f(kind: Kind) -> str:\n    'Do.'\n    return kind.name\n"
    )
    path = tmp_path / "tools.yaml"
    path.write_text("version: 1\ntools:\n- callable: ./uses_kinds.py:f\n")
    (tool,) = load_tools(path).tools
    assert tool.tool.parameters["properties"]["kind"] == {"type": "string", "enum": ["a"]}
    assert call(tool, {"kind": "a"}) == "A"


ALIASES = '''
from __future__ import annotations
import os
from typing import TYPE_CHECKING
import aliases_beside

if TYPE_CHECKING or os.getenv("NO_SUCH"):
    from typing import TypeAlias
    NumberOrText: TypeAlias = "float | str"
    Pair = tuple[NumberOrText, int]
    class Only: ...

def f(a: NumberOrText, b: Pair, c: Only | None, d: aliases_beside.Loose) -> str:
    """Do."""
    return f"{a} {b} {c} {d}"

def g(a: NumberOrTxt) -> str:
    """Do."""
'''


def test_aliases_for_checkers_only_and_those_of_other_modules_refuse_no_function(tmp_path: Path) -> None:
    (tmp_path / "aliases_beside.py").write_text("from typing import Union\nLoose = Union['NotHere', int]\n")
    (tmp_path / "has_aliases.py").write_text(ALIASES)
    path = tmp_path / "tools.yaml"
    path.write_text("version: 1\ntools:\n- callable: ./has_aliases.py:f\n")
    toolbox = load_tools(path)
    schema = toolbox.tools[0].tool.parameters["properties"]
    assert schema["a"] == {"anyOf": [{"type": "number"}, {"type": "string"}]}
    assert schema["b"]["prefixItems"][1] == {"type": "integer"}
    assert "can tell, as c, d: for type checkers only" in toolbox.notices[0]
    # A name that stands in the annotation itself, and nowhere else, is misspelt.
    path.write_text("version: 1\ntools:\n- callable: ./has_aliases.py:g\n")
    with pytest.raises(UsageError, match=r"the type of its parameter a cannot be resolved .*NumberOrTxt"):
        load_tools(path)


Endless = set[int] | dict[int, Union["Endless", bool]]


def test_a_type_that_holds_itself_by_name_is_left_out_where_it_is_optional_and_told_where_it_is_needed() -> None:
    def optional(x: int, include: Endless | None = None) -> None: ...
    def needed(include: Endless) -> None: ...

    schema = function_schema(optional)
    assert list(schema.parameters["properties"]) == ["x"]
    assert "is offered without include, which JSON cannot hold" in schema.notes
    with pytest.raises(SchemaError, match="its parameter include is a"):
        function_schema(needed)


@dataclass
class Made:
    """A thing that is made."""

    size: int
    seed: InitVar[int] = 0


class Model(BaseModel):
    """A model."""

    name: str


@pytest.mark.parametrize(
    ("hint", "schema", "given", "value"),
    [
        (Collection[int], {"type": "array", "items": {"type": "integer"}}, [1], [1]),
        (Collection, {"type": "array", "items": {}}, [1], [1]),
        (typing.Sequence, {"type": "array", "items": {}}, [1], [1]),
        (Spelled, STRING, "a", Spelled("a")),
        (Set[int], {"type": "array", "items": {"type": "integer"}}, [1], {1}),
        (LiteralString, STRING, "a", "a"),
        (os.PathLike[str], STRING, "a", Path("a")),
        (typing.AnyStr, STRING, "a", "a"),
        (T, {"type": "integer"}, 1, 1),
        (Either, {"anyOf": [{"type": "integer"}, STRING]}, 1, 1),
        (list[Either], {"type": "array", "items": {"anyOf": [{"type": "integer"}, STRING]}}, [1, "a"], [1, "a"]),
        (typing.Final[int], {"type": "integer"}, 1, 1),
        (UserId, {"type": "integer"}, 1, 1),
        (Names, {"type": "array", "items": STRING}, ["a"], ["a"]),
        (Annotated[int, object(), "Words"], {"type": "integer", "description": "Words"}, 1, 1),
        (typing.SupportsFloat, NUMBER, 1, 1),
        (str | typing.IO[str], STRING, "a", "a"),
        (int | Callable[[], int] | Iterable[str], {"anyOf": [{"type": "integer"}, {"type": "array", "items": STRING}]}, ["a"], ["a"]),
        (Sequence[typing.IO[str] | str], {"type": "array", "items": STRING}, ["a"], ["a"]),
    ],
)  # fmt: skip
def test_types_that_people_write_are_taken(hint: Any, schema: dict[str, Any], given: Any, value: Any) -> None:
    def use(x): ...  # type: ignore[no-untyped-def]

    use.__annotations__["x"] = hint
    assert properties(use)["x"] == schema
    result = check_arguments(loaded(use), {"x": given})
    assert isinstance(result, Checked)
    assert result.values == {"x": value}


SOURCE = '''
import functools
import typing
from dataclasses import dataclass

class Pair(typing.NamedTuple):
    """Two of a kind."""
    a: int
    b: str = "x"

class Shelf:
    def __init__(self, name: str = "main"):
        self.name, self.books = name, []
    def add(self, book: str) -> int:
        """Add a book."""
        self.books.append(book)
        return len(self.books)
    @staticmethod
    def rows(count: int) -> int:
        """Count rows."""
        return count * 2
    @classmethod
    def kind(cls) -> str:
        """Tell the kind."""
        return cls.__name__
    class Inner:
        @staticmethod
        def deep() -> str:
            """Go deep."""
            return "deep"

shelf = Shelf("mine")

def base(city: str, unit: str = "c") -> str:
    """Tell the weather."""
    return f"{city} {unit}"

in_kelvin = functools.partial(base, unit="k")
cached = functools.cache(base)

@functools.singledispatch
def describe(x: int) -> str:
    """Describe."""
    return f"number {x}"

class Greeter:
    """Greets."""
    def __call__(self, name: str) -> str:
        return f"Hello {name}"
greeter = Greeter()

class FrameworkTool:
    def __init__(self, func): self.name, self.description, self.func = func.__name__, func.__doc__, func
decorated = FrameworkTool(base)

@dataclass
class Point:
    """A point."""
    x: int
    y: int = 0

class Angry:
    name = "angry"
    def __call__(self): ...
    @property
    def __signature__(self): raise RuntimeError("no look at me")
angry = Angry()
'''


@pytest.mark.parametrize(
    ("attribute", "name", "description", "arguments", "result"),
    [
        ("Shelf.add", "add", "Add a book.", {"book": "a"}, 1),
        ("Shelf.rows", "rows", "Count rows.", {"count": 2}, 4),
        ("Shelf.kind", "kind", "Tell the kind.", {}, "Shelf"),
        ("Shelf.Inner.deep", "deep", "Go deep.", {}, "deep"),
        ("shelf.add", "add", "Add a book.", {"book": "a"}, 1),
        ("in_kelvin", "in_kelvin", "Tell the weather.", {"city": "Rome"}, "Rome k"),
        ("cached", "cached", "Tell the weather.", {"city": "Rome"}, "Rome c"),
        ("describe", "describe", "Describe.", {"x": 1}, "number 1"),
        ("greeter", "greeter", "Greets.", {"name": "Ann"}, "Hello Ann"),
        ("decorated", "decorated", "Tell the weather.", {"city": "Rome"}, "Rome c"),
    ],
)
def test_what_can_be_called_is_taken(
    tmp_path: Path, attribute: str, name: str, description: str, arguments: dict[str, Any], result: Any
) -> None:
    (tmp_path / "callables.py").write_text(SOURCE)
    path = tmp_path / "tools.yaml"
    path.write_text(f"version: 1\ntools:\n- callable: ./callables.py:{attribute}\n")
    (tool,) = load_tools(path).tools
    assert (tool.tool.name, tool.tool.description) == (name, description)
    assert tool.tool.source_digest
    assert call(tool, arguments) == result
    assert "unit" not in load_tools(path).tools[0].tool.parameters["properties"] or attribute != "in_kelvin"


def test_a_dataclass_without_methods_is_a_tool_that_makes_one(tmp_path: Path) -> None:
    (tmp_path / "callables.py").write_text(SOURCE)
    path = tmp_path / "tools.yaml"
    path.write_text("version: 1\ntools:\n- callable: ./callables.py:Point\n")
    (tool,) = load_tools(path).tools
    assert vars(call(tool, {"x": 1})) == {"x": 1, "y": 0}
    assert list(properties(Made)) == ["size", "seed"]
    assert call(loaded(Model), {"name": "a"}) == Model(name="a")
    path.write_text("version: 1\ntools:\n- callable: ./callables.py:Pair\n")
    (tool,) = load_tools(path).tools
    assert tool.tool.description == "Two of a kind."
    assert call(tool, {"a": 1}) == (1, "x")


def test_what_an_object_raises_when_it_is_looked_at_is_a_problem_of_its_own_tool(tmp_path: Path) -> None:
    (tmp_path / "callables.py").write_text(SOURCE)
    path = tmp_path / "tools.yaml"
    path.write_text("version: 1\ntools:\n- callable: ./callables.py:angry\n- callable: ./callables.py:base\n")
    with pytest.raises(UsageError) as caught:
        load_tools(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(
        f'{path}:3:13: "./callables.py:angry" cannot be a tool: it cannot be looked at: RuntimeError'
    )
    assert load_tools(path, lambda entry: entry.target.attribute == "base").toolbox.names == ("base",)


def test_builtins_without_a_signature_are_taken_as_the_file_describes_them(tmp_path: Path) -> None:
    path = tmp_path / "tools.yaml"
    text = "version: 1\ntools:\n- callable: time:strftime\n- callable: builtins:max\n"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_tools(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").partition(" ")[0] for line in lines] == ["3:13:", "4:13:"]
    assert all("it has no readable signature; expected its parameters in the tools file" in line for line in lines)
    path.write_text(
        "version: 1\ntools:\n- callable: time:strftime\n  parameters: {format: {type: string}}\n"
        "- callable: builtins:max\n  parameters: {first: {type: number}, second: {type: number, default: 7}}\n"
        "- callable: time:time_ns\n  parameters: {}\n"
    )
    strftime, most, now = load_tools(path).tools
    assert call(now, {}) > 0
    assert strftime.tool.description.startswith("Convert a time tuple to a string")
    assert call(strftime, {"format": "%Y"}) == time.strftime("%Y")
    assert most.tool.parameters["required"] == ["first"]
    assert (call(most, {"first": 3}), call(most, {"first": 3, "second": 1})) == (7, 3)


def test_refusing_the_untyped_is_said_for_a_file_or_for_a_tool(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text('def f(x, y: int):\n    """F."""\n')
    path = tmp_path / "tools.yaml"
    for text in ("defaults: {untyped: refuse}\ntools:\n- callable: ./plain.py:f\n", "tools:\n- callable: ./plain.py:f\n  untyped: refuse\n"):  # fmt: skip
        path.write_text(f"version: 1\n{text}")
        with pytest.raises(UsageError, match="its parameter x has no type; add a type hint such as x: str"):
            load_tools(path)
        path.write_text(f"version: 1\n{text}  parameters: {{x: {{type: string}}}}\n")
        assert load_tools(path).toolbox.names == ("f",)
    path.write_text("version: 1\ndefaults: {untyped: refuse}\ntools:\n- callable: ./plain.py:f\n  untyped: take\n")
    assert load_tools(path).toolbox.names == ("f",)


def test_what_a_parameter_is_typed_as_is_a_part_of_what_was_granted(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text('def f(x):\n    """F."""\n')
    path = tmp_path / "tools.yaml"
    digests = set()
    for more in ("", "  untyped: take\n", "  parameters: {x: {type: string}}\n", "  parameters: {x: {type: [string]}}\n", "  parameters: {x: {type: number}}\n"):  # fmt: skip
        path.write_text(f"version: 1\ntools:\n- callable: ./plain.py:f\n{more}")
        digests.add(load_tools(path).tools[0].tool.source_digest)
    assert len(digests) == 3


def test_an_asynchronous_generator_may_be_a_tool() -> None:
    async def stream(n: int) -> AsyncIterator[int]:
        yield n

    schema: FunctionSchema = function_schema(stream)
    assert schema.parameters["required"] == ["n"]


def test_a_long_first_paragraph_is_cut_after_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "wordy.py").write_text(f'def f(x: int):\n    """{"All is said. " * 100}"""\n')
    path = tmp_path / "tools.yaml"
    path.write_text("version: 1\ntools:\n- callable: ./wordy.py:f\n")
    description = load_tools(path).tools[0].tool.description
    assert len(description) <= 1024
    assert description.endswith("All is said.")


def test_a_lambda_is_refused() -> None:
    with pytest.raises(SchemaError, match="it is a lambda"):
        function_schema(lambda x: x)


def test_every_type_that_a_tools_file_may_give_a_parameter_is_known() -> None:
    for kind in KINDS:
        of_kinds([kind, "null"])

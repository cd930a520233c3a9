# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import io
import ipaddress
import itertools
import json
import math
import os
import re
import sqlite3
import threading
import time
import types
import typing
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum, IntFlag
from fractions import Fraction
from http.client import HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import urlopen
from xml.etree import ElementTree

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from toolchat.tools import result
from toolchat.tools.host.executor import Executor
from toolchat.tools.result import NO_RESULT, clean
from toolchat.tools.values import MAX_ITEMS, Yielded, error_text, result_text
from toolchat.wire.excerpt import cut_to_bytes, shortened


class Point(typing.NamedTuple):
    x: int
    y: str


class Side(Enum):
    LEFT = "l"


class Mode(IntFlag):
    READ = 4


@dataclasses.dataclass
class Stop:
    city: str
    when: datetime.date


class Model(BaseModel):
    name: str
    at: datetime.datetime
    side: Side = Side.LEFT


class Spoken:
    def __str__(self) -> str:
        return "a spoken thing"


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError


class Own(collections.UserList[int]):
    pass


class Shelf(collections.abc.Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def loop() -> list[Any]:
    items: list[Any] = [1]
    items.append(items)
    return items


def of(library: str, kind: str, /, **attributes: Any) -> Any:
    """A stand-in for a class of a library that is not installed: what is asked of the real one."""
    return type(kind, (), {"__module__": f"{library}.core", **attributes})()


class Labels(list[Any]):
    name = "day"


class Numbers(list[Any]):
    name = None


RangeIndex = type("RangeIndex", (Numbers,), {})


def pandas_frame(rows: list[tuple[Any, ...]], columns: list[str], index: list[Any] | None = None) -> Any:
    labels = RangeIndex(range(len(rows))) if index is None else Labels(index)

    def head(self: Any, count: int) -> Any:
        return pandas_frame(rows[:count], columns, None if index is None else index[:count])

    def itertuples(self: Any, *, index: bool, name: None) -> Iterator[tuple[Any, ...]]:
        return ((label, *row) if index else row for label, row in zip(labels, rows, strict=True))

    return of(
        "pandas",
        "DataFrame",
        columns=columns,
        index=labels,
        head=head,
        itertuples=itertuples,
        __len__=lambda _: len(rows),
    )


def pandas_series(values: list[Any], name: str | None, index: list[Any] | None = None) -> Any:
    labels = RangeIndex(range(len(values))) if index is None else Labels(index)
    return of(
        "pandas",
        "Series",
        name=name,
        index=labels,
        head=lambda _, count: pandas_series(values[:count], name, None if index is None else index[:count]),
        items=lambda _: zip(labels, values, strict=True),
        __len__=lambda _: len(values),
    )


def polars_frame(rows: list[tuple[Any, ...]], columns: list[str]) -> Any:
    return of(
        "polars",
        "DataFrame",
        columns=columns,
        height=len(rows),
        head=lambda _, count: polars_frame(rows[:count], columns),
        rows=lambda _: rows,
    )


def polars_series(values: list[Any], name: str) -> Any:
    return of(
        "polars",
        "Series",
        name=name,
        head=lambda _, count: polars_series(values[:count], name),
        to_list=lambda _: values,
        __len__=lambda _: len(values),
    )


def torch_tensor() -> Any:
    # The real one takes seconds to import.
    def plain(self: Any) -> Any:
        return self

    return of("torch", "Tensor", detach=plain, cpu=plain, numel=lambda _: 2, tolist=lambda _: [1.5, math.nan])


def grouped() -> ExceptionGroup[Exception]:
    return ExceptionGroup("two failed", [ValueError("a"), KeyError("b")])


def pandas_levels() -> Any:
    frame = pandas_frame([(1,)], ["n"], index=[("mon", 7)])
    frame.index = type("MultiIndex", (Labels,), {"names": ["day", None]})([("mon", 7)])
    return frame


def database_rows() -> list[Any]:
    base = sqlite3.connect(":memory:")
    base.row_factory = sqlite3.Row
    return list(base.execute("select 1 as a, 'x' as b"))


def caused() -> ValueError:
    error = ValueError("no key")
    error.__cause__ = KeyError("k")
    return error


def steps() -> Iterator[int]:
    yield 1
    yield 2


def power() -> Any:
    return pytest.importorskip("sympy").Symbol("x") ** 2


def answer_of(library: str) -> Any:
    return of(library, "Response", status_code=404, text="not here")


def answer_of_http(body: bytes = b"not here", charset: str | None = None) -> HTTPResponse:
    head = f"HTTP/1.1 404 Not Found\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: text/plain; charset={charset}\r\n" if charset is not None else ""

    class Wire:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(head.encode() + b"\r\n" + body)

    answer = HTTPResponse(Wire())  # type: ignore[arg-type]  # all that it needs of a socket
    answer.begin()
    return answer


STRUCTURED = numpy.array([(1, 0.5)], dtype=[("n", "i4"), ("x", "f8")])
FORM = ", for which JSON has no form: this is its repr]"

VALUES: list[tuple[str, Callable[[], Any], str]] = [
    ("none", lambda: None, NO_RESULT),
    ("text", lambda: "It is 5 °C", "It is 5 °C"),
    ("empty text", lambda: "", ""),
    ("number", lambda: 264, "264"),
    ("huge integer", lambda: 10**5000, "1" + "0" * 5000),
    ("true", lambda: True, "true"),
    ("not a number", lambda: math.nan, "NaN"),
    ("infinities", lambda: [math.inf, -math.inf], "[Infinity, -Infinity]"),
    ("complex", lambda: 1 + 2j, "(1+2j)"),
    ("decimal", lambda: Decimal("1.10"), "1.10"),
    ("fraction", lambda: Fraction(1, 3), "1/3"),
    ("dict", lambda: {"temp": 5, "city": "Zürich"}, '{"temp": 5, "city": "Zürich"}'),
    ("dict with other keys", lambda: {(1, 2): "a", None: "b", 3: "c", "3": "d", Side.LEFT: "e"}, '{"(1, 2)": "a", "null": "b", "3": "c", "\'3\'": "d", "l": "e"}'),
    ("tuple", lambda: (1, "a"), '[1, "a"]'),
    ("named tuple", lambda: Point(1, "a"), '{"x": 1, "y": "a"}'),
    ("named tuples", lambda: [Point(1, "a")], '[{"x": 1, "y": "a"}]'),
    ("time of the system", lambda: time.gmtime(0), '{"tm_year": 1970, "tm_mon": 1, "tm_mday": 1, "tm_hour": 0, "tm_min": 0, "tm_sec": 0, "tm_wday": 3, "tm_yday": 1, "tm_isdst": 0}'),
    ("state of a file", lambda: {key: value for key, value in json.loads(result_text(os.stat_result(range(1, 11)))).items() if value is not None and key in ("st_mode", "st_size", "st_mtime")}, '{"st_mode": 1, "st_size": 7, "st_mtime": 9}'),
    ("terminal size", lambda: os.terminal_size((80, 24)), '{"columns": 80, "lines": 24}'),
    ("set", lambda: {"b", "a", "c"}, '["a", "b", "c"]'),
    ("mixed set", lambda: frozenset({2, "a"}), '[2, "a"]'),
    ("range", lambda: range(3), "[0, 1, 2]"),
    ("long range", lambda: range(10**12), "range(0, 1000000000000)"),
    ("keys", lambda: {"a": 1}.keys(), '["a"]'),
    ("values", lambda: {"a": 1}.values(), "[1]"),
    ("items", lambda: {"a": 1}.items(), '[["a", 1]]'),
    ("counter", lambda: collections.Counter("aab"), '{"a": 2, "b": 1}'),
    ("deque", lambda: collections.deque([1, 2]), "[1, 2]"),
    ("chain of maps", lambda: collections.ChainMap({"a": 1}), '{"a": 1}'),
    ("mapping that cannot be changed", lambda: types.MappingProxyType({"a": 1}), '{"a": 1}'),
    ("dict with a default", lambda: collections.defaultdict(int, {"a": 1}), '{"a": 1}'),
    ("text of a class of its own", lambda: collections.UserString("kept"), "kept"),
    ("own mapping", Shelf, '{"a": 1}'),
    ("own sequence", lambda: Own([1, 2]), "[1, 2]"),
    ("array of the library", lambda: array.array("i", [1, 2]), "[1, 2]"),
    ("rows of a database", database_rows, '[{"a": 1, "b": "x"}]'),
    ("element of XML", lambda: ElementTree.fromstring('<a x="1"><b>t</b></a>'), '<a x="1"><b>t</b></a>'),
    ("answer of requests", lambda: answer_of("requests"), "not here\n[the text of a response with the status 404]"),
    ("answer of httpx", lambda: answer_of("httpx"), "not here\n[the text of a response with the status 404]"),
    ("answer of urllib", lambda: urlopen("data:text/plain,hi%0Ayou"), "hi\nyou\n[the text of a response]"),
    ("answer of http.client", answer_of_http, "not here\n[the text of a response with the status 404]"),
    ("bytes that can be changed", lambda: bytearray(b"ab"), "ab"),
    ("no bytes", lambda: b"", ""),
    ("bytes of text", lambda: "5 °C".encode(), "5 °C"),
    ("other bytes", lambda: b"\xff\x00", "[2 bytes of binary data]"),
    ("a file's bytes", lambda: b"%PDF-1.7\xff", "[9 bytes of a PDF file]"),
    ("memory view", lambda: memoryview(b"ab"), "ab"),
    ("date", lambda: datetime.date(2025, 3, 1), "2025-03-01"),
    ("dates", lambda: {"at": datetime.datetime(2025, 3, 1, 12), "for": datetime.timedelta(seconds=90)}, '{"at": "2025-03-01T12:00:00", "for": "PT1M30S"}'),
    ("uuid", lambda: uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ("path", lambda: PurePosixPath("a/b"), "a/b"),
    ("enum", lambda: Side.LEFT, "l"),
    ("flag", lambda: [Mode.READ], "[4]"),
    ("dataclass", lambda: Stop("Rome", datetime.date(2025, 3, 1)), '{"city": "Rome", "when": "2025-03-01"}'),
    ("pydantic model", lambda: Model(name="a", at=datetime.datetime(2025, 1, 1)), '{"name": "a", "at": "2025-01-01T00:00:00", "side": "l"}'),
    ("namespace", lambda: types.SimpleNamespace(a=1), "namespace(a=1)"),
    ("object with a text", Spoken, "a spoken thing"),
    ("objects with a text", lambda: {"x": Spoken()}, '{"x": "a spoken thing"}'),
    ("class", lambda: datetime.date, "<class 'datetime.date'>"),
    ("pattern", lambda: re.compile("a+"), "re.compile('a+')"),
    ("text in memory", lambda: io.StringIO("kept"), "kept"),
    ("exception", lambda: ValueError("no such zone"), "ValueError: no such zone"),
    ("exceptions", lambda: [grouped()], '["ExceptionGroup: two failed (2 sub-exceptions): ValueError: a; KeyError: \'b\'"]'),
    ("exception with its cause", lambda: caused(), "ValueError: no key (caused by KeyError: 'k')"),
    ("generator", steps, "[1, 2]"),
    ("pairs", lambda: zip("a", [1], strict=True), '[["a", 1]]'),
    ("address of the network", lambda: ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    ("zone", lambda: datetime.UTC, "UTC"),
    ("negative duration", lambda: -datetime.timedelta(hours=1), "-PT1H"),
    ("decimal that is no number", lambda: Decimal("NaN"), "NaN"),
    ("function", lambda: len, "<built-in function len>"),
    ("the ellipsis", lambda: ..., "Ellipsis"),
    ("expression of sympy", power, "x**2"),
    ("iterator", lambda: map(str, [1, 2]), '["1", "2"]'),
    ("endless iterator", itertools.count, f"[{', '.join(map(str, range(MAX_ITEMS)))}]\n[the first 1,000 items; there are more]"),
    ("iterator that fails", lambda: map(int, ["1", "x"]), "[1]\n[then it raised ValueError: invalid literal for int() with base 10: 'x']"),
    ("list that holds itself", loop, '[1, "[…]"]\n[a value that holds itself is written as […] there]'),
    ("silent object", Silent, "<Silent>\n[a value of the type Silent, whose repr fails, is not shown]"),
    ("half a surrogate pair", lambda: ["\udfff"], '["\ufffd"]'),
    ("numpy scalars", lambda: [numpy.int64(3), numpy.float32(0.5), numpy.float64(0.1), numpy.bool_(True), numpy.str_("a")], '[3, 0.5, 0.1, true, "a"]'),
    ("numpy scalar", lambda: numpy.int64(3), "3"),
    ("numpy long double", lambda: numpy.longdouble("0.5"), "0.5"),
    ("numpy date", lambda: numpy.datetime64("2025-03-01"), "2025-03-01"),
    ("numpy array", lambda: numpy.arange(4).reshape(2, 2), "[[0, 1], [2, 3]]"),
    ("numpy array of dates", lambda: numpy.array(["2025-03-01"], dtype="datetime64[ns]"), '["2025-03-01T00:00:00.000000000"]'),
    ("numpy array with names", lambda: STRUCTURED, '[{"n": 1, "x": 0.5}]'),
    ("numpy row with names", lambda: STRUCTURED[0], '{"n": 1, "x": 0.5}'),
    ("masked numpy array", lambda: numpy.ma.array([1, 2], mask=[0, 1]), "[1, null]"),
    ("complex numpy array", lambda: numpy.array([1 + 2j]), '["(1+2j)"]'),
    ("numpy array without a dimension", lambda: numpy.array(5), "5"),
    ("long numpy array", lambda: numpy.zeros((2000, 2), int), "[[0 0]\n [0 0]\n [0 0]\n ...\n [0 0]\n [0 0]\n [0 0]]\n[an array of shape (2000, 2), int64]"),
    ("torch tensor", torch_tensor, "[1.5, NaN]"),
    ("pandas frame", lambda: pandas_frame([("Rome", 1.5), ("a|b\nc", None)], ["city", "n"]), "| city | n |\n| --- | --- |\n| Rome | 1.5 |\n| a\\|b c |  |"),
    ("pandas frame with labels", lambda: pandas_frame([(1,)], ["n"], index=["mon"]), "| day | n |\n| --- | --- |\n| mon | 1 |"),
    ("long pandas frame", lambda: pandas_frame([(n,) for n in range(1200)], ["n"]), "| n |\n| --- |\n" + "".join(f"| {n} |\n" for n in range(50)) + "[the first 50 of 1,200 rows × 1 column]"),
    ("pandas frame with two levels", pandas_levels, "| day | index | n |\n| --- | --- | --- |\n| mon | 7 | 1 |"),
    ("empty pandas frame", lambda: pandas_frame([], ["n", "s"]), "[an empty table of 0 rows × 2 columns: n, s]"),
    ("pandas frame without anything", lambda: pandas_frame([], []), "[an empty table of 0 rows × 0 columns]"),
    ("pandas value that is missing", lambda: [of("pandas", "NAType")], "[null]"),
    ("pandas array", lambda: of("pandas", "ExtensionArray", tolist=lambda _: ["a", None]), '["a", null]'),
    ("pandas frame inside", lambda: {"t": pandas_frame([(1,)], ["n"])}, '{"t": [{"n": 1}]}'),
    ("pandas series", lambda: pandas_series([1, 2], "n", index=["a", "b"]), "| day | n |\n| --- | --- |\n| a | 1 |\n| b | 2 |"),
    ("plain pandas series", lambda: pandas_series([1], None), "| value |\n| --- |\n| 1 |"),
    ("polars frame", lambda: polars_frame([(1, "a")], ["n", "s"]), "| n | s |\n| --- | --- |\n| 1 | a |"),
    ("polars series", lambda: polars_series([1], "n"), "| n |\n| --- |\n| 1 |"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "text"), [pytest.param(make, text, id=kind) for kind, make, text in VALUES])
def test_each_kind_of_value_has_its_text(make: Callable[[], Any], text: str) -> None:
    assert result_text(make()) == text


ANSWERED = "[the text of a response with the status 404]"
PAGE = "Köln, Łódź, 東京"


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        (PAGE.encode(), None, PAGE),
        (PAGE.encode("utf-16"), "UTF-16", PAGE),
        ("Köln, 5 °C".encode("latin-1"), "ISO-8859-1", "Köln, 5 °C"),
        ("東京".encode("shift_jis"), '"Shift_JIS"', "東京"),
        ("Köln".encode("latin-1"), None, "[4 bytes of binary data]"),
        # Not what the server says.
        (PAGE.encode(), "us-ascii", PAGE),
        (PAGE.encode(), "no-such-charset", PAGE),
        (b"61", "hex", "61"),
        (b"a-b", "punycode", "a-b"),
        (b"\x00\xff", "ISO-8859-1", "[2 bytes of binary data]"),
    ],
)
def test_an_answer_is_read_in_the_charset_that_its_server_declares(body: bytes, charset: str | None, text: str) -> None:
    assert result_text(answer_of_http(body, charset)) == f"{text}\n{ANSWERED}"


@pytest.mark.parametrize(
    ("character", "charset"),
    [("é", None), ("東", None), ("🙂", None), ("é", "utf-16-le"), ("🙂", "utf-16"), ("東", "gb18030")],
)
def test_a_long_answer_that_is_cut_within_a_character_is_text_up_to_it(
    monkeypatch: pytest.MonkeyPatch, character: str, charset: str | None
) -> None:
    monkeypatch.setattr(result, "MAX_BODY", 1_000)
    for before in ("", "a", "ab", "abc"):
        whole = (before + character * 510).encode(charset or "utf-8")
        text, _, note = result_text(answer_of_http(whole, charset)).rpartition("\n")
        assert note == "[the text of a response with the status 404, its first 1,000 bytes]"
        assert set(text[len(before) :]) == {character}
        assert 1_000 - len(text.encode(charset or "utf-8")) < 4


def test_a_long_answer_that_is_no_text_is_told_by_its_kind() -> None:
    text = result_text(answer_of_http(b"%PDF-1.7\xff" + bytes(1_000_000)))
    assert text.startswith("[1,000,000 bytes of a PDF file]\n")


def test_an_answer_that_was_read_or_closed_before_is_not_said_to_be_empty() -> None:
    said = "[a response with the status 404 that was read or closed before; return what its read() gives]"
    with answer_of_http() as closed:
        pass
    read = answer_of_http()
    assert read.read() == b"not here"
    assert [result_text(answer) for answer in (closed, read)] == [said, said]
    with urlopen("data:text/plain,hi") as other:
        pass
    assert result_text([other]) == json.dumps([said.replace(" with the status 404", "")])
    assert result_text(answer_of_http(b"")) == f"\n{ANSWERED}"


def test_there_are_more_kinds_than_the_43_that_were_counted() -> None:
    assert len({kind for kind, _, _ in VALUES}) >= 43


def test_an_expression_of_sympy_is_what_it_prints() -> None:
    sympy = pytest.importorskip("sympy")
    x = sympy.Symbol("x")
    assert result_text(sympy.diff(x**3, x)) == "3*x**2"
    assert result_text({"roots": sympy.solve(x**2 - 4, x)}) == '{"roots": ["-2", "2"]}'


@pytest.mark.long
def test_a_real_tensor_is_its_numbers() -> None:
    torch = pytest.importorskip("torch")
    assert result_text(torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)) == "[[1.0, 1.0], [1.0, 1.0]]"
    assert result_text(torch.zeros(2000)).endswith("[a tensor of shape (2000,), torch.float32]")


@pytest.mark.parametrize("value", [object(), loop, threading.Lock(), {"x": object()}])
def test_what_json_cannot_hold_is_its_repr_with_a_note_and_no_error(value: Any) -> None:
    outcome = Executor(lambda _: None).run(lambda: value, {})
    assert outcome.ok
    lines = outcome.content.splitlines()
    shown = value["x"] if isinstance(value, dict) else value
    assert repr(shown) in lines[0]
    assert lines[1:] == [f"[a value of the type {type(shown).__name__}{FORM}"]


def test_what_a_generator_yields_is_its_result_unless_it_returns_one() -> None:
    def steps(last: Any = None, count: int = 2) -> Iterator[Any]:
        for n in range(count):
            yield f"step {n}"
        return last

    said: list[str] = []
    executor = Executor(said.append)
    assert executor.run(steps, {}).content == '["step 0", "step 1"]'
    assert said == ["step 0", "step 1"]
    assert executor.run(steps, {"last": "done"}).content == "done"
    assert executor.run(steps, {"count": 0}).content == NO_RESULT
    many = executor.run(steps, {"count": MAX_ITEMS + 5}).content
    assert many.endswith("\n[the first 1,000 of 1,005 values that it yielded]")


def test_yielded_values_are_not_all_kept() -> None:
    yielded = Yielded()
    for number in range(MAX_ITEMS * 3):
        yielded.add(number)
    assert len(yielded.whole().values) == MAX_ITEMS


def test_an_error_names_those_of_a_group_and_what_caused_it() -> None:
    assert error_text(grouped()) == "Error: ExceptionGroup: two failed (2 sub-exceptions): ValueError: a; KeyError: 'b'"
    error, cause = ValueError("no key"), KeyError("k")
    error.__cause__ = cause
    assert error_text(error) == "Error: ValueError: no key (caused by KeyError: 'k')"
    cause.__cause__ = error
    assert error_text(error) == "Error: ValueError: no key (caused by KeyError: 'k')"


def test_running_out_of_memory_while_writing_is_said_as_such() -> None:
    class Large:
        def __str__(self) -> str:
            raise MemoryError

    outcome = Executor(lambda _: None).run(lambda: [Large()], {})
    assert (outcome.ok, outcome.out_of_memory) == (False, True)


def test_a_value_that_is_nested_without_end_has_a_text() -> None:
    deep: Any = 1
    for _ in range(10_000):
        deep = [deep]
    assert result_text(deep).endswith("[what is nested deeper than 50 levels is written as […]]")


def test_a_file_that_is_returned_is_read(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("a\nb\n")
    with (tmp_path / "notes").open() as file:
        assert result_text(file) == '["a\\n", "b\\n"]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"1": "a", 1: "b"}, '{"1": "a", "1 (2)": "b"}'),
        ({1: "b", "1": "a"}, '{"1": "b", "\'1\'": "a"}'),
        ({"1.5": "a", 1.5: "b"}, '{"1.5": "a", "1.5 (2)": "b"}'),
        ({"null": 1, None: 2, "None": 3}, '{"null": 1, "None": 2, "\'None\'": 3}'),
    ],
)
def test_keys_that_read_alike_lose_no_entry(value: Any, text: str) -> None:
    assert result_text(value) == text


def test_a_model_with_bytes_that_are_no_text_is_an_object_all_the_same() -> None:
    class Blob(BaseModel):
        name: str
        data: bytes

    assert result_text(Blob(name="a", data=b"\xff\x00")) == '{"name": "a", "data": "[2 bytes of binary data]"}'


def test_the_heading_of_a_table_is_as_safe_as_its_cells() -> None:
    head, rule, row = result_text(pandas_frame([(1, "x|y")], ["a|b\nc", "d"])).splitlines()[:3]
    assert head.count("|") - head.count("\\|") == rule.count("|") == row.count("|") - row.count("\\|")


@given(st.text(st.characters(codec=None), max_size=300), st.integers(10, 200))
def test_a_bounded_text_is_utf8_and_keeps_to_its_limit(text: str, limit: int) -> None:
    cleaned = clean(text)
    cut = shortened(cleaned, limit)
    assert len(cleaned) == len(text)
    encoded = cut.encode()
    assert b"\0" not in encoded
    assert len(encoded) <= limit + 100
    excerpt = cut_to_bytes(cleaned, limit)
    if len(cleaned.encode()) <= limit:
        assert excerpt is None
        assert cut == cleaned
    else:
        assert excerpt is not None
        assert excerpt.total == len(text)
        assert cleaned.startswith(excerpt.head)
        assert cleaned.endswith(excerpt.tail)
        assert excerpt.left_out > 0

"""Writes any Python value as text for the model: JSON where there is a form for it, else the text that the value has.

It never fails: when it is called, the tool has done its work, and an error would have the model do it again. What has
no form of its own becomes its repr, and a line below says so. No library is imported: numpy, pandas, polars and torch
are known by the names of their classes, so that a value of theirs is one where it was made.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import itertools
import json
import sys
import types
from collections import UserString, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from decimal import Decimal
from enum import Enum
from typing import Any

from toolchat.tools.result import NO_RESULT, clean, of_answer, of_bytes
from toolchat.wire.excerpt import shortened

MAX_ROWS = 50
"""Of a table: more of them tell a model no more, and would be cut in the middle of a row."""
MAX_ITEMS = 1_000
"""Of an iterator, which may never end, and of what a generator yields."""
MAX_ELEMENTS = 1_000
"""Of an array that is written out; numpy and torch abbreviate theirs from there on, too."""
_MAX_DEPTH = 50
_MAX_ERROR = 2000
_MAX_BITS = 14_000
"""Of an integer that Python converts to decimal digits (4,300 of them) without being asked twice."""


def result_text(value: Any) -> str:
    """A string as it is, None as "(no result)", anything else as `value_text` writes it; however long, and clean."""
    return NO_RESULT if value is None else clean(value_text(value))


def error_text(error: BaseException) -> str:
    """ "Error: ValueError: unknown time zone: Mars", from whatever was raised. Never raises."""
    kind, colon, message = clean(raised_text(error)).partition(": ")
    return f"Error: {kind}{colon}{shortened(message, _MAX_ERROR)}"


def value_text(value: Any) -> str:
    """`value` as text: a string as it is, all else as JSON or as a table, with a line for what is not all there."""
    writer = _Writer()
    try:
        text = writer.text(value)
    except MemoryError:
        raise
    # Attributes of a value are code of a tool, which may raise anything.
    except Exception:
        text = writer.last_resort(value)
    return "\n".join([text, *(f"[{note}]" for note in writer.notes)])


class Yielded:
    """What a generator yields, as far as it may be its result."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._count = 0

    def add(self, value: Any) -> None:
        self._count += 1
        if len(self._values) < MAX_ITEMS:
            self._values.append(value)

    def whole(self) -> Any:
        """All of it; None where there was nothing."""
        if self._count > len(self._values):
            return _Part(self._values, f"the first {len(self._values):,} of {self._count:,} values that it yielded")
        return self._values if self._values else None


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """Some of the values of an iterator."""

    values: list[Any]
    note: str


class _Writer:
    """Writes one value; `notes` are lines to be put below it."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}
        self._inside: list[int] = []

    def text(self, value: Any) -> str:
        if (table := _table(value)) is not None:
            return table
        plain = self._plain(value)
        if isinstance(plain, str):
            return plain
        # Not pydantic's writer: this spacing is the one that models are trained on.
        return json.dumps(plain, ensure_ascii=False)

    def last_resort(self, value: Any) -> str:
        kind = type(value).__name__
        try:
            text = str.__str__(repr(value))
        except Exception:
            self.notes[f"a value of the type {kind}, whose repr fails, is not shown"] = None
            return f"<{kind}>"
        self.notes[f"a value of the type {kind}, for which JSON has no form: this is its repr"] = None
        return text

    def _plain(self, value: Any) -> Any:
        """A value as JSON holds it: of dicts with text as keys, lists, text, numbers, true, false and null."""
        match value:
            case None | bool():
                return value
            case Enum():
                return self._plain(value.value)
            case UserString():
                return self._plain(value.data)
            case str():
                # Not str(value): a subclass may have a __str__ of its own.
                return str.__str__(value)
            case int():
                # Decimal writes what int refuses to, so that no result is a way to stall Python.
                return str(Decimal(value)) if value.bit_length() > _MAX_BITS else int(value)
            case float():
                return float(value)
        if id(value) in self._inside:
            self.notes["a value that holds itself is written as […] there"] = None
            return "[…]"
        if len(self._inside) >= _MAX_DEPTH:
            self.notes[f"what is nested deeper than {_MAX_DEPTH} levels is written as […]"] = None
            return "[…]"
        self._inside.append(id(value))
        try:
            return self._structured(value)
        except MemoryError:
            # Not the value's fault: the caller says what the limit is.
            raise
        except Exception:
            return self.last_resort(value)
        finally:
            self._inside.pop()

    def _structured(self, value: Any) -> Any:
        match value:
            case tuple() if fields := _field_names(value):
                return {name: self._plain(item) for name, item in zip(fields, value, strict=True)}
            case tuple() if fields := _member_names(value):
                return {name: self._plain(getattr(value, name)) for name in fields}
            case range() if len(value) > MAX_ITEMS:
                return str(value)
            case list() | tuple() | deque() | range():
                return [self._plain(item) for item in value]
            case Mapping():
                return self._object(value)
            case set() | frozenset():
                return [self._plain(item) for item in _sorted(value)]
            case bytes() | bytearray() | memoryview():
                return of_bytes(bytes(value))
            case _Part():
                self.notes[value.note] = None
                return [self._plain(item) for item in value.values]
            case datetime.timedelta() | datetime.date() | datetime.time():
                return _of_time(value)
            case _ if _is_model(value):
                from pydantic_core import to_jsonable_python

                try:
                    return self._plain(to_jsonable_python(value, fallback=self._plain, inf_nan_mode="constants"))
                except ValueError:  # bytes that are no text
                    return {name: self._plain(getattr(value, name, None)) for name in type(value).model_fields}
            case BaseException():
                return raised_text(value)
            case io.StringIO():
                return value.getvalue()
            case io.BytesIO():
                return of_bytes(value.getvalue())
            case type():
                return repr(value)
            case _ if ("pandas", "NAType") in class_names(value):
                return None
        if (plain := self._of_library(value)) is not None:
            return plain
        if dataclasses.is_dataclass(value):
            return {field.name: self._plain(getattr(value, field.name, None)) for field in dataclasses.fields(value)}
        if isinstance(attributes := getattr(type(value), "__attrs_attrs__", None), tuple):
            return {item.name: self._plain(getattr(value, item.name, None)) for item in attributes}
        if isinstance(value, Iterator):
            return self._read(value)
        if isinstance(value, Sequence | Set | ValuesView):
            return self._read(iter(value))
        return self._own(value)

    def _object(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = key if isinstance(key, str) else json.dumps(key) if key is None or type(key) is bool else None
            if name is None:
                plain = self._plain(key)
                name = plain if isinstance(plain, str) else str(key)
            # {1: ..., "1": ...} has two keys, in either order.
            names = itertools.chain((name, repr(key)), (f"{key!r} ({number})" for number in itertools.count(2)))
            result[next(free for free in names if free not in result)] = self._plain(item)
        return result

    def _read(self, items: Iterator[Any]) -> Any:
        values: list[Any] = []
        try:
            values.extend(itertools.islice(items, MAX_ITEMS + 1))
        except MemoryError:
            raise
        except Exception as error:
            # What came before it is worth reading, and so is the reason.
            self.notes[f"then it raised {raised_text(error)}"] = None
        if len(values) > MAX_ITEMS:
            del values[MAX_ITEMS:]
            self.notes[f"the first {MAX_ITEMS:,} items; there are more"] = None
        return [self._plain(item) for item in values]

    def _of_library(self, value: Any) -> Any:
        """What numpy, torch, pandas and polars hold; None for all else."""
        names = class_names(value)
        if ("sqlite3", "Row") in names:
            return {name: self._plain(value[name]) for name in value.keys()}  # noqa: SIM118 (it is no mapping)
        if ("requests", "Response") in names or ("httpx", "Response") in names:
            self.notes[f"the text of a response with the status {value.status_code}"] = None
            return value.text
        if ("http", "HTTPResponse") in names or ("urllib", "addinfourl") in names:
            text, note = of_answer(value)
            self.notes.update({note: None} if note is not None else {})
            return text
        if ("xml", "Element") in names or ("lxml", "_Element") in names:
            library = sys.modules["lxml.etree" if ("lxml", "_Element") in names else "xml.etree.ElementTree"]
            return str(library.tostring(value, encoding="unicode"))
        if ("numpy", "void") in names and value.dtype.names:
            return {name: self._plain(value[name]) for name in value.dtype.names}
        if ("numpy", "generic") in names:
            return self._plain(_scalar(value))
        if ("numpy", "ndarray") in names:
            if value.size > MAX_ELEMENTS:
                self.notes[f"an array of shape {tuple(value.shape)}, {value.dtype}"] = None
                return str(value)
            if value.dtype.names:
                return [self._plain(row) for row in value.ravel()]
            return self._plain(value.astype(str).tolist() if value.dtype.kind in "mM" else value.tolist())
        if ("torch", "Tensor") in names:
            held = value.detach().cpu()
            if held.numel() > MAX_ELEMENTS:
                self.notes[f"a tensor of shape {tuple(held.shape)}, {held.dtype}"] = None
                return str(held)
            return self._plain(held.tolist())
        if ("pandas", "Index") in names or ("pandas", "ExtensionArray") in names:
            return self._read(iter(value.tolist()))
        if (rows := rows_of(value)) is not None:
            if rows.count > len(rows.cells):
                self.notes[f"the first {len(rows.cells)} of {shape_text(rows)}"] = None
            return [dict(zip(rows.names, map(self._plain, row), strict=False)) for row in rows.cells]
        return None

    def _own(self, value: Any) -> str:
        """The text of an object: its `str`, where that says more than where it lies in memory."""
        text = str.__str__(str(value))
        return self.last_resort(value) if f" at 0x{id(value):x}" in text.lower() else text


def raised_text(error: BaseException) -> str:
    """ "ValueError: unknown zone", with the errors of a group and with what caused it. Never raises."""
    return _raised(error, set())


def _raised(error: BaseException, seen: set[int]) -> str:
    seen.add(id(error))
    try:
        message = str.__str__(str(error)).strip()
    except BaseException:
        message = "its message cannot be shown"
    kind = type(error).__name__
    text = f"{kind}: {message}" if message else kind
    if isinstance(error, BaseExceptionGroup):
        text = f"{text}: {'; '.join(_raised(one, seen) for one in error.exceptions if id(one) not in seen)}"
    cause = error.__cause__
    if cause is not None and id(cause) not in seen:
        text = f"{text} (caused by {_raised(cause, seen)})"
    return text


def _field_names(value: tuple[Any, ...]) -> tuple[str, ...]:
    """Of a named tuple, and of the kind that Python's own modules return (os.stat)."""
    names = getattr(value, "_fields", None)
    if names is None and hasattr(type(value), "n_sequence_fields"):
        names = getattr(type(value), "__match_args__", None)
    if isinstance(names, tuple) and len(names) == len(value) and all(isinstance(name, str) for name in names):
        return names
    return ()


def _member_names(value: tuple[Any, ...]) -> tuple[str, ...]:
    """Of a value of Python's own modules that has more names than items, as that of `os.stat`."""
    if not getattr(type(value), "n_unnamed_fields", 0):
        return ()
    return tuple(name for name, item in vars(type(value)).items() if isinstance(item, types.MemberDescriptorType))


def _sorted(values: Iterable[Any]) -> list[Any]:
    """A set has an order of its own in every process; this one is always the same."""
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


def _is_model(value: Any) -> bool:
    """Whether it is a pydantic model. Its library takes 50 ms to import, and is not imported here."""
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def _of_time(value: Any) -> str:
    from pydantic_core import to_jsonable_python

    try:
        return str(to_jsonable_python(value))
    except (ValueError, TypeError):
        # That of pandas which stands for none.
        return str(value)


def _scalar(value: Any) -> Any:
    if value.dtype.kind in "mM":
        return str(value)
    plain = value.item()
    # One with more digits than Python's stays what it is.
    return plain if type(plain) is not type(value) else float(value)


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    names: list[str]
    cells: list[tuple[Any, ...]]
    """The first rows."""
    count: int
    """Of all rows."""


def rows_of(value: Any) -> Rows | None:
    """The beginning of a frame or series of pandas or polars."""
    kinds = class_names(value)
    if ("pandas", "DataFrame") in kinds:
        numbered = type(value.index).__name__ == "RangeIndex"
        columns = [str(column) for column in value.columns]
        head = value.head(MAX_ROWS)
        if numbered:
            return Rows(columns, [tuple(row) for row in head.itertuples(index=False, name=None)], len(value))
        names = _index_names(value)
        cells = [(*_labels(label, names), *row) for label, *row in head.itertuples(index=True, name=None)]
        return Rows([*names, *columns], cells, len(value))
    if ("pandas", "Series") in kinds:
        numbered = type(value.index).__name__ == "RangeIndex"
        pairs = list(value.head(MAX_ROWS).items())
        name = "value" if value.name is None else str(value.name)
        if numbered:
            return Rows([name], [(item,) for _, item in pairs], len(value))
        names = _index_names(value)
        return Rows([*names, name], [(*_labels(label, names), item) for label, item in pairs], len(value))
    if ("polars", "DataFrame") in kinds:
        return Rows(list(value.columns), value.head(MAX_ROWS).rows(), value.height)
    if ("polars", "Series") in kinds:
        return Rows([value.name or "value"], [(item,) for item in value.head(MAX_ROWS).to_list()], len(value))
    return None


def _index_names(value: Any) -> list[str]:
    """Of a frame's index: one, or those of its levels."""
    many = type(value.index).__name__ == "MultiIndex"
    names = list(value.index.names) if many else [value.index.name]
    return ["index" if name is None else str(name) for name in names]


def _labels(label: Any, names: Sequence[str]) -> tuple[Any, ...]:
    return label if len(names) > 1 else (label,)


def shape_text(rows: Rows) -> str:
    return f"{rows.count:,} rows × {len(rows.names)} column{'s' if len(rows.names) != 1 else ''}"


def class_names(value: Any) -> set[tuple[str, str]]:
    """The library and name of each class that a value is of."""
    return {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(value).__mro__}


def _table(value: Any) -> str | None:
    """A table in Markdown; None for what is none."""
    if value is None or isinstance(value, str | int | float | list | dict | tuple):
        return None
    try:
        rows = rows_of(value)
    except Exception:
        return None
    if rows is None:
        return None
    if not rows.names or not rows.cells:
        names = f": {', '.join(rows.names)}" if rows.names else ""
        return f"[an empty table of {shape_text(rows)}{names}]"
    lines = [
        _row(map(_cell, rows.names)),
        _row(["---"] * len(rows.names)),
        *(_row(map(_cell, row)) for row in rows.cells),
    ]
    if rows.count > len(rows.cells):
        lines.append(f"[the first {len(rows.cells)} of {shape_text(rows)}]")
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    text = "" if value is None or ("pandas", "NAType") in class_names(value) else _Writer().text(value)
    return " ".join(text.split()).replace("|", "\\|")

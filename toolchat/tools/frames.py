"""Reads the beginning of a frame or series of pandas or polars as rows with names.

Both are known by the names of their classes; neither library is imported here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

MAX_ROWS = 50
"""Of a table: more of them tell a model no more, and would be cut in the middle of a row."""


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

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
real_functions = importlib.import_module("real_functions")


def test_each_contender_has_an_object_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        real_functions, "contenders", lambda: [(name, lambda method: method) for name in ("one", "two")]
    )
    row = real_functions.class_row('collections:deque {"iterable": [1, 2]} pop {}')
    assert (row.name, row.expected) == ("collections:deque.pop", "2")
    assert [row.makers[name]()() for name in ("one", "two")] == [2, 2]

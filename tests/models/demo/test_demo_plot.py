"""The picture of a training run, which may have been gone on with after kinds of samples were added."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

TRAINING = Path(__file__).parents[3] / "training"


@pytest.fixture(scope="module")
def plot() -> Iterator[Any]:
    sys.path.insert(0, str(TRAINING))
    try:
        import plot

        yield plot
    finally:
        sys.path.remove(str(TRAINING))


def measured(tokens: int, *kinds: str) -> dict[str, Any]:
    return {"tokens": tokens, "held_out": {kind: {"loss": 0.5, "calls": math.nan, "texts": 0.9} for kind in kinds}}


def test_a_kind_that_came_later_is_drawn_from_there_on(plot: Any) -> None:
    kinds = [f"kind{number}" for number in range(len(plot.COLOURS))]
    rows = [measured(0, *kinds), {"tokens": 50, "running": 0.4}, measured(100, *kinds, "late"), measured(200, "late")]
    root = ElementTree.fromstring(plot.svg(rows))
    texts = ["".join(text.itertext()) for text in root.findall(".//{*}text")]
    assert texts.count("kind0") == 2  # of the loss, and of the texts; no call was measured
    assert texts.count("late - -") == 2
    dashed = [line for line in root.findall(".//{*}polyline") if line.get("stroke-dasharray")]
    assert [len(line.get("points", "").split()) for line in dashed] == [2, 2]
    # A kind has its colour in every panel, also where one before it has nothing to show.
    rows[0]["held_out"]["kind0"]["texts"] = rows[2]["held_out"]["kind0"]["texts"] = math.nan
    texts = ElementTree.fromstring(plot.svg(rows)).findall(".//{*}text")
    assert [text.get("fill") for text in texts if text.text == "kind1"] == [plot.COLOURS[1]] * 2

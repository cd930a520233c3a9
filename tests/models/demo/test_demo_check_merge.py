from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchat.models.demo import bf16, checkpoint
from toolchat.models.demo.checkpoint import Checkpoint, Tensors

TRAINING = Path(__file__).parents[3] / "training"
NAME = "layers.0.attention.wq"


@pytest.fixture(scope="module")
def check_merge() -> Iterator[Any]:
    sys.path.insert(0, str(TRAINING))
    try:
        import check_merge

        yield check_merge
    finally:
        sys.path.remove(str(TRAINING))


def bits(*rows: list[float]) -> np.ndarray:
    made: np.ndarray = bf16.from_float64(np.array(rows))
    return made


def adapter(b: list[float], a: list[float]) -> Tensors:
    return {f"{NAME}.B": bits(b), f"{NAME}.A": bits(*([x] for x in a)), "tok_embeddings.special_rows": bits([0.0])}


BASE = {f"{NAME}.weight": bits([1.0])}
MIDDLE = 2.0**-8
"""Half of the last place of a bfloat16 that is 1: 1 plus it lies in the middle between two."""


@pytest.mark.parametrize(
    ("b", "a", "near", "unsafe"),
    [
        ([0.5], [0.25], 0, 0),
        ([MIDDLE], [1.0], 1, 0),
        ([MIDDLE, 0.5], [1.0, 0.0], 1, 0),
        ([MIDDLE, 2.0**-55], [1.0, 1.0], 1, 1),
        ([MIDDLE, 2.0**-40], [1.0, 1.0], 0, 0),
        ([1.0, 1.0, 2.0**-60], [1.0, -1.0, 1.0], 0, 0),
    ],
)
def test_a_weight_is_found_where_an_order_of_additions_could_change_it(
    check_merge: Any, b: list[float], a: list[float], near: int, unsafe: int
) -> None:
    assert check_merge.check(BASE, adapter(b, a)) == (1, near, {NAME: [(0, 0)]} if unsafe else {})


def test_a_sum_that_cancels_is_not_taken_for_exact(check_merge: Any) -> None:
    base = {f"{NAME}.weight": bits([-1.0])}
    assert check_merge.check(base, adapter([1.0, 2.0**-60], [1.0, 1.0])) == (1, 1, {NAME: [(0, 0)]})


def test_a_mended_adapter_has_no_such_weight(
    check_merge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.write(Checkpoint(b"{}", b"{}", BASE), tmp_path / "base")
    checkpoint.write_tensors(tmp_path / "adapter", adapter([MIDDLE, 2.0**-55], [1.0, 1.0]))
    arguments = ["check_merge.py", str(tmp_path / "base"), str(tmp_path / "adapter")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        check_merge.main()
    assert "1 that an order could change" in capsys.readouterr().out
    mended = tmp_path / "mended"
    monkeypatch.setattr(sys, "argv", [*arguments, "--mend", str(mended)])
    check_merge.main()
    tensors = checkpoint.read_tensors(mended)
    assert check_merge.check(BASE, tensors) == (1, 0, {})
    assert np.array_equal(tensors[f"{NAME}.A"], bits([1.0], [1.0]))

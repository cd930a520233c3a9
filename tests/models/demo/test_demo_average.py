"""Averaging adapters: what they add to the weights is averaged, not their matrices."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

TRAINING = Path(__file__).parents[3] / "training"


@pytest.fixture(scope="module")
def average() -> Iterator[Any]:
    sys.path.insert(0, str(TRAINING))
    try:
        import average

        yield average.average
    finally:
        sys.path.remove(str(TRAINING))


def adapter(seed: int, rank: int) -> dict[str, Any]:
    made = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Any:
        return torch.randn(*shape, generator=made).bfloat16()

    return {"x.A": drawn(rank, 9), "x.B": drawn(7, rank), "special_rows": drawn(3, 9)}


def added(tensors: dict[str, Any]) -> Any:
    return tensors["x.B"].float() @ tensors["x.A"].float()


def test_what_adapters_of_different_ranks_add_is_averaged(average: Any) -> None:
    one, other = adapter(1, 2), adapter(2, 3)
    result, left = average([(one, 0.25), (other, 0.75)], 5)
    assert result["x.A"].shape == (5, 9)
    assert left == pytest.approx(0, abs=1e-9)
    wanted = 0.25 * added(one) + 0.75 * added(other)
    assert torch.allclose(added(result), wanted, rtol=0.02, atol=0.05)
    rows = 0.25 * one["special_rows"].float() + 0.75 * other["special_rows"].float()
    assert torch.allclose(result["special_rows"].float(), rows, rtol=0.01, atol=0.01)


def test_a_lower_rank_keeps_the_largest_part_and_says_what_is_left_out(average: Any) -> None:
    one, other = adapter(3, 3), adapter(4, 3)
    result, left = average([(one, 0.5), (other, 0.5)], 4)
    wanted = 0.5 * added(one) + 0.5 * added(other)
    assert result["x.B"].shape == (7, 4)
    missing = (added(result) - wanted).square().sum() / wanted.square().sum()
    assert 0 < left < 0.5
    assert float(missing) == pytest.approx(left, rel=0.05, abs=1e-3)

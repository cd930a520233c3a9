from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from toolchat.models.demo import bf16, checkpoint, merge
from toolchat.models.demo.checkpoint import Tensors
from toolchat.wire.errors import EngineError


def random_bits(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> np.ndarray:
    bits: np.ndarray = bf16.from_float64(np.random.default_rng(seed).normal(scale=scale, size=shape))
    return bits


@pytest.fixture
def base() -> Tensors:
    return {
        "tok_embeddings.weight": random_bits((10, 4), 1),
        "layers.0.attention.wq.weight": random_bits((6, 4), 2),
        "layers.0.ffn_norm.weight": random_bits((4,), 3),
    }


@pytest.fixture
def adapter() -> Tensors:
    return {
        "tok_embeddings.special_rows": random_bits((3, 4), 4, 0.1),
        "layers.0.attention.wq.A": random_bits((2, 4), 5, 0.5),
        "layers.0.attention.wq.B": random_bits((6, 2), 6, 0.1),
    }


def exact(bits: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(x)) for x in row] for row in bf16.to_float64(bits)]


def test_each_weight_is_the_exact_sum_rounded(base: Tensors, adapter: Tensors) -> None:
    name = "layers.0.attention.wq"
    w, a, b = exact(base[f"{name}.weight"]), exact(adapter[f"{name}.A"]), exact(adapter[f"{name}.B"])
    merge.merge(base, adapter)
    merged = exact(base[f"{name}.weight"])
    for i in range(6):
        for j in range(4):
            wanted = w[i][j] + sum(b[i][r] * a[r][j] for r in range(2))
            # Half of the last place of a bfloat16 is 2**-8 of it, or less.
            assert abs(merged[i][j] - wanted) <= abs(wanted) / 256
    assert any(merged[i][j] != w[i][j] for i in range(6) for j in range(4))


def test_special_rows_are_added_to_the_first_rows_alone(base: Tensors, adapter: Tensors) -> None:
    before = base["tok_embeddings.weight"].copy()
    wanted = bf16.to_float64(before[:3]) + bf16.to_float64(adapter["tok_embeddings.special_rows"])
    merge.merge(base, adapter)
    after = base["tok_embeddings.weight"]
    assert np.array_equal(after[:3], bf16.from_float64(wanted))
    assert np.array_equal(after[3:], before[3:])


def test_what_the_adapter_does_not_name_stays(base: Tensors, adapter: Tensors) -> None:
    before = base["layers.0.ffn_norm.weight"].copy()
    merge.merge(base, adapter)
    assert np.array_equal(base["layers.0.ffn_norm.weight"], before)


def test_an_adapter_for_another_model_is_refused(base: Tensors, adapter: Tensors) -> None:
    adapter["layers.7.attention.wq.A"] = adapter["layers.0.attention.wq.A"]
    adapter["layers.7.attention.wq.B"] = adapter["layers.0.attention.wq.B"]
    with pytest.raises(EngineError, match=r"does not fit.*layers\.7"):
        merge.merge(base, adapter)


def test_half_an_adapter_is_refused(base: Tensors, adapter: Tensors) -> None:
    del adapter["layers.0.attention.wq.B"]
    with pytest.raises(EngineError, match=r"layers\.0\.attention\.wq\.B"):
        merge.merge(base, adapter)


def test_the_safetensors_library_reads_what_we_write(base: Tensors, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    checkpoint.write_tensors(path, base)
    found = dict(safetensors.deserialize(path.read_bytes()))
    assert found.keys() == base.keys()
    for name, bits in base.items():
        assert found[name]["dtype"] == "BF16"
        assert found[name]["shape"] == list(bits.shape)
        assert bytes(found[name]["data"]) == bits.tobytes()


def test_tensors_come_back_as_written(base: Tensors, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.write_tensors(path, base)
    found = checkpoint.read_tensors(path)
    assert found.keys() == base.keys()
    assert all(np.array_equal(found[name], bits) for name, bits in base.items())


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_cut_tensor_file_is_one_line_that_names_it(base: Tensors, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.write_tensors(path, base)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(EngineError, match=r"x\.safetensors") as caught:
        checkpoint.read_tensors(path)
    assert "\n" not in str(caught.value)

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolchat.models.demo import bf16

magnitudes = st.floats(min_value=2.0**-120, max_value=2.0**120)
numbers = magnitudes | magnitudes.map(lambda x: -x)


def nearest(value: Fraction) -> int:
    """The bits of the bfloat16 nearest to a normal `value`, ties to even, by exact arithmetic."""
    size = abs(value)
    exponent = 0
    while size >= 2:
        size, exponent = size / 2, exponent + 1
    while size < 1:
        size, exponent = size * 2, exponent - 1
    scaled = size * 128
    mantissa = round(scaled)  # Python rounds a Fraction's half to even
    return (value < 0) << 15 | ((exponent + 127) << 7) + (mantissa - 128)


@given(numbers)
def test_float64_is_rounded_once_to_the_nearest(value: float) -> None:
    assert int(bf16.from_float64(np.array([value]))[0]) == nearest(Fraction(value))


@given(st.floats(width=32, min_value=2.0**-120, max_value=2.0**120))
def test_float32_is_rounded_to_the_nearest(value: float) -> None:
    assert int(bf16.from_float32(np.array([value], dtype=np.float32))[0]) == nearest(Fraction(value))


def test_a_value_just_above_a_tie_is_not_rounded_twice() -> None:
    just_above = 1 + 2.0**-8 + 2.0**-40  # float32 would make a tie of it, and that tie goes to 1.0
    assert bf16.to_float64(bf16.from_float64(np.array([just_above])))[0] == 1 + 2.0**-7


def test_every_finite_bfloat16_survives_the_way_there_and_back() -> None:
    bits: np.ndarray = np.arange(1 << 16, dtype=np.uint16)
    finite = bits[np.isfinite(bf16.to_float32(bits))]
    assert np.array_equal(bf16.from_float32(bf16.to_float32(finite)), finite)
    assert np.array_equal(bf16.from_float64(bf16.to_float64(finite)), finite)

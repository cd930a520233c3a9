"""bfloat16 in numpy, which has no such type: its 16 bits are held as uint16. Never rounds twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A float64 carries 52 bits of fraction and a bfloat16 carries 7.
_DROPPED = 45


def from_float32(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Finite `values` rounded once, to nearest, ties to even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    even = (bits >> 16) & 1
    even += 0x7FFF
    even += bits
    even >>= 16
    return even.astype(np.uint16)


def from_float64(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Finite `values` rounded once, to nearest, ties to even.

    Going through float32's own rounding would round twice, so the fraction is cut to 7 bits first; what
    is left converts exactly (for magnitudes from 2**-126, bfloat16's normal numbers, up).
    """
    bits = np.ascontiguousarray(values, dtype=np.float64).view(np.uint64)
    cut = (bits >> _DROPPED) & 1
    cut += (1 << (_DROPPED - 1)) - 1
    cut += bits
    cut >>= _DROPPED
    cut <<= _DROPPED
    return from_float32(cut.view(np.float64).astype(np.float32))


def to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The same numbers, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_float64(bits: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The same numbers, exactly."""
    return to_float32(bits).astype(np.float64)

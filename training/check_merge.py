"""Checks that merging an adapter gives the same bits on every machine: `check_merge.py BASE ADAPTER [--mend OUT]`.

A BLAS adds the products of a row and a column in an order of its own, so a weight could be rounded to either of two neighbours
where its sum lies within the rounding error of float64 of the middle between them. Each weight that lies so near is added up
exactly: where every partial sum fits a float64, the order changes nothing. The rest is printed, with exit status 1; --mend
writes an adapter in which a value of each of them is its neighbour in bfloat16.
"""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchat.models.demo import bf16, checkpoint
from toolchat.models.demo.checkpoint import Tensors

DROPPED = 45
"""Bits of a float64's fraction that a bfloat16 lacks."""

ENOUGH = 2.0**-40
"""By which part of its terms a sum must change to leave a middle: far above the rounding error of 33 additions."""

ROUNDS = 10
"""How often --mend tries: a value that is changed moves a whole row of weights."""


def undecided(
    base: NDArray[np.uint16], b: NDArray[np.uint16], a: NDArray[np.uint16]
) -> tuple[int, list[tuple[int, int]]]:
    """How many weights of `base` + `b`·`a` lie near a middle, and those of them that an order of additions could change."""
    weight, up, down = (bf16.to_float64(bits) for bits in (base, b, a))
    total = up @ down + weight
    # Of n additions each errs by at most half a unit in the last place of a partial sum, so two orders by twice n times that.
    additions = up.shape[1] + 1
    error = 2 * additions * 2.0**-53 * 1.001 * (np.abs(up) @ np.abs(down) + np.abs(weight))
    ulp = np.spacing(np.abs(total))
    dropped = np.ascontiguousarray(total).view(np.uint64) & np.uint64((1 << DROPPED) - 1)
    distance = np.abs(dropped.astype(np.int64) - (1 << (DROPPED - 1))).astype(np.float64) * ulp
    # A total near zero may have any bits: it is as near a middle as its error is large beside it.
    near = np.argwhere((distance <= error + ulp) | (np.abs(total) <= 512 * error))
    unsafe = [(int(i), int(j)) for i, j in near if not is_exact(weight[i, j], up[i], down[:, j])]
    return len(near), unsafe


def is_exact(weight: float, up: NDArray[np.float64], down: NDArray[np.float64]) -> bool:
    """Whether float64 adds `weight` and the products exactly in any order."""
    terms = [Fraction(weight), *(Fraction(x) * Fraction(y) for x, y in zip(up, down, strict=True))]
    terms = [term for term in terms if term]
    if not terms:
        return True
    # All terms, and so all partial sums, are multiples of the unit; 53 bits of it hold them.
    unit = 1 / Fraction(math.lcm(*(term.denominator for term in terms)))
    return sum(map(abs, terms)) / unit <= 2**53


def check(base: Tensors, adapter: Tensors) -> tuple[int, int, dict[str, list[tuple[int, int]]]]:
    """How many weights there are, how many lie near a middle, and which an order of additions could change, by name.

    The embedding's rows have one addition each, so nothing to order.
    """
    weights = near = 0
    unsafe: dict[str, list[tuple[int, int]]] = {}
    for name in sorted(key.removesuffix(".A") for key in adapter if key.endswith(".A")):
        weight = base[f"{name}.weight"]
        count, places = undecided(weight, adapter[f"{name}.B"], adapter[f"{name}.A"])
        weights, near = weights + weight.size, near + count
        if places:
            unsafe[name] = places
    return weights, near, unsafe


def nudge(base: Tensors, adapter: Tensors, name: str, row: int, column: int) -> None:
    """Make one value of B the next bfloat16 away from zero: the one that changes the weight least, but enough."""
    b = adapter[f"{name}.B"] = adapter[f"{name}.B"].copy()
    up, down = bf16.to_float64(b[row]), bf16.to_float64(adapter[f"{name}.A"][:, column])
    steps = np.abs((bf16.to_float64(b[row] + 1) - up) * down)
    size = np.abs(up) @ np.abs(down) + abs(bf16.to_float64(base[f"{name}.weight"][row, column : column + 1])[0])
    enough = np.where(steps > ENOUGH * size, steps, math.inf)
    b[row, int(np.argmin(enough) if np.isfinite(enough).any() else np.argmax(steps))] += 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="check_merge.py", description="Check that a merge has one result everywhere.")
    parser.add_argument("base", type=Path, help="a folder written by toolchat.models.demo.convert")
    parser.add_argument("adapter", type=Path, help="adapter.safetensors")
    parser.add_argument("--mend", type=Path, metavar="OUT", help="write an adapter without such weights")
    arguments = parser.parse_args()
    base, adapter = checkpoint.read(arguments.base).tensors, checkpoint.read_tensors(arguments.adapter)
    weights, near, unsafe = check(base, adapter)
    print(f"{weights} weights, {near} near a middle, {sum(map(len, unsafe.values()))} that an order could change")
    if not unsafe:
        return
    for name, places in unsafe.items():
        print(name, *places)
    if arguments.mend is None:
        raise SystemExit(1)
    for _ in range(ROUNDS):
        for name, places in unsafe.items():
            for row, column in places:
                nudge(base, adapter, name, row, column)
        if not (unsafe := check(base, {key: adapter[key] for key in adapter if key.rpartition(".")[0] in unsafe})[2]):
            checkpoint.write_tensors(arguments.mend, adapter)
            print(f"{arguments.mend} has none")
            return
    raise SystemExit(f"after {ROUNDS} changes there are still such weights")


if __name__ == "__main__":
    main()

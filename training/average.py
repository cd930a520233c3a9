"""Averages adapters: `average.py OUT ADAPTER=WEIGHT ADAPTER=WEIGHT … [--rank N]` writes OUT.

What is averaged is what they add to the weights, B·A. That has the sum of their ranks; of it the N largest singular values of each
projection are kept. Runs that went on from the same adapter can be averaged so: the result is often better than each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from lora import RANK
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]


def average(adapters: Sequence[tuple[Tensors, float]], rank: int) -> tuple[Tensors, float]:
    """The weighted sum of `adapters` at `rank`, in bfloat16, and the part of its squared norm that was left out."""
    result: Tensors = {}
    whole = left = 0.0
    for name in adapters[0][0]:
        if name.endswith(".B"):
            continue
        if not name.endswith(".A"):
            result[name] = sum((weight * tensors[name].float() for tensors, weight in adapters), torch.tensor(0.0))
            continue
        other = f"{name[:-1]}B"
        up = torch.cat([weight * tensors[other].float() for tensors, weight in adapters], 1)
        down = torch.cat([tensors[name].float() for tensors, _ in adapters])
        # Of B·A = (Q·R)·(P·S)ᵀ only the small R·Sᵀ has to be decomposed.
        rows, rows_factor = torch.linalg.qr(up)
        columns, columns_factor = torch.linalg.qr(down.T)
        left_vectors, values, right_vectors = torch.linalg.svd(rows_factor @ columns_factor.T)
        kept = min(rank, len(values))
        result[name] = (columns @ right_vectors.T[:, :kept]).T
        result[other] = rows @ left_vectors[:, :kept] * values[:kept]
        whole += float(values.square().sum())
        left += float(values[kept:].square().sum())
    return {name: tensor.bfloat16().contiguous() for name, tensor in result.items()}, left / whole if whole else 0.0


def _part(text: str) -> tuple[Path, float]:
    path, _, weight = text.rpartition("=")
    try:
        return Path(path), float(weight)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected ADAPTER=WEIGHT, such as c.safetensors=0.5, not {text!r}") from None


def main() -> None:
    parser = argparse.ArgumentParser(prog="training/average.py", description="Average adapters of the demo model.")
    parser.add_argument("out", type=Path, help="the adapter.safetensors to write")
    parser.add_argument("parts", type=_part, nargs="+", metavar="ADAPTER=WEIGHT", help="an adapter, and its share")
    parser.add_argument("--rank", type=int, default=RANK, help=f"of the result; {RANK} where it is not said")
    arguments = parser.parse_args()
    for path, _ in arguments.parts:
        if not path.is_file():
            raise SystemExit(f"{path}: there is no such adapter")
    result, left = average([(load_file(path), weight) for path, weight in arguments.parts], arguments.rank)
    save_file(result, arguments.out)
    print(f"{arguments.out}: {left:.2%} of the squared norm was left out")


if __name__ == "__main__":
    main()

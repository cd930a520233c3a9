"""W + B·A: a base checkpoint and a LoRA adapter to one checkpoint, the same bits on every machine.

`python -m toolchat.models.demo.merge BASE ADAPTER OUT` merges a newly trained adapter.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from toolchat.models.demo import bf16, checkpoint
from toolchat.models.demo.checkpoint import Tensors
from toolchat.wire.errors import EngineError

_EMBEDDING = "tok_embeddings.weight"
_SPECIAL_ROWS = "tok_embeddings.special_rows"


def merge(tensors: Tensors, adapter: Tensors, progress: Callable[[float], None] | None = None) -> None:
    """Add `adapter` to `tensors`, in place; `progress` gets the fraction done.

    For each name, `name.weight` becomes itself plus `name.B` · `name.A`; the special rows are added to
    the embedding's first. Products of bfloat16 numbers are exact in float64, and so is a sum of 32 of them
    wherever it comes near the middle between two bfloat16s (training/check_merge.py has checked it for every
    weight of the shipped adapter): the order in which a BLAS adds changes no bit of the result. Each weight
    is rounded once. Raises EngineError where the two do not fit each other.
    """
    names = sorted(key.removesuffix(".A") for key in adapter if key.endswith(".A"))
    expected = {_SPECIAL_ROWS} | {f"{name}.{side}" for name in names for side in "AB"}
    if expected != adapter.keys():
        raise EngineError(f"the adapter lacks or adds {', '.join(sorted(expected ^ adapter.keys())[:3])}")
    try:
        rows = adapter[_SPECIAL_ROWS]
        embedding = tensors[_EMBEDDING].copy()
        total = bf16.to_float64(embedding[: len(rows)]) + bf16.to_float64(rows)
        embedding[: len(rows)] = bf16.from_float64(total)
        tensors[_EMBEDDING] = embedding
        for done, name in enumerate(names, 1):
            delta = bf16.to_float64(adapter[f"{name}.B"]) @ bf16.to_float64(adapter[f"{name}.A"])
            delta += bf16.to_float64(tensors[f"{name}.weight"])
            tensors[f"{name}.weight"] = bf16.from_float64(delta)
            if progress:
                progress(done / len(names))
    except (KeyError, ValueError) as error:
        raise EngineError(f"the adapter does not fit the base model ({error})") from error


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m toolchat.models.demo.merge", description="Add a LoRA adapter to a base checkpoint."
    )
    parser.add_argument("base", type=Path, help="a folder written by toolchat.models.demo.convert")
    parser.add_argument("adapter", type=Path, help="adapter.safetensors, from training/train.py")
    parser.add_argument("out", type=Path, help="the folder to write")
    arguments = parser.parse_args()
    model = checkpoint.read(arguments.base)
    merge(model.tensors, checkpoint.read_tensors(arguments.adapter))
    checkpoint.write(model, arguments.out)


if __name__ == "__main__":
    main()

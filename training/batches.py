"""Prints batches of training samples without end, a JSON line each, for train.py: drawing and encoding take place here.

`python training/batches.py TEKKEN FILES… --seed N`; with `--count N`, N batches and an empty one that
says that these were all; with `--held-out N`, N samples of each kind that training never sees.
Must not import torch: it runs beside the training, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from samples import Sample, Samples

BATCH_TOKENS = 2048
MAX_TOKENS = 1000
"""Longer samples are left out."""


def drawn(samples: Samples, kind: str | None = None) -> Sample:
    """The next sample that is legal and short enough."""
    while True:
        try:
            sample = samples.draw(kind)
        except Exception as error:  # a scenario that Mistral's validators refuse is skipped, and said
            print("skip", type(error).__name__, str(error)[:200], file=sys.stderr, flush=True)
            continue
        if len(sample.tokens) <= MAX_TOKENS:
            return sample


def batches(samples: Samples, size: int) -> Iterator[list[Sample]]:
    """Batches of at least `size` tokens."""
    while True:
        batch: list[Sample] = []
        while sum(len(sample.tokens) for sample in batch) < size:
            batch.append(drawn(samples))
        yield batch


def _row(batch: list[Sample]) -> str:
    return json.dumps([[sample.kind, sample.tokens, sample.learned] for sample in batch])


def main() -> None:
    parser = argparse.ArgumentParser(prog="training/batches.py", description="Print batches of training samples.")
    parser.add_argument("tekken", type=Path, help="the tokenizer, tekken.json")
    parser.add_argument("files", nargs="+", help="names of files of data/, without .jsonl")
    parser.add_argument("--seed", required=True, help="of what is drawn")
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS, metavar="N", help="at least so many a batch")
    parser.add_argument("--count", type=int, metavar="N", help="print N batches, and an empty one behind them")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="print N samples of each kind that are held out"
    )
    arguments = parser.parse_args()
    held_out = arguments.held_out > 0
    samples = Samples(arguments.tekken, arguments.files, random.Random(arguments.seed), held_out=held_out)
    if held_out:
        for kind in samples.kinds:
            print(_row([drawn(samples, kind) for _ in range(arguments.held_out)]))
        return
    try:
        for batch in islice(batches(samples, arguments.batch_tokens), arguments.count):
            print(_row(batch), flush=True)
        if arguments.count is not None:
            print(_row([]))
    except BrokenPipeError:  # the training has ended
        sys.stderr.close()


if __name__ == "__main__":
    main()

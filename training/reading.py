"""Where train.py's batches come from: processes of batches.py, read ahead, or files that it wrote. Must not import torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
READ_AHEAD = 4
"""Batches of each worker that wait in memory."""


class Sample(NamedTuple):
    kind: str
    tokens: list[int]
    learned: list[int]


def batches(tekken: Path, files: Sequence[str], *options: str) -> Iterator[list[Sample]]:
    """What batches.py prints; it is ended when the caller has read enough."""
    command = [
        sys.executable,
        str(HERE / "batches.py"),
        str(tekken),
        *files,
        *options,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield _batch(line)
        finally:
            process.kill()


def _batch(line: str) -> list[Sample]:
    return [Sample(*row) for row in json.loads(line)]


def in_turn(streams: Sequence[Iterator[list[Sample]]]) -> Iterator[list[Sample]]:
    """A batch of each stream in turn, read ahead by a thread each; ends with the first that ends."""
    ended = threading.Event()

    def read(stream: Iterator[list[Sample]], waiting: queue.Queue[list[Sample] | None]) -> None:
        try:
            for batch in stream:
                waiting.put(batch)
                if ended.is_set():
                    break
        finally:
            if isinstance(stream, Generator):
                stream.close()  # ends its process
            waiting.put(None)

    queues: list[queue.Queue[list[Sample] | None]] = [queue.Queue(READ_AHEAD) for _ in streams]
    for stream, waiting in zip(streams, queues, strict=True):
        threading.Thread(target=read, args=(stream, waiting), daemon=True).start()
    try:
        for waiting in itertools.cycle(queues):
            batch = waiting.get()
            if batch is None:
                return
            yield batch
    finally:
        ended.set()
        for waiting in queues:  # whoever waits for room goes on, and ends its process
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()


def drawn(files: Sequence[Path], wait: float = 0.05) -> Iterator[list[Sample]]:
    """A line of each file in turn, over and over; a file that batches.py --count is still writing is waited for.

    It has ended where a line is the empty list.
    """
    while True:
        opened = [path.open(encoding="utf-8") for path in files]
        found = False
        try:
            while opened:
                for file in tuple(opened):
                    line = file.readline()
                    while not line.endswith("\n"):
                        time.sleep(wait)
                        line += file.readline()
                    batch = _batch(line)
                    if batch:
                        found = True
                        yield batch
                    else:
                        file.close()
                        opened.remove(file)
        finally:
            for file in opened:
                file.close()
        if not found:
            raise SystemExit(f"--drawn: {', '.join(map(str, files))}: there is no batch in them")


def micro_batches(batch: list[Sample], most: int) -> Iterator[list[Sample]]:
    """Parts of `batch` of about `most` tokens, of like lengths."""
    micro: list[Sample] = []
    for sample in sorted(batch, key=lambda sample: len(sample.tokens)):
        if micro and sum(len(one.tokens) for one in micro) + len(sample.tokens) > most:
            yield micro
            micro = []
        micro.append(sample)
    yield micro

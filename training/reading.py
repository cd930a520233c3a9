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
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

HERE = Path(__file__).parent
READ_AHEAD = 4
"""Batches of each worker that wait in memory."""
LOOK_SECONDS = 0.1
"""How often who waits for a batch looks whether to stop: a signal alone does not end the wait."""

_Item = TypeVar("_Item")


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


def in_turn(
    streams: Sequence[Iterator[list[Sample]]], stop: Callable[[], bool] = lambda: False
) -> Iterator[list[Sample]]:
    """A batch of each stream in turn, read ahead by a thread each; ends with the first that ends, and when `stop` says so.

    What a stream raises is raised here. An empty batch says that there is none yet, and is left out.
    """
    ended = threading.Event()

    def read(stream: Iterator[list[Sample]], waiting: queue.Queue[list[Sample] | BaseException | None]) -> None:
        last: BaseException | None = None
        try:
            try:
                for batch in stream:
                    if batch:
                        waiting.put(batch)
                    if ended.is_set():
                        break
            finally:
                if isinstance(stream, Generator):
                    stream.close()  # ends its process
        except BaseException as error:  # a thread's own would only be printed
            last = error
        waiting.put(last)

    queues: list[queue.Queue[list[Sample] | BaseException | None]] = [queue.Queue(READ_AHEAD) for _ in streams]
    for stream, waiting in zip(streams, queues, strict=True):
        threading.Thread(target=read, args=(stream, waiting), daemon=True).start()
    try:
        for waiting in itertools.cycle(queues):
            batch = _taken(waiting, stop)
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        ended.set()
        for waiting in queues:  # whoever waits for room goes on, and ends its process
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()


def _taken(waiting: queue.Queue[_Item], stop: Callable[[], bool]) -> _Item | None:
    """The next of a queue, waited for until `stop` says that nothing more is wanted: then None."""
    while not stop():
        with contextlib.suppress(queue.Empty):
            return waiting.get(timeout=LOOK_SECONDS)
    return None


def drawn(files: Sequence[Path], skip: int = 0, wait: float = 0.05) -> Iterator[list[Sample]]:
    """A line of each file in turn, over and over, without the first `skip`. It has ended where a line is the empty list.

    Where batches.py --count is still writing a line, an empty batch is given every `wait` seconds.
    """
    while True:
        opened = [path.open(encoding="utf-8") for path in files]
        found = False
        try:
            while opened:
                for file in tuple(opened):
                    line = file.readline()
                    while not line.endswith("\n"):
                        yield []
                        time.sleep(wait)
                        line += file.readline()
                    if line.strip() == "[]":
                        file.close()
                        opened.remove(file)
                        continue
                    found = True
                    if skip:
                        skip -= 1
                    else:
                        yield _drawn_batch(line, file.name)
        finally:
            for file in opened:
                file.close()
        if not found:
            raise SystemExit(f"--drawn: {', '.join(map(str, files))}: there is no batch in them")


def _drawn_batch(line: str, name: str) -> list[Sample]:
    batch: list[Sample] = []
    with contextlib.suppress(ValueError, TypeError):
        batch = _batch(line)
    if not batch:
        what = f"--drawn: {name}: a line is {line[:40]!r}; expected a batch"
        raise SystemExit(f"{what}; write the file anew with batches.py --count")
    return batch


def micro_batches(batch: list[Sample], most: int) -> Iterator[list[Sample]]:
    """Parts of `batch` of about `most` tokens, of like lengths."""
    micro: list[Sample] = []
    for sample in sorted(batch, key=lambda sample: len(sample.tokens)):
        if micro and sum(len(one.tokens) for one in micro) + len(sample.tokens) > most:
            yield micro
            micro = []
        micro.append(sample)
    yield micro

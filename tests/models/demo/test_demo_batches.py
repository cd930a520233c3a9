"""How train.py gets its batches: in turn, and from files that are still being written."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TRAINING = Path(__file__).parents[3] / "training"


@pytest.fixture(scope="module")
def reading() -> Iterator[Any]:
    sys.path.insert(0, str(TRAINING))
    try:
        import reading

        yield reading
    finally:
        sys.path.remove(str(TRAINING))


def line(*tokens: int) -> str:
    return json.dumps([["x", [token], [1]] for token in tokens]) + "\n"


def test_streams_are_read_in_turn_and_closed_with_the_reader(reading: Any) -> None:
    closed = {0: threading.Event(), 1: threading.Event()}

    def numbered(first: int) -> Iterator[Any]:
        try:
            for number in itertools.count(first, 2):
                yield [number]
        finally:
            closed[first].set()

    stream = reading.in_turn([numbered(0), numbered(1)])
    assert [next(stream)[0] for _ in range(7)] == [0, 1, 2, 3, 4, 5, 6]
    stream.close()
    assert all(event.wait(10) for event in closed.values())


def test_the_reading_ends_with_a_stream_that_ends(reading: Any) -> None:
    assert list(reading.in_turn([iter([[1]]), itertools.repeat([2])])) == [[1], [2]]


def test_drawn_files_are_read_while_they_are_written_and_then_again(reading: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(line(1) + line(3)[:9])
    two.write_text(line(2) + line())
    stream = reading.drawn([one, two], wait=0.001)
    assert [next(stream)[0].tokens for _ in range(2)] == [[1], [2]]
    with one.open("a") as file:
        file.write(line(3)[9:] + line())
    assert [next(stream)[0].tokens for _ in range(4)] == [[3], [1], [2], [3]]


def test_files_without_a_batch_are_said(reading: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(line())
    with pytest.raises(SystemExit, match="there is no batch in them"):
        next(reading.drawn([tmp_path / "empty"]))


def test_parts_of_a_batch_hold_samples_of_like_lengths(reading: Any) -> None:
    batch = [reading.Sample("x", [0] * n, [1] * n) for n in (5, 1, 9, 2)]
    assert [[len(sample.tokens) for sample in part] for part in reading.micro_batches(batch, 8)] == [[1, 2, 5], [9]]

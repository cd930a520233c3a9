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


def test_who_waits_for_a_batch_is_ended_by_the_word_to_stop(reading: Any, tmp_path: Path) -> None:
    (tmp_path / "drawn").write_text(line(1) + line(2)[:9])  # whoever wrote it is gone
    looks = 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3

    before = threading.active_count()
    assert [batch[0].tokens for batch in reading.in_turn([reading.drawn([tmp_path / "drawn"], wait=0.001)], stop)] == [
        [1]
    ]
    assert looks == 4
    for thread in threading.enumerate()[before:]:
        thread.join(10)
        assert not thread.is_alive()


def test_what_a_stream_raises_is_raised_where_its_batches_are_read(reading: Any, tmp_path: Path) -> None:
    closed = threading.Event()

    def other() -> Iterator[Any]:
        try:
            yield from itertools.repeat([2])
        finally:
            closed.set()

    (tmp_path / "empty").write_text(line())
    stream = reading.in_turn([other(), reading.drawn([tmp_path / "empty"])])
    assert next(stream) == [2]
    with pytest.raises(SystemExit, match=r"--drawn: .*empty: there is no batch in them"):
        next(stream)
    assert closed.wait(10)


def test_drawn_files_are_read_while_they_are_written_and_then_again(reading: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(line(1) + line(3)[:9])
    two.write_text(line(2) + line())
    stream = reading.drawn([one, two], wait=0.001)
    assert [next(stream)[0].tokens for _ in range(2)] == [[1], [2]]
    assert next(stream) == []  # there is none yet
    with one.open("a") as file:
        file.write(line(3)[9:] + line())
    assert [next(stream)[0].tokens for _ in range(4)] == [[3], [1], [2], [3]]


def test_drawn_batches_that_were_learned_before_are_skipped(reading: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text(line(1) + line(3) + line())
    two.write_text(line(2) + line())
    for step in range(8):
        whole, rest = reading.drawn([one, two]), reading.drawn([one, two], skip=step)
        assert list(itertools.islice(rest, 4)) == list(itertools.islice(whole, step + 4))[step:]


@pytest.mark.parametrize("text", ["{}\n", "[[1]]\n", "nonsense\n"])
def test_a_line_that_is_no_batch_is_said_with_its_file(reading: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "torn").write_text(line(1) + text)
    stream = reading.drawn([tmp_path / "torn"])
    next(stream)
    with pytest.raises(SystemExit, match=r"--drawn: .*torn: a line is .*; expected a batch; write the file anew"):
        next(stream)


def test_files_without_a_batch_are_said(reading: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(line())
    with pytest.raises(SystemExit, match="there is no batch in them"):
        next(reading.drawn([tmp_path / "empty"]))


def test_parts_of_a_batch_hold_samples_of_like_lengths(reading: Any) -> None:
    batch = [reading.Sample("x", [0] * n, [1] * n) for n in (5, 1, 9, 2)]
    assert [[len(sample.tokens) for sample in part] for part in reading.micro_batches(batch, 8)] == [[1, 2, 5], [9]]

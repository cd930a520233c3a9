from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import Asking, Done
from forked_program import ProgramServer

from toolchat.cli.batch import Count

pytestmark = pytest.mark.process

KILLS = 3
QUESTIONS = [f"question {number}" for number in range(24)]


def test_rate_and_time_left_are_reckoned_from_what_this_run_has_answered() -> None:
    now = 100.0
    count = Count(total=64, done=4, clock=lambda: now)
    assert (count.text, count.fraction) == ("4 of 64", 4 / 64)
    now = 150.0  # the engine was loading
    count.begin()
    for _ in range(20):
        count.one_more()
    now = 160.0
    assert count.text == "24 of 64, 2.0 a second, 20 s left"
    now = 250.0
    assert count.text == "24 of 64, 12.0 a minute, 3 min left"
    count.begin()  # again, after a crash
    assert count.text == "24 of 64, 12.0 a minute, 3 min left"


class Batch:
    """A file of questions in a home, and runs of it."""

    def __init__(self, server: ProgramServer, model: Path, home: Path) -> None:
        flags = ("--batch", "rows.jsonl", "--no-tools", "--model", str(model))
        self.asking = Asking(server, home, flags)
        self.out = home / "out.jsonl"
        self.part = home / "out.jsonl.part"

    def write(self, *rows: Any) -> None:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (self.asking.home / "rows.jsonl").write_text("\n".join(lines))

    def run(self, *flags: str, answers: list[Any], out: str = "out.jsonl") -> Done:
        return self.asking.run(*flags, "-o", out, answers=answers)

    def start(self, delay: float, err: int | None = None) -> int:
        nowhere = os.open(os.devnull, os.O_RDWR)
        streams = (nowhere, nowhere, nowhere if err is None else err)
        pid = self.asking.start("-o", "out.jsonl", streams=streams, answers=["Yes."], delay=delay)
        os.close(nowhere)
        return pid

    def rows(self, path: Path | None = None) -> list[dict[str, Any]]:
        whole = (path or self.out).read_text()
        return [json.loads(line) for line in whole[: whole.rfind("\n") + 1].splitlines()]

    def asked(self) -> list[str]:
        return self.asking.asked()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.002)


@pytest.fixture
def batch(program_server: ProgramServer, model_folder: Path, home: Path) -> Batch:
    return Batch(program_server, model_folder, home)


def test_a_batch_writes_an_object_a_row_in_their_order_and_tells_how_far_it_is(batch: Batch) -> None:
    batch.write(
        {"id": "first", "question": "17 * 24?"}, "no row", {"question": "2 + 2?", "schema": {"type": "integer"}}
    )
    ran = batch.run(answers=["4"])
    assert (ran.code, ran.out) == (1, "")
    assert "toolchat: 3 rows are answered in out.jsonl, 1 of them with another exit code than 0\n" in ran.err
    assert "answers: 3 of 3, " in ran.err
    first, second, third = batch.rows()
    assert (first["row"], first["id"], first["answer"], first["exit_code"]) == (1, "first", "4", 0)
    assert first["usage"]["completion_tokens"] == 5
    assert (second["row"], second["id"], second["exit_code"]) == (2, None, 2)
    assert second["error"].startswith("line 2: not JSON")
    assert (third["json"], third["exit_code"]) == (4, 0)
    assert not batch.part.exists()


def test_a_batch_whose_rows_are_all_answered_is_a_success_and_asks_nothing_again(batch: Batch) -> None:
    batch.write({"question": "a"}, {"question": "b"})
    assert batch.run("--quiet", answers=["Yes."]) == Done(0, "", "")
    written = batch.out.read_bytes()
    ran = batch.run(answers=[])
    assert ran.code == 0
    assert ran.err.splitlines()[0] == "toolchat: 2 of 2 rows are answered in out.jsonl"
    assert (batch.out.read_bytes(), sorted(batch.asked())) == (written, ["a", "b"])


def test_flags_that_were_others_are_told(batch: Batch) -> None:
    batch.write({"question": "a"})
    batch.run(answers=["Yes."])
    ran = batch.run("--temperature", "0.5", answers=[])
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("toolchat: out.jsonl, line 1: answers another question than row 1 has now, or was asked")


def test_the_questions_are_not_written_over(batch: Batch) -> None:
    batch.write({"question": "a"})
    ran = batch.run(out="rows.jsonl", answers=[])
    assert ran == Done(2, "", "toolchat: -o rows.jsonl: that is the file with the questions; name another one\n")


def test_a_folder_that_is_not_there_is_one_line(batch: Batch) -> None:
    batch.write({"question": "a"})
    ran = batch.run(out="none/out.jsonl", answers=[])
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert ran.err.startswith("toolchat: none/out.jsonl.part: No such file or directory; ")


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_batch_that_was_killed_goes_on_and_asks_nothing_twice_that_was_answered(batch: Batch, seed: int) -> None:
    random_ = random.Random(seed)
    batch.write(*({"question": question} for question in QUESTIONS))
    answered: set[str] = set()
    for _ in range(2):
        before = len(batch.asked())
        ran = batch.start(0.2)  # longer than it takes to see what was asked, also on a busy machine
        wanted = before + random_.randrange(1, 10)
        batch.wait_for(lambda wanted=wanted: len(batch.asked()) >= wanted)  # type: ignore[misc]
        time.sleep(random_.random() * 0.005)
        os.kill(ran, 9)
        assert batch.asking.code(ran) == -9
        # What it had written before is not asked again.
        assert not answered.intersection(batch.asked()[before:])
        answered = {row["question"] for row in batch.rows(batch.part)}
        assert not batch.out.exists()
    before = len(batch.asked())
    assert batch.run("-q", answers=["Yes."]) == Done(0, "", "")
    assert sorted(batch.asked()[before:]) == sorted(set(QUESTIONS) - answered)
    assert [row["question"] for row in batch.rows()] == QUESTIONS


def test_an_interrupted_batch_says_how_to_go_on(batch: Batch) -> None:
    batch.write(*({"question": question} for question in QUESTIONS))
    read, write = os.pipe()
    ran = batch.start(0.02, write)
    os.close(write)
    batch.wait_for(lambda: batch.part.exists() and len(batch.rows(batch.part)) >= 2)
    os.kill(ran, 2)
    with os.fdopen(read) as err:
        assert (batch.asking.code(ran), len(batch.rows(batch.part)) < len(QUESTIONS)) == (130, True)
        *_, last = err.read().splitlines()
    answered = len(batch.rows(batch.part))
    assert last == f"toolchat: {answered} of 24 rows are answered; the same command goes on with the others"

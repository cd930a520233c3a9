"""`ask --batch` and `ask --n`: many answers from one engine, with progress on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchat.chat.approval import ApprovalPolicy
from toolchat.cli.input_text import Note
from toolchat.session.batch import open_asker
from toolchat.session.batch_file import Results, Row, asked_with
from toolchat.session.startup import Plan
from toolchat.session.turn_settings import generate_options
from toolchat.ui.json_output import print_answer, write_json
from toolchat.ui.text.sanitize import sanitize
from toolchat.wire.errors import ExitCode, UsageError
from toolchat.wire.events import EngineState, EventBody, Notice

_FIRST = (ExitCode.ENGINE, ExitCode.LIMIT, ExitCode.TRUNCATED, ExitCode.DECLINED, ExitCode.FAILURE)
"""Exit codes in the order of docs/settings.md: the first that applies is answered."""


def run_batch(
    plan: Plan, rows: Sequence[Row], source: Path, out: Path, policy: ApprovalPolicy, note: Note, *, quiet: bool
) -> int:
    """Ask every row of `source` that `out` has no answer to; the exit code."""
    if out.exists() and out.samefile(source):
        raise UsageError(f"-o {out}: that is the file with the questions; name another one")
    results = Results(out, rows, asked_with(plan))
    try:
        left = [row for row in rows if row.number not in results.answers]
        counted = Count(len(rows), len(rows) - len(left))

        def done(row: Row, answer: dict[str, Any]) -> None:
            results.add(row, answer)
            counted.one_more()

        if len(left) < len(rows):
            note(f"{len(rows) - len(left)} of {len(rows)} rows are answered in {results.part if left else out}")
        try:
            if left:
                _ask(plan, left, policy, counted, done, quiet=quiet)
            results.finish()
        except BaseException:
            if counted.done < len(rows):
                note(f"{counted.done} of {len(rows)} rows are answered; the same command goes on with the others")
            raise
        told = f", {results.failed} of them with another exit code than 0" if results.failed else ""
        note(f"{len(rows)} rows are answered in {out}{told}")
        return ExitCode.FAILURE if results.failed else ExitCode.OK
    finally:
        results.close()


def run_several(plan: Plan, row: Row, number: int, policy: ApprovalPolicy, *, as_json: bool, quiet: bool) -> int:
    """Print `number` answers to one question; the exit code is the first that applies to any of them."""
    if not plan.settings.temperature:
        raise UsageError(f"--n {number}: answers differ only with a temperature; give --temperature, above 0")
    seed = generate_options(plan.settings).seed
    rows = [replace(row, number=one + 1, seed=None if seed is None else seed + one) for one in range(number)]
    answers: dict[int, dict[str, Any]] = {}
    counted = Count(number, 0)

    def done(row: Row, answer: dict[str, Any]) -> None:
        answers[row.number] = answer
        counted.one_more()

    _ask(plan, rows, policy, counted, done, quiet=quiet)
    ordered = [answers[row.number] for row in rows]
    codes = {answer["exit_code"] for answer in ordered}
    code = next((one for one in _FIRST if one in codes), ExitCode.OK)
    if as_json:
        write_json(sys.stdout, {"answers": ordered, "exit_code": int(code)})
        return code
    for place, answer in enumerate(ordered):
        if place and row.schema is None:
            print("---")
        print_answer(sys.stdout, answer["answer"] or "")
        told = [] if quiet else answer.get("notices", [])
        for text in [answer["error"]] if "error" in answer else told:
            print(f"toolchat: answer {place + 1}: {sanitize(text)}", file=sys.stderr)
    return code


def _ask(
    plan: Plan,
    rows: Sequence[Row],
    policy: ApprovalPolicy,
    counted: Count,
    done: Callable[[Row, dict[str, Any]], None],
    *,
    quiet: bool,
) -> None:
    from toolchat.cli.running import Interrupts, run_async

    with _progress(quiet) as (report, note):

        def emit(body: EventBody) -> None:
            match body:
                case EngineState("ready"):
                    counted.begin()
                    report(counted.text, counted.fraction)
                case EngineState("crashed", detail):
                    note(f"the engine is started again: {detail}")
                case EngineState(state):
                    report(state, 0.0)
                case Notice(text):
                    note(text)

        def one_done(row: Row, answer: dict[str, Any]) -> None:
            done(row, answer)
            report(counted.text, counted.fraction)

        async def main(_: Interrupts) -> None:
            async with open_asker(plan, policy, emit) as asker:
                await asker.ready()
                await asker.run(rows, one_done)

        if plan.notice:
            note(plan.notice)
        run_async(main)


class Count:
    """How far a batch is."""

    def __init__(self, total: int, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._before = done
        self.done = done
        self._clock = clock
        self._began = clock()

    def begin(self) -> None:
        """The engine is ready: the rate counts from here."""
        if self.done == self._before:
            self._began = self._clock()

    def one_more(self) -> None:
        self.done += 1

    @property
    def fraction(self) -> float:
        return self.done / self._total

    @property
    def text(self) -> str:
        """ "12 of 64, 3.1 a second, 17 s left"."""
        text = f"{self.done} of {self._total}"
        took = self._clock() - self._began
        if self.done == self._before or took <= 0:
            return text
        rate = (self.done - self._before) / took
        seconds = (self._total - self.done) / rate
        shown = f"{rate:.1f} a second" if rate >= 1 else f"{rate * 60:.1f} a minute"
        left = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
        return f"{text}, {shown}, {left} left"


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[tuple[Callable[[str, float], None], Callable[[str], None]]]:
    if quiet:
        yield lambda *_: None, lambda _: None
        return
    from toolchat.ui.progress import progress

    with progress("answers") as shown:
        yield shown.report, lambda text: shown.note(f"toolchat: {text}")

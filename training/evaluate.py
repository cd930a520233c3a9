"""Measure the demo model by the everyday page and by BFCL, through toolchat's own loop, grammar and parser.

`python training/evaluate.py MODEL` asks the everyday page; with `--bfcl FOLDER` (see bfcl.py) BFCL too. One engine stays
warm for all of it. Decoding is greedy.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import bfcl
import grading
from grading import MadeCall, Row

from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.models.hardware import engine_device
from toolchat.store.transcript import Transcript
from toolchat.tools.load import sample_tools_path
from toolchat.tools.run import ToolRunner
from toolchat.wire.deltas import CallEnded
from toolchat.wire.errors import ToolchatError
from toolchat.wire.events import Stamper
from toolchat.wire.messages import FailedCall, ToolCall, UserMessage

Question = TypeVar("Question")
Result = TypeVar("Result")

WIDTH = 8
"""Questions that are asked at the same time."""
CONTEXT = 3072
KV_CACHE = 640 * 1024**2
MAX_TOKENS = 400
"""Of one generation; a call that is cut off is wrong."""


@dataclass(frozen=True)
class Asked:
    """A row of the page, asked."""

    row: Row
    answers: list[str]
    calls: list[list[MadeCall]]
    problem: str


class Evaluation:
    """An engine and the tools of the page, and what is asked of them."""

    def __init__(self, engine: LocalEngine, runners: dict[str, ToolRunner], *, constrained: bool) -> None:
        self._engine, self._runners = engine, runners
        self._options = GenerateOptions(max_tokens=MAX_TOKENS, temperature=0.0, constrained=constrained)
        self._numbers = itertools.count()

    async def page(self, rows: list[Row]) -> list[Asked]:
        return await _several(rows, self._row)

    async def cases(self, cases: list[bfcl.Case]) -> list[tuple[bfcl.Case, list[tuple[str, dict[str, Any]]] | None]]:
        """The calls of each case; None where one is malformed or cut off."""
        return await _several(cases, self._case)

    async def _row(self, row: Row) -> Asked:
        runner = self._runners[row.tools]
        session = f"{row.name}-{next(self._numbers)}"
        loop = ChatLoop(
            engine=self._engine,
            conversation=Conversation(None),
            runner=runner,
            options=self._options,
            stamp=Stamper(session, time.time),
        )
        told = Transcript()
        asked = Asked(row, [], [], "")
        for turn in row.turns:
            try:
                async with contextlib.aclosing(loop.turn(turn.ask)) as events:
                    async for event in events:
                        told.take(event)
            except ToolchatError as error:
                return replace(asked, problem=f"{type(error).__name__}: {error}")
            story = told.turns[-1]
            calls = [
                MadeCall(
                    call.call.name,
                    call.call.arguments if isinstance(call.call, ToolCall) else {},
                    call.result.content if call.result else "",
                    isinstance(call.call, FailedCall) or call.status != "ok",
                )
                for call in story.calls
            ]
            asked.answers.append(story.answer)
            asked.calls.append(calls)
            if problem := grading.problem(turn, calls, story.answer):
                return replace(asked, problem=problem)
        return asked

    async def _case(self, case: bfcl.Case) -> tuple[bfcl.Case, list[tuple[str, dict[str, Any]]] | None]:
        calls: list[tuple[str, dict[str, Any]]] | None = []
        request = f"{case.name}-{next(self._numbers)}"
        deltas = self._engine.generate(request, [UserMessage(case.question)], case.tools, self._options)
        async for delta in deltas:
            if isinstance(delta, CallEnded):
                if isinstance(delta.call, FailedCall):
                    calls = None
                elif calls is not None:
                    calls.append((delta.call.name, dict(delta.call.arguments)))
        return case, calls


async def _several(questions: Iterable[Question], ask: Callable[[Question], Awaitable[Result]]) -> list[Result]:
    """Asks WIDTH of them at the same time."""
    places = asyncio.Semaphore(WIDTH)

    async def one(question: Question) -> Result:
        async with places:
            return await ask(question)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(question)) for question in questions]
    return [task.result() for task in tasks]


async def evaluate(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Asks everything that was chosen, prints the tables, and returns a row for each question."""
    config = replace(
        plan("demo", arguments.model, engine_device(), context=CONTEXT), max_num_seqs=WIDTH, kv_cache_bytes=KV_CACHE
    )
    engine = LocalEngine(config, folder / "logs")
    runners: dict[str, ToolRunner] = {}
    rows: list[dict[str, Any]] = []
    try:
        async for _ in engine.start():
            pass
        if not arguments.no_page:
            sets = {row.tools for half in arguments.halves for row in grading.read_page(half)}
            for name in sorted(sets):
                source = sample_tools_path() if name == "samples" else grading.PAGE / f"{name}.yaml"
                runners[name] = await ToolRunner.start(source)
        for constrained in (True, False) if arguments.free else (True,):
            evaluation = Evaluation(engine, runners, constrained=constrained)
            held = "grammar" if constrained else "free"
            if not arguments.no_page:
                for half in arguments.halves:
                    rows += _page_rows(half, held, await evaluation.page(grading.read_page(half)))
            for category in arguments.categories if arguments.bfcl else ():
                chosen = bfcl.cases(arguments.bfcl, category, arguments.n)
                rows += _bfcl_rows(arguments.bfcl, held, await evaluation.cases(chosen))
    finally:
        for runner in runners.values():
            await runner.close()
        await engine.close()
    return rows


def _page_rows(half: str, held: str, asked: list[Asked]) -> list[dict[str, Any]]:
    right, of = Counter[str](), Counter[str]()
    rows = []
    for one in asked:
        for name in (one.row.kind, "all"):
            of[name] += 1
            right[name] += not one.problem
        calls = [[[call.name, dict(call.arguments), call.result] for call in turn] for turn in one.calls]
        questions = [turn.ask for turn in one.row.turns]
        rows.append(
            {"part": half, "held": held, "name": one.row.name, "problem": one.problem, "asked": questions}
            | {"calls": calls, "answers": one.answers}
        )
    print(f"\nEveryday page, {half} half, {held}:\n")
    print("\n".join(grading.table({name: (right[name], of[name]) for name in of})), flush=True)
    return rows


def _bfcl_rows(folder: Path, held: str, asked: list[tuple[bfcl.Case, Any]]) -> list[dict[str, Any]]:
    rows = []
    for case, calls in asked:
        right = calls is not None and bfcl.is_right(folder, case, calls)
        row = {"part": case.category, "held": held, "name": case.name, "problem": "" if right else "wrong"}
        rows.append(row | {"asked": [case.question], "calls": calls})
    category = asked[0][0].category
    print(f"\nBFCL, {held}:\n")
    print("\n".join(grading.table({category: (sum(not row["problem"] for row in rows), len(rows))})), flush=True)
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="training/evaluate.py",
        description="Measure a demo model by the everyday page and by BFCL.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("model", type=Path, help="the folder of the model, from python -m toolchat.models.demo.merge")
    add("--halves", nargs="+", choices=grading.HALVES, default=list(grading.HALVES), help="of the page")
    add("--no-page", action="store_true", help="leave the everyday page out")
    add("--bfcl", type=Path, metavar="FOLDER", help="where bfcl-eval is installed, see training/bfcl.py")
    add("--categories", nargs="+", choices=bfcl.CATEGORIES, default=list(bfcl.CATEGORIES), help="of BFCL")
    add("-n", type=int, default=200, metavar="N", help="cases of each category")
    add("--free", action="store_true", help="also without the grammar")
    add(
        "--rows",
        type=Path,
        metavar="FILE",
        help="write every question with its calls and answer there, a JSON line each",
    )
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    model = arguments.model.resolve()
    if not (model / "params.json").exists():
        raise SystemExit(f"{arguments.model}: expected a folder with a model in Mistral's format (params.json)")
    arguments.model = model
    arguments.bfcl = arguments.bfcl and arguments.bfcl.resolve()
    out = arguments.rows and arguments.rows.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = folder / "files"
        for path, text in grading.FILES.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_text(f"{text}\n", encoding="utf-8")
        os.chdir(place)  # what the sample tools look at
        rows = asyncio.run(evaluate(arguments, folder))
        os.chdir("/")
    if out:
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()

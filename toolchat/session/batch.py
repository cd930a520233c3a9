"""Asks many questions at once on one engine, each in a conversation of its own.

A row that fails stops no other, and neither does an engine that dies. What becomes of an answer is the caller's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from toolchat.chat.approval import ApprovalPolicy, Decide, decider
from toolchat.chat.calls import CallRunner, ServedRunner
from toolchat.chat.conversation import Conversation
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import Engine
from toolchat.environment import refused
from toolchat.images.attached import read_images, refuse_unseen
from toolchat.session.background import in_background
from toolchat.session.batch_file import Row
from toolchat.session.keeper import EngineKeeper
from toolchat.session.startup import Plan
from toolchat.session.tools import check_tool_choice, left_out, settled_or_closed
from toolchat.session.turn_settings import generate_options, hooks_of
from toolchat.store.record import new_session_id
from toolchat.store.transcript import Transcript, TurnStory, call_json, turn_json
from toolchat.wire.errors import ExitCode, ToolchatError
from toolchat.wire.events import EventBody, Notice, Stamper, TurnStatus
from toolchat.wire.messages import ToolSpec

_SPARE = 2
"""Requests beyond the engine's width, so that it has work while a row runs tools or is written down."""


def answer_json(story: TurnStory, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """An answer as `ask --json` and a batch give it (docs/scripts.md). With `schema`, "json" is the answer's value."""
    data = turn_json(story)
    data["calls"] = [call_json(call) for call in story.calls]
    del data["steps"], data["number"]
    if schema is not None:
        value, code, problem = held(story)
        data |= {"json": value, "exit_code": code}
        if problem:
            data["notices"] = [*data["notices"], problem]
    return data


def held(story: TurnStory) -> tuple[Any, int, str]:
    """The value of an answer that was held to a schema, the exit code of its turn, and what is wrong; "" for nothing.

    None where it is no JSON: it was cut off, or there is none.
    """
    try:
        return json.loads(story.answer), int(story.exit_code), ""
    except (ValueError, RecursionError):
        if story.exit_code != ExitCode.OK:
            return None, int(story.exit_code), ""
        return None, ExitCode.FAILURE, "the answer is not JSON: the engine did not hold it to the schema"


class RowAsker:
    """Asks rows on one engine, which is loading: see `open_asker`."""

    def __init__(self, plan: Plan, engine: Engine, emit: Callable[[EventBody], None]) -> None:
        self._plan = plan
        self._keeper = EngineKeeper(engine, emit)
        self._runner: CallRunner | None = None
        self._decide: Decide | None = None
        self._options = generate_options(plan.settings)
        self._offered: tuple[ToolSpec, ...] = ()
        self._system = plan.settings.system
        self._session = new_session_id()

    def use_own_system(self, text: str | None) -> None:
        """The prompt that comes with the model, for where the user chose none."""
        if self._system is None:
            self._system = text

    async def launch(self) -> None:
        await self._keeper.launch()

    def equip(self, runner: CallRunner, policy: ApprovalPolicy) -> None:
        """As `Session.equip`. Nobody is there to be asked: several calls would be asked about at once."""
        self._runner = runner
        policy.check(runner.toolbox)
        off = left_out(runner.toolbox, self._plan.only)
        check_tool_choice(self._options.tool_choice, runner.toolbox, off)
        self._offered = tuple(spec for spec in runner.toolbox.specs if spec.name not in off)
        self._decide = decider(policy, None)

    async def ready(self) -> None:
        """Wait until the engine is loaded. Raises EngineError where it cannot be."""
        await self._keeper.ready()

    async def close(self) -> None:
        await self._keeper.stop()
        if self._runner is not None:
            await self._runner.close()
        await self._keeper.close()

    async def run(
        self, rows: Sequence[Row], done: Callable[[Row, dict[str, Any]], None], *, places: int | None = None
    ) -> None:
        """Ask all rows; `done` is called with each and its answer, see `answer_json`, in the order of their ends.

        So many as `places` are asked at the same time; None for as many as the engine generates at the same time.

        Where the engine dies it is started again, and the rows that it was at are asked once more, one at a time: what
        kills it costs one row. Raises EngineError where it cannot be started again.
        """
        waiting = deque(rows)
        while waiting:
            crashed: list[Row] = []

            async def work(crashed: list[Row] = crashed) -> None:
                while waiting and self._alive:
                    row = waiting.popleft()
                    answer = await self._answer(row)
                    if self._alive or answer["exit_code"] != ExitCode.ENGINE:
                        done(row, answer)
                    else:
                        crashed.append(row)

            several = places or self.width + _SPARE
            async with asyncio.TaskGroup() as group:
                for _ in range(min(several, len(waiting))):
                    group.create_task(work())
            for row in crashed:
                await self._alive_again()
                done(row, await self._answer(row))
            await self._alive_again()

    @property
    def width(self) -> int:
        """Of the engine, see `EngineInfo.width`."""
        info = self._keeper.engine.info
        return info.width if info is not None else 1

    @property
    def _alive(self) -> bool:
        return self._keeper.engine.info is not None

    async def _alive_again(self) -> None:
        if not self._alive:
            await self._keeper.launch()
            await self._keeper.ready()

    async def _answer(self, row: Row) -> dict[str, Any]:
        """The answer to one row; of one that fails, why."""
        if row.problem:
            return failure(row.problem, ExitCode.USAGE)
        try:
            story = await self._story(row)
        except ToolchatError as error:
            return failure(str(error), error.exit_code)
        except Exception as error:
            reason = refused(error) or f"unexpected {type(error).__name__}: {error} (please report it)"
            return failure(" ".join(reason.split()), ExitCode.FAILURE)
        answer = answer_json(story, row.schema)
        if story.status is TurnStatus.ENGINE_FAILED:
            answer["error"] = "the engine failed while it answered"
        return answer

    async def _story(self, row: Row) -> TurnStory:
        assert self._runner is not None
        assert self._decide is not None
        info = self._keeper.engine.info
        if row.images and info is not None and not info.supports_images:
            raise refuse_unseen(self._plan.model)
        images = await in_background(lambda _: read_images(row.images)) if row.images else ()
        system = self._system if row.system is None else row.system
        told = Transcript()
        told.model = self._plan.model
        loop = ChatLoop(
            engine=self._keeper.engine,
            conversation=Conversation(system or None),
            runner=self._runner,
            options=self._options if row.seed is None else replace(self._options, seed=row.seed),
            stamp=Stamper(f"{self._session}-{row.number}", time.time),
            decide=self._decide,
            offered=lambda: self._offered,
            hooks=hooks_of(self._plan.settings),
        )
        async with contextlib.aclosing(loop.turn(row.question, images, row.schema)) as turn:
            async for event in turn:
                told.take(event)
        return told.turns[-1]


def failure(problem: str, code: ExitCode) -> dict[str, Any]:
    """In the place of an answer."""
    return {"answer": None, "error": problem, "exit_code": int(code)}


@contextlib.asynccontextmanager
async def open_asker(plan: Plan, policy: ApprovalPolicy, emit: Callable[[EventBody], None]) -> AsyncIterator[RowAsker]:
    """An asker with its tools, whose engine is loading: await `ready` first. `emit` is told how the engine is.

    Raises UsageError where the tools cannot be had, or a flag names one that there is not.
    """
    asker = RowAsker(plan, plan.engine(), emit)
    try:
        asker.use_own_system(plan.own_prompt().text)
        await asker.launch()
        runner = await plan.start_tools()
        await settled_or_closed(runner)
        if isinstance(runner, ServedRunner):
            for line in runner.toolbox.broken:
                emit(Notice(line))
        asker.equip(runner, policy)
        yield asker
    finally:
        await asker.close()

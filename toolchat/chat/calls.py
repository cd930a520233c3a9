"""The calls of a turn: each is checked, decided on and run, with the others of its round at once, and has one result.

Knows no conversation and no generation; what it yields is for the loop to pass on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from toolchat.chat.budget import CONTEXT_SHARE, cut_to_budget
from toolchat.chat.guards import Limits, RepeatGuard, Repetition
from toolchat.engine.base import Engine
from toolchat.tools.run import Prepared, ToolRunner
from toolchat.tools.toolbox import Tool, Toolbox, unknown_tool_message
from toolchat.wire import events
from toolchat.wire.events import EventBody
from toolchat.wire.messages import FailedCall, ResultStatus, ToolCall, ToolResult, UserMessage


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that is about to run, as `decide` sees it."""

    call: ToolCall
    tool: Tool


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""
    """For the model, where the call is declined."""


Decide = Callable[[PendingCall], Awaitable[Decision]]


async def allow_all(_: PendingCall) -> Decision:
    return Decision(True)


@dataclass(slots=True)
class Outcome:
    """What the calls of one round came to; both lists are in call order and equally long."""

    calls: list[ToolCall] = field(default_factory=list)
    """As history holds them: with converted arguments, and with none where the call could not be read."""
    results: list[ToolResult] = field(default_factory=list)


class TurnCalls:
    """Runs the calls of one turn, round by round."""

    def __init__(
        self,
        *,
        engine: Engine,
        runner: ToolRunner,
        toolbox: Toolbox,
        decide: Decide,
        limits: Limits,
        keep: Callable[[ToolResult], str | None],
        interrupt: asyncio.Event,
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._toolbox = toolbox
        self._decide = decide
        self._limits = limits
        self._keep = keep
        self._interrupt = interrupt
        self._guard = RepeatGuard(limits)
        self._reminders: dict[str, str] = {}
        self.repeated: ToolCall | None = None
        """The call that was made so often that the turn has to end."""

    async def run(self, asked: Sequence[ToolCall | FailedCall], outcome: Outcome) -> AsyncGenerator[EventBody, None]:
        """Decide on every call of a round and run the allowed ones concurrently; fills `outcome` at the end."""
        calls = [_as_call(call) for call in asked]
        done: dict[int, ToolResult] = {}
        ready: dict[int, Prepared] = {}
        prepared = await asyncio.gather(*(self._prepare(index, call) for index, call in enumerate(asked)))
        try:
            for index, item in enumerate(prepared):
                if isinstance(item, ToolResult):
                    done[index] = item
                    yield events.CallFinished(item)
                    continue
                calls[index] = item.call
                decision = await self._decide(PendingCall(item.call, item.tool))
                yield events.CallDecided(item.call.id, decision.allowed, decision.reason)
                if decision.allowed:
                    ready[index] = item
                    continue
                reason = f": {decision.reason}" if decision.reason else ""
                done[index] = _failed(item.call, f"Error: the user declined this call{reason}", ResultStatus.DENIED)
                yield events.CallFinished(done[index])
            for item in ready.values():
                yield events.CallStarted(item.call)
            async with aclosing(self._finish(ready, done)) as finishing:
                async for body in finishing:
                    yield body
        finally:
            # Those declined, and all of them where the consumer stopped listening.
            await asyncio.gather(*(item.discard() for item in prepared if not isinstance(item, ToolResult)))
        outcome.calls = calls
        outcome.results = [done[index] for index in range(len(calls))]

    async def _finish(self, ready: dict[int, Prepared], done: dict[int, ToolResult]) -> AsyncGenerator[EventBody, None]:
        """Run what is ready; what the tools say meanwhile, and their results, come as they come."""
        happened: asyncio.Queue[tuple[int, str | ToolResult | Exception]] = asyncio.Queue()

        async def run(index: int, item: Prepared) -> None:
            try:
                result = await item.run(self._interrupt, lambda text: happened.put_nowait((index, text)))
                happened.put_nowait((index, await self._shown(item.tool, result)))
            except Exception as error:
                happened.put_nowait((index, error))

        tasks = [asyncio.create_task(run(index, item), name=item.call.name) for index, item in ready.items()]
        try:
            running = len(tasks)
            while running:
                index, what = await happened.get()
                match what:
                    case str():
                        yield events.ToolOutput(ready[index].call.id, what)
                    case ToolResult():
                        running -= 1
                        done[index] = what
                        yield events.CallFinished(what)
                    case _:
                        raise what
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare(self, index: int, call: ToolCall | FailedCall) -> Prepared | ToolResult:
        """The call ready to run, with converted arguments, or the error that the model is answered with."""
        if isinstance(call, FailedCall):
            raw = call.raw if len(call.raw) <= 200 else f"{call.raw[:200]}…"
            return _failed(call, f"Error: this tool call could not be read: {call.reason}. It was: {raw}")
        if index >= (most := self._limits.calls_per_round):
            return _failed(call, f"Error: not run: at most {most} calls at once; make the others afterwards")
        tool = self._toolbox.get(call.name)
        if tool is None:
            return _failed(call, unknown_tool_message(call.name, self._toolbox))
        match self._guard.see(call):
            case Repetition.STOP:
                self.repeated = call
                return _failed(call, f"Error: not run: {self._guard.reminder(call)}")
            case Repetition.REMIND:
                self._reminders[call.id] = self._guard.reminder(call)
        return await self._runner.prepare(tool, call, self._interrupt)

    async def _shown(self, tool: Tool, result: ToolResult) -> ToolResult:
        """The result as the model is shown it: within its budget, with a reminder where it was asked for before."""
        content = result.content
        info = self._engine.info
        budget = tool.options.max_result_tokens or (info.context // CONTEXT_SHARE if info is not None else 0)
        if budget:
            content = await cut_to_budget(content, budget, self._tokens, lambda: self._keep(result))
        if (reminder := self._reminders.pop(result.call_id, None)) is not None:
            content = f"{content}\n{reminder}"
        return replace(result, content=content)

    async def _tokens(self, text: str) -> int:
        return (await self._engine.count([UserMessage(text)], ())).total


def _as_call(call: ToolCall | FailedCall) -> ToolCall:
    """How a call stands in history: one that could not be read, with empty arguments."""
    return call if isinstance(call, ToolCall) else ToolCall(call.id, call.name, {})


def _failed(call: ToolCall | FailedCall, content: str, status: ResultStatus = ResultStatus.ERROR) -> ToolResult:
    return ToolResult(call.id, call.name, content, status)

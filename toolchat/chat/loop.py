"""One turn: generate, decide, run the calls, generate again, until the model answers in text or a limit is met.

The loop yields typed events and owns the order of things; it never prints, and it leaves the history legal however
a turn ends. What needs an answer from outside is a function it is given: `decide` for a call, `continue_` at a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from toolchat.chat.conversation import Conversation
from toolchat.chat.frames import InterruptedGeneration, frames
from toolchat.chat.guards import Limits
from toolchat.engine.base import ContextOverflowError, Engine, EngineCrashedError, GenerateOptions
from toolchat.tools.check import Rejected, check_arguments, unknown_tool_message
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import Tool, Toolbox
from toolchat.wire import deltas, events
from toolchat.wire.errors import EngineError
from toolchat.wire.events import Event, EventBody, Stamper, TurnStatus
from toolchat.wire.messages import CallOrigin, FailedCall, ResultStatus, ToolCall, ToolResult


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


@dataclass(frozen=True, slots=True)
class LimitMet:
    rounds: int


class LimitChoice(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"
    """As many rounds again."""


async def allow_all(_: PendingCall) -> Decision:
    return Decision(True)


async def stop_at_limit(_: LimitMet) -> LimitChoice:
    return LimitChoice.STOP


@dataclass(slots=True)
class _Round:
    """What one generation came to."""

    text: str = ""
    calls: list[ToolCall | FailedCall] = field(default_factory=list)
    finished: deltas.Finished | None = None


class ChatLoop:
    """Runs the turns of one conversation, one at a time."""

    def __init__(
        self,
        *,
        engine: Engine,
        conversation: Conversation,
        toolbox: Toolbox,
        runner: ToolRunner,
        options: GenerateOptions,
        stamp: Stamper,
        decide: Callable[[PendingCall], Awaitable[Decision]] = allow_all,
        continue_: Callable[[LimitMet], Awaitable[LimitChoice]] = stop_at_limit,
        limits: Limits | None = None,
    ) -> None:
        self._engine = engine
        self._conversation = conversation
        self._toolbox = toolbox
        self._runner = runner
        self._options = options
        self._stamp = stamp
        self._decide = decide
        self._continue = continue_
        self._limits = limits or Limits()
        self._interrupt = asyncio.Event()

    def interrupt(self) -> None:
        """Stop the turn under way: the answer, or the tools that are running. The turn ends by itself, soon."""
        self._interrupt.set()

    async def turn(self, text: str) -> AsyncGenerator[Event, None]:
        """Answer `text`. The last event is `TurnFinished`, whatever happens; the conversation is closed by then.

        Raises EngineError where the engine refuses the request; the question is then forgotten again.
        """
        self._interrupt.clear()
        before = self._conversation.mark()
        self._stamp.turn += 1
        self._stamp.round = 0
        self._conversation.add_user(text)
        try:
            yield self._stamp(events.TurnStarted())
            yield self._stamp(events.UserMessage(text))
            async for body in self._rounds():
                yield self._stamp(body)
        except EngineError:
            self._conversation.rewind(before)
            raise
        finally:
            # A consumer that stops listening (a closed pipe, say) must not leave half a turn.
            if self._conversation.open:
                self._conversation.rewind(before)

    async def _rounds(self) -> AsyncGenerator[EventBody, None]:
        total = deltas.Usage()
        declined = False
        rounds = 0
        allowed = self._limits.rounds
        status = TurnStatus.ANSWERED
        while True:
            rounds += 1
            self._stamp.round = rounds
            this = _Round()
            try:
                async for body in self._generate(this):
                    yield body
            except InterruptedGeneration:
                self._conversation.close(this.text)
                yield events.Interrupted()
                status = TurnStatus.INTERRUPTED
                break
            except ContextOverflowError as error:
                if rounds == 1:
                    raise
                self._conversation.close("", f"[stopped: {error}]")
                yield events.Notice(f"the turn ends here: {error}")
                status = TurnStatus.LIMIT
                break
            except EngineCrashedError as error:
                self._conversation.close(this.text)
                yield events.EngineState("crashed", str(error))
                status = TurnStatus.ENGINE_FAILED
                break
            assert this.finished is not None
            total = _sum(total, this.finished.usage)
            truncated = this.finished.reason is deltas.FinishReason.LENGTH
            yield events.RoundFinished(this.finished.reason, this.finished.usage)
            if not this.calls:
                if truncated:
                    status = TurnStatus.TRUNCATED
                    yield events.Notice(
                        f"the answer was cut off after {this.finished.usage.completion_tokens} tokens; "
                        "--max-tokens allows more, up to what the context leaves"
                    )
                if this.text.strip():
                    self._conversation.add_answer(this.text)
                else:
                    self._conversation.close("", "[no answer]")
                    yield events.Notice("the model gave an empty answer")
                break
            results: list[ToolResult] = []
            async for body in self._run(this, results):
                declined = declined or (isinstance(body, events.CallDecided) and not body.allowed)
                yield body
            if self._interrupt.is_set():
                self._conversation.close("")
                yield events.Interrupted()
                status = TurnStatus.INTERRUPTED
                break
            if truncated:
                self._conversation.close("", "[the answer was cut off inside a tool call]")
                yield events.Notice(
                    "the answer was cut off inside a tool call, which was not run; --max-tokens allows more"
                )
                status = TurnStatus.TRUNCATED
                break
            if rounds >= allowed:
                if await self._continue(LimitMet(rounds)) is LimitChoice.STOP:
                    self._conversation.close("", f"[stopped after {rounds} rounds of tool calls]")
                    yield events.Notice(f"the turn ends here: the limit of {rounds} rounds of tool calls is reached")
                    status = TurnStatus.LIMIT
                    break
                allowed += self._limits.rounds
        yield events.TurnFinished(status, rounds, total, declined)

    async def _generate(self, this: _Round) -> AsyncGenerator[EventBody, None]:
        """One generation; fills `this` as it goes, so that it holds what had come when an exception ends it."""
        request_id = f"{self._stamp.session}-{self._stamp.turn}-{self._stamp.round}"
        stream = self._engine.generate(request_id, self._conversation.messages, self._toolbox.specs, self._options)
        try:
            async for batch in frames(stream, self._interrupt):
                for delta in batch:
                    match delta:
                        case deltas.Text(text):
                            this.text += text
                            yield events.TextDelta(text)
                        case deltas.Thinking(text):
                            yield events.ThinkingDelta(text)
                        case deltas.CallEnded(_, call):
                            this.calls.append(call)
                            yield events.CallProposed(call)
                        case deltas.Finished():
                            this.finished = delta
        except InterruptedGeneration:
            self._engine.abort(request_id)
            raise

    async def _run(self, this: _Round, results: list[ToolResult]) -> AsyncGenerator[EventBody, None]:
        """Decide on every call of a round, run the allowed ones concurrently, and add all results to the history."""
        calls = [_as_call(call) for call in this.calls]
        done: dict[int, ToolResult] = {}
        ready: dict[int, tuple[Tool, ToolCall]] = {}
        for index, call in enumerate(this.calls):
            checked = self._check(call)
            if isinstance(checked, ToolResult):
                done[index] = checked
                yield events.CallFinished(checked)
                continue
            decision = await self._decide(PendingCall(checked[1], checked[0]))
            yield events.CallDecided(call.id, decision.allowed, decision.reason)
            if not decision.allowed:
                reason = f": {decision.reason}" if decision.reason else ""
                done[index] = _failed(call, f"Error: the user declined this call{reason}", ResultStatus.DENIED)
                yield events.CallFinished(done[index])
                continue
            ready[index] = checked
        for index, (_, call) in ready.items():
            calls[index] = call
            yield events.CallStarted(call)
        tasks = {
            asyncio.create_task(
                self._runner.run(tool, call, self._limits.call_seconds, self._interrupt), name=call.name
            ): index
            for index, (tool, call) in ready.items()
        }
        try:
            pending = set(tasks)
            while pending:
                finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
                    done[tasks[task]] = task.result()
                    yield events.CallFinished(task.result())
        finally:
            for task in tasks:
                task.cancel()
        results += [done[index] for index in range(len(calls))]
        self._conversation.add_calls(this.text, calls)
        self._conversation.add_results(results)

    def _check(self, call: ToolCall | FailedCall) -> ToolResult | tuple[Tool, ToolCall]:
        """The tool and the call with converted arguments, or the error that the model is answered with."""
        if isinstance(call, FailedCall):
            raw = call.raw if len(call.raw) <= 200 else f"{call.raw[:200]}…"
            return _failed(call, f"Error: this tool call could not be read: {call.reason}. It was: {raw}")
        tool = self._toolbox.get(call.name)
        if tool is None:
            return _failed(call, unknown_tool_message(call.name, self._toolbox))
        checked = check_arguments(tool, call.arguments)
        if isinstance(checked, Rejected):
            return _failed(call, checked.message)
        if checked.repaired:
            return tool, replace(call, arguments=checked.arguments, origin=CallOrigin.REPAIRED)
        return tool, call


def _as_call(call: ToolCall | FailedCall) -> ToolCall:
    """How a call stands in history: one that could not be read, with empty arguments."""
    return call if isinstance(call, ToolCall) else ToolCall(call.id, call.name, {})


def _failed(call: ToolCall | FailedCall, content: str, status: ResultStatus = ResultStatus.ERROR) -> ToolResult:
    return ToolResult(call.id, call.name, content, status)


def _sum(total: deltas.Usage, usage: deltas.Usage) -> deltas.Usage:
    return deltas.Usage(
        prompt_tokens=total.prompt_tokens + usage.prompt_tokens,
        cached_tokens=total.cached_tokens + usage.cached_tokens,
        completion_tokens=total.completion_tokens + usage.completion_tokens,
        ttft=total.ttft or usage.ttft,
        seconds=total.seconds + usage.seconds,
    )

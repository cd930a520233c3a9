"""The calls of a turn: each is checked, decided on and run, with the others of its round at once, and has one result.

Knows no conversation and no generation; what it yields is for the loop to pass on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

from toolchat.chat.context_window import cut_to_budget, result_budget, result_tokens
from toolchat.chat.conversation import INTERRUPTED_CALL, history_call
from toolchat.chat.guards import Limits, RepeatGuard, Repetition
from toolchat.chat.hooks import NO_HOOKS, Hooks, Passed, Refused
from toolchat.engine.base import Engine, GenerateOptions
from toolchat.tools.mcp.elicitation import Elicit, Elicitation
from toolchat.tools.rules import canonical
from toolchat.tools.toolbox import Tool, Toolbox, unknown_tool_message
from toolchat.wire import events
from toolchat.wire.events import EventBody
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import (
    CallOrigin,
    CutResult,
    FailedCall,
    Image,
    ResultStatus,
    ToolCall,
    ToolResult,
)

T = TypeVar("T")


def possible_choice(options: GenerateOptions, toolbox: Toolbox) -> tuple[GenerateOptions, str]:
    """The options with a choice of tools that can be met, and what to say where the one asked for cannot."""
    choice = options.tool_choice
    match choice:
        case "auto" | "none":
            return options, ""
        case "required" if toolbox.tools:
            return options, ""
        case "required":
            return replace(options, tool_choice="auto"), "no call can be required: there are no tools, or all are off"
        case _ if toolbox.get(choice) is not None:
            return options, ""
    return replace(options, tool_choice="auto"), f"the tool {choice} that was chosen is off: the model decides"


@dataclass(frozen=True, slots=True)
class ShownResult(ToolResult):
    """A result as a model was shown it before: it is neither cut again nor added to."""


class PreparedCall(Protocol):
    """A call whose arguments fit, and that is run or discarded; until then what is to run it waits."""

    call: ToolCall
    """With converted arguments."""

    @property
    def tool(self) -> Tool:
        """As what is to run the call has it."""

    async def run(
        self, cancel: asyncio.Event, on_output: Callable[[str], None], on_part: Callable[[str], None]
    ) -> ToolResult:
        """Run the call until it answers, its tool's time is over, or `cancel` is set; always has a result.

        `on_output` is given what the tool says to the user meanwhile. A result too long to be given whole is a
        CutResult, and `on_part` is given its beginning, for a file.
        """

    async def discard(self) -> None:
        """End what waits for this call, if it does still. May be called at any time."""


class CallRunner(Protocol):
    """Where the tools are that a turn may call: Python functions in processes of their own, or other kinds."""

    @property
    def toolbox(self) -> Toolbox: ...

    async def prepare(
        self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None
    ) -> PreparedCall | ToolResult:
        """Check and convert the arguments of `call`; where it cannot run, the result says why."""

    async def close(self) -> None:
        """End whatever runs the tools."""


@runtime_checkable
class ServedRunner(CallRunner, Protocol):
    """A runner some of whose tools are those of servers, which come, change and go while the chat runs."""

    @property
    def pending(self) -> tuple[str, ...]:
        """The servers that have neither told their tools nor failed."""

    async def settled(self) -> None:
        """Wait until there are none of these."""

    @property
    def prompts(self) -> Mapping[str, Mapping[str, Any]]:
        """The servers' prompts by "server:prompt", as the servers describe them."""

    @property
    def serves_resources(self) -> tuple[str, ...]:
        """The servers that have resources."""

    @property
    def resources(self) -> Mapping[str, Mapping[str, str]]:
        """By server, the addresses of its resources, and what they are: what it has told, nothing is asked."""

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> tuple[str, list[str]]:
        """The text of a prompt of `prompts`, and its images' files in base64. Raises ToolchatError."""

    async def resource(self, server: str, uri: str) -> str:
        """The text of a server's resource. Raises ToolchatError."""

    def attach(self, on_notice: Callable[[str], None], elicit: Elicit | None) -> None:
        """Have `on_notice` told what becomes of servers, and `elicit` ask the user what they want to know."""


Validate = Callable[[dict[str, Any]], Awaitable[str | None]]
"""What is wrong with other arguments for a call, in one line for people; None where they fit."""


async def fits(_: dict[str, Any]) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that is about to run, as `decide` sees it."""

    call: ToolCall
    tool: Tool
    validate: Validate = fits
    elicitation: Elicitation | None = None
    """Where it is no call but a server's question, whose answer are the arguments."""
    heard: str = ""
    """The untrusted tool that has spoken in this turn before, if one has; its words may have led to this call."""


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""
    """For the model, where the call is declined."""
    arguments: dict[str, Any] | None = None
    """What the user made of the arguments; None where the call runs as it is."""
    asked: bool = True
    """Whether the user was asked, so that a refusal is theirs and not that of a setting."""
    end_turn: bool = False
    """Whether the turn is to end, with the calls that have not been decided on declined."""
    notice: str = ""
    """Something the user should know of it, in one line."""


Decide = Callable[[PendingCall], Awaitable[Decision]]

_ENDED = Decision(False, "the turn was ended")


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
        runner: CallRunner,
        toolbox: Toolbox,
        decide: Decide,
        limits: Limits,
        keep: Callable[[ToolResult], Kept | None],
        keep_part: Callable[[str, str], None],
        keep_image: Callable[[Image], Image],
        interrupt: asyncio.Event,
        heard: str = "",
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        """`heard` is the untrusted tool that has spoken in the turn already, if one has."""
        self._engine = engine
        self._runner = runner
        self._toolbox = toolbox
        self._decide = decide
        self._limits = limits
        self._keep = keep
        self._keep_part = keep_part
        self._keep_image = keep_image
        self._interrupt = interrupt
        self._hooks = hooks
        self._notes: dict[str, str] = {}
        """By call: what hooks have done to it."""
        self._guard = RepeatGuard(limits)
        self._reminders: dict[str, str] = {}
        self._left: int | None = None
        self._asked = 1
        self._heard = heard
        self.repeated: ToolCall | None = None
        """The call that was made so often that the turn has to end."""

    async def run(
        self, asked: Sequence[ToolCall | FailedCall], outcome: Outcome, left: int | None = None
    ) -> AsyncGenerator[EventBody, None]:
        """Decide on every call of a round and run the allowed ones concurrently; fills `outcome` at the end.

        `left` is how many tokens all results may take together, for the model to have room to answer; None where that
        is not known.
        """
        self._left, self._asked = left, len(asked)
        calls = [history_call(call) for call in asked]
        done: dict[int, ToolResult] = {}
        ready: dict[int, PreparedCall] = {}
        prepared = await self._prepare_all(asked)
        try:
            for index, item in enumerate(prepared):
                if isinstance(item, ToolResult):
                    done[index] = item
                    yield events.CallFinished(item)
                    continue
                calls[index] = item.call
                # Before anybody is asked: what is decided on is what will run.
                hooked, decision = await self._hooked(item)
                final: PreparedCall | ToolResult = hooked
                if not isinstance(hooked, ToolResult):
                    prepared[index] = hooked
                    calls[index] = hooked.call
                    if decision.allowed:
                        decision = await self._decided(hooked)
                    if decision.allowed and decision.arguments is not None:
                        final = prepared[index] = await self._edited(hooked, decision.arguments)
                        if not isinstance(final, ToolResult):
                            calls[index] = final.call
                            decision = await self._hook_on_edited(final)
                    if not decision.allowed:
                        final = _declined(calls[index], decision)
                if decision.notice:
                    yield events.Notice(decision.notice)
                if not isinstance(final, ToolResult):
                    calls[index] = final.call
                    ready[index] = final
                yield events.CallDecided(calls[index], decision.allowed, decision.reason)
                if isinstance(final, ToolResult):
                    done[index] = final
                    yield events.CallFinished(final)
            if self._interrupt.is_set():
                # The turn was ended over a later call of the round: what had been allowed is not begun.
                for index, item in ready.items():
                    done[index] = _failed(item.call, INTERRUPTED_CALL, ResultStatus.INTERRUPTED)
                    yield events.CallFinished(done[index])
                ready.clear()
            for item in ready.values():
                yield events.CallStarted(item.call)
            async with aclosing(self._finish(ready, done)) as finishing:
                async for body in finishing:
                    yield body
        finally:
            # Those declined, and all of them where the consumer stopped listening.
            await asyncio.gather(*(item.discard() for item in prepared if not isinstance(item, ToolResult)))
        spoke = (item.tool.name for item in ready.values() if item.tool.options.untrusted)
        self._heard = self._heard or next(spoke, "")
        outcome.calls = calls
        outcome.results = [done[index] for index in range(len(calls))]

    async def _decided(self, item: PreparedCall) -> Decision:
        """The decision on a call. An interrupt declines it, also while it is being decided on."""
        heard = self._heard if item.tool.options.effects else ""
        pending = PendingCall(item.call, item.tool, lambda arguments: self._problem(item, arguments), heard=heard)
        decision = await self._unless_interrupted(lambda: self._decide(pending))
        if decision is None:
            return _ENDED
        if decision.end_turn:
            self._interrupt.set()
        return decision

    async def _unless_interrupted(self, wanted: Callable[[], Awaitable[T]]) -> T | None:
        """What is waited for; None where the turn is interrupted before or meanwhile."""
        if self._interrupt.is_set():
            return None
        waiting = asyncio.ensure_future(wanted())
        interrupted = asyncio.ensure_future(self._interrupt.wait())
        try:
            await asyncio.wait({waiting, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            # Not where it came and was interrupted at once: the interrupt is the later word.
            return None if self._interrupt.is_set() else waiting.result()
        finally:
            for task in (waiting, interrupted):
                task.cancel()
            await asyncio.gather(waiting, interrupted, return_exceptions=True)

    async def _hooked(self, item: PreparedCall) -> tuple[PreparedCall | ToolResult, Decision]:
        """The call as the before_tool hook leaves it, and whether it passes."""
        said = await self._unless_interrupted(lambda: self._hooks.before_tool(item.tool, item.call))
        match said:
            case None:
                return item, _ENDED
            case Refused():
                return item, self._refused(item, said)
            case Passed(None):
                return item, Decision(True)
            case Passed(arguments):
                edited = await self._edited(item, arguments)
                if isinstance(edited, ToolResult):
                    why = f"the before_tool hook gave {item.call.name} arguments that do not fit"
                    return item, self._refused(item, Refused(f"{why}: {edited.content.removeprefix('Error: ')}", why))
                self._notes[item.call.id] = "arguments by before_tool"
                return edited, Decision(True)

    async def _hook_on_edited(self, item: PreparedCall) -> Decision:
        """Whether the hook passes what the user made of the arguments. It cannot change them: the user has decided."""
        said = await self._unless_interrupted(lambda: self._hooks.before_tool(item.tool, item.call))
        self._notes.pop(item.call.id, None)
        match said:
            case None:
                return _ENDED
            case Refused():
                return self._refused(item, said)
            case Passed(replaced) if replaced is not None and canonical(replaced) != canonical(item.call.arguments):
                why = "the before_tool hook would change the arguments that the user wrote"
                return self._refused(item, Refused(why, why))
        return Decision(True)

    def _refused(self, item: PreparedCall, said: Refused) -> Decision:
        self._notes[item.call.id] = "refused by before_tool"
        notice = f"{item.call.name} was not run: {said.problem}" if said.problem else ""
        return Decision(False, said.reason, asked=False, notice=notice)

    async def _passed(
        self, item: PreparedCall, result: ToolResult, happened: Callable[[events.Notice], None]
    ) -> ToolResult:
        """The result as the after_tool hook leaves it. Of one that is withheld, the model sees nothing."""
        if result.status is ResultStatus.INTERRUPTED:
            return result
        said = await self._unless_interrupted(lambda: self._hooks.after_tool(item.tool, item.call, result))
        match said:
            case Passed(None):
                return result
            case Passed(text):
                self._note(item, "result by after_tool")
                return ToolResult(result.call_id, result.name, text, result.status, result.seconds)
            case Refused():
                self._note(item, "withheld by after_tool")
                if said.problem:
                    happened(events.Notice(f"the result of {item.call.name} was withheld: {said.problem}"))
                content = f"Error: the tool ran, and its result is withheld: {said.reason}"
                return ToolResult(result.call_id, result.name, content, ResultStatus.ERROR, result.seconds)
        return ToolResult(result.call_id, result.name, INTERRUPTED_CALL, ResultStatus.INTERRUPTED, result.seconds)

    def _note(self, item: PreparedCall, text: str) -> None:
        before = self._notes.get(item.call.id)
        self._notes[item.call.id] = f"{before}, {text}" if before else text

    async def _problem(self, item: PreparedCall, arguments: dict[str, Any]) -> str | None:
        """What is wrong with other arguments for a call, as its tool's own process finds it."""
        checked = await self._runner.prepare(item.tool, replace(item.call, arguments=arguments), self._interrupt)
        if isinstance(checked, ToolResult):
            return checked.content.removeprefix("Error: ")
        await checked.discard()
        return None

    async def _edited(self, item: PreparedCall, arguments: dict[str, Any]) -> PreparedCall | ToolResult:
        """The call with the user's arguments, in a process of its own; the one that waited with the model's ends."""
        await item.discard()
        call = replace(item.call, arguments=arguments)
        edited = await self._runner.prepare(item.tool, call, self._interrupt)
        if isinstance(edited, ToolResult):
            return edited
        if edited.tool.source_digest != item.tool.source_digest:
            await edited.discard()
            return _failed(call, f"Error: not run: {item.tool.name} has changed since it was shown")
        edited.call = replace(edited.call, origin=CallOrigin.EDITED)
        return edited

    async def _finish(
        self, ready: dict[int, PreparedCall], done: dict[int, ToolResult]
    ) -> AsyncGenerator[EventBody, None]:
        """Run what is ready; what the tools say meanwhile, and their results, come as they come."""
        happened: asyncio.Queue[tuple[int, str | ToolResult | events.Notice | Exception]] = asyncio.Queue()

        async def run(index: int, item: PreparedCall) -> None:
            try:
                result = await item.run(
                    self._interrupt,
                    lambda text: happened.put_nowait((index, text)),
                    partial(self._keep_part, item.call.id),
                )
                passed = await self._passed(item, result, lambda notice: happened.put_nowait((index, notice)))
                happened.put_nowait((index, await self._shown(item.tool, passed)))
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
                    case events.Notice():
                        yield what
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

    async def _prepare_all(self, asked: Sequence[ToolCall | FailedCall]) -> list[PreparedCall | ToolResult]:
        """Each call as `_prepare` leaves it. Where one fails, or this is cancelled, those that wait already end."""
        tasks = [asyncio.ensure_future(self._prepare(index, call)) for index, call in enumerate(asked)]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            for item in await asyncio.gather(*tasks, return_exceptions=True):
                if not isinstance(item, ToolResult | BaseException):
                    await item.discard()
            raise

    async def _prepare(self, index: int, call: ToolCall | FailedCall) -> PreparedCall | ToolResult:
        """The call ready to run, with converted arguments, or the error that the model is answered with."""
        if isinstance(call, FailedCall):
            if call.illegal_name:
                return _failed(call, unknown_tool_message(call.illegal_name, self._toolbox))
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
        content, left_out = result.content, result.excerpt.left_out if isinstance(result, CutResult) else 0
        info = self._engine.info
        if isinstance(result, ShownResult):
            left_out = result.left_out
            self._reminders.pop(result.call_id, None)
        elif info is not None:
            left = info.context_window if self._left is None else self._left
            budget = result_budget(tool.options.max_result_tokens, info.context_window, self._asked, left)
            count = partial(result_tokens, self._engine, result.call_id, result.name)
            text = result.excerpt if isinstance(result, CutResult) else content
            content, left_out = await cut_to_budget(text, budget, count, lambda: self._keep(result))
        if (reminder := self._reminders.pop(result.call_id, None)) is not None:
            content = f"{content}\n{reminder}"
        images = tuple(map(self._keep_image, result.images))
        note = self._notes.get(result.call_id, "")
        return ToolResult(result.call_id, result.name, content, result.status, result.seconds, images, left_out, note)


def _declined(call: ToolCall, decision: Decision) -> ToolResult:
    """What the model is told of a call that may not run, and by whom."""
    what = "the user declined this call" if decision.asked else "this call was not run"
    reason = f": {decision.reason}" if decision.reason else ""
    return _failed(call, f"Error: {what}{reason}", ResultStatus.DENIED)


def _failed(call: ToolCall | FailedCall, content: str, status: ResultStatus = ResultStatus.ERROR) -> ToolResult:
    return ToolResult(call.id, call.name, content, status)

"""Runs one call of a tool, in a thread of its own, and always comes back with a result.

It never waits longer than the deadline and never raises what the tool raised. A thread cannot be ended from
outside: a tool that hangs is left behind, in a daemon thread that does not keep the process alive.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any

from toolchat.tools.check import Rejected, check_arguments
from toolchat.tools.result import error_text, result_text, without_surrogates
from toolchat.tools.toolbox import Tool
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult


@dataclass(frozen=True, slots=True)
class _Outcome:
    content: str
    status: ResultStatus


class ToolRunner:
    """Runs calls; several may run at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    async def run(self, tool: Tool, call: ToolCall, deadline: float, cancel: asyncio.Event | None = None) -> ToolResult:
        """Run `call` with `tool` for at most `deadline` seconds, or until `cancel` is set.

        The arguments are checked here too, whoever checked them before. The result's `seconds` are measured
        from this call to its end, on the runner's clock.
        """
        started = self._clock()
        checked = check_arguments(tool, call.arguments)
        if isinstance(checked, Rejected):
            outcome = _Outcome(checked.message, ResultStatus.ERROR)
        else:
            outcome = await _outcome(tool, checked.values, deadline, cancel)
        content = without_surrogates(outcome.content)
        return ToolResult(call.id, call.name, content, outcome.status, self._clock() - started)


async def _outcome(tool: Tool, values: dict[str, Any], deadline: float, cancel: asyncio.Event | None) -> _Outcome:
    interrupted = _Outcome("Error: interrupted by the user", ResultStatus.INTERRUPTED)
    if cancel is not None and cancel.is_set():
        return interrupted
    try:
        answer = _start(tool, values)
    except RuntimeError as error:
        return _Outcome(f"Error: no thread could be started for the tool: {error}", ResultStatus.ERROR)
    cancelled = asyncio.ensure_future(cancel.wait()) if cancel is not None else None
    awaited: set[asyncio.Future[Any]] = {answer} if cancelled is None else {answer, cancelled}
    try:
        await asyncio.wait(awaited, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if cancelled is not None:
            cancelled.cancel()
    # A result that came in the same instant as the interruption is still the result.
    if answer.done():
        return answer.result()
    if cancel is not None and cancel.is_set():
        return interrupted
    return _Outcome(f"Error: {tool.name} did not answer within {deadline:g} seconds", ResultStatus.TIMEOUT)


def _start(tool: Tool, values: dict[str, Any]) -> asyncio.Future[_Outcome]:
    """The future outcome of a thread that has just been started.

    A bare daemon thread, not the loop's executor, which would hold up the interpreter's exit on a hung tool.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Outcome] = loop.create_future()

    def deliver(outcome: _Outcome) -> None:
        if not answer.done():
            answer.set_result(outcome)

    def work() -> None:
        outcome = _call(tool, values)
        # The loop is closed where the chat ended before the tool did: nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, outcome)

    Thread(target=work, name=f"tool {tool.name}", daemon=True).start()
    return answer


def _call(tool: Tool, values: dict[str, Any]) -> _Outcome:
    try:
        value = tool.function(**values)
        if inspect.isawaitable(value):
            value = asyncio.run(_awaited(value))
        return _Outcome(result_text(value), ResultStatus.OK)
    # SystemExit and KeyboardInterrupt too: raised by a tool they are its error, not the program's end.
    except BaseException as error:
        return _Outcome(error_text(error), ResultStatus.ERROR)


async def _awaited(value: Any) -> Any:
    return await value

"""One call, from its arguments to its result: checked, then run or discarded, in a process that the supervisor opens.

Whatever happens to that process, the call has a result.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from toolchat.images.returned import received
from toolchat.private_file import open_private
from toolchat.tools.code import NotAccepted
from toolchat.tools.host.channel import Message
from toolchat.tools.host.client import HostDied
from toolchat.tools.host.process_client import CLOSED, CallProcess, Cause, NoAnswer, Window, seconds_text
from toolchat.tools.host.supervisor import Supervisor
from toolchat.tools.result import MAX_KEPT
from toolchat.tools.toolbox import MIB, Tool
from toolchat.wire.errors import UsageError
from toolchat.wire.excerpt import Excerpt
from toolchat.wire.messages import CallOrigin, CutResult, Image, ResultStatus, ToolCall, ToolResult

STATE_LOST = "[The tool's process was started anew: what earlier calls had changed in it is lost.]"
"""Below the first result after a stateful tool's process ended."""

_INTERRUPTED = "Error: interrupted by the user"
_NO_ANSWER = "Error: the tool's process answered with what is no answer"
_HIDES = (
    "Error: the tool was ended: a process of its hides its open files, so that its memory limit cannot be kept; a tool "
    "that runs programs which its user may not read needs privileges: keep in the tools file"
)

OnOutput = Callable[[str], None]
OnPart = Callable[[str], None]


class Prepared:
    """A call whose arguments fit, and that waits for the decision whether it runs."""

    def __init__(self, supervisor: Supervisor, tool: Tool, call: ToolCall, *, debug: bool) -> None:
        self.tool = tool
        """As the process that is to run the call has it, once the arguments have been checked."""
        self.call = call
        """With converted arguments, once they have been checked."""
        self._asked = call.arguments
        self._supervisor = supervisor
        self._debug = debug
        self._group = supervisor.group(tool)
        self._redactor = supervisor.redactor(tool)
        """The tool's process has replaced these values too: what it sends is believed no more than need be."""
        self._process: CallProcess | None = None
        """Its own; a stateful tool's belongs to the group."""

    async def check(self, cancel: asyncio.Event | None = None) -> Prepared | ToolResult:
        """Itself, with `call` as converted, or why it cannot run."""
        if self._group is None:
            return await self._check(cancel)
        if not await _acquired(self._group.turn, cancel):
            return self._result(_INTERRUPTED, ResultStatus.INTERRUPTED)
        try:
            return await self._check(cancel)
        finally:
            self._group.turn.release()

    async def run(
        self,
        cancel: asyncio.Event | None = None,
        on_output: OnOutput | None = None,
        on_part: OnPart | None = None,
    ) -> ToolResult:
        """Run the call until it answers, its tool's time is over, or `cancel` is set.

        `on_output` is given what the tool says to the user, as it comes; the text is as the tool wrote it. A result of
        more than MAX_RESULT bytes is a CutResult; its beginning, up to MAX_KEPT bytes, is given to `on_part` before.
        """
        listener = _up_to(MAX_KEPT, on_part) if on_part is not None else None
        redactor = self._redactor
        if listener is not None and redactor:
            take = listener
            listener = lambda text: take(redactor.text(text))  # noqa: E731
        if self._group is None:
            return await self._timed(cancel, on_output, listener)
        if not await _acquired(self._group.turn, cancel):
            return self._result(_INTERRUPTED, ResultStatus.INTERRUPTED)
        try:
            result = await self._timed(cancel, on_output, listener)
            if self._group.lost:
                self._group.lost = False
                if listener is not None and isinstance(result, CutResult):
                    listener(f"\n{STATE_LOST}")
                result = _with_line(result, STATE_LOST)
            return result
        finally:
            self._group.turn.release()

    async def discard(self) -> None:
        """End the process that waits for this call, if there is one still. May be called at any time."""
        if self._process is not None and self._group is None:
            self._process.drop()

    async def _check(self, cancel: asyncio.Event | None) -> Prepared | ToolResult:
        seconds = self._supervisor.check_seconds(self.tool)
        answer = await self._ask("check", seconds, cancel)
        if not isinstance(answer, dict) and answer.cause is Cause.ENDED and not self._supervisor.alive(self.tool):
            # Another call ended the host meanwhile; this one has not begun.
            answer = await self._ask("check", seconds, cancel)
        match answer:
            case {"op": "checked", "arguments": dict(arguments), "repaired": bool(repaired), "digest": str(digest)}:
                # Not what was loaded at first, where the modules have been imported anew since and had changed.
                self.tool = replace(self.tool, source_digest=digest)
                if repaired:
                    self.call = replace(self.call, arguments=arguments, origin=CallOrigin.REPAIRED)
                return self
            case {"op": "rejected", "message": str(message)}:
                await self.discard()
                return self._result(message)
        return await self._failure(answer, f"did not check its arguments within {seconds_text(seconds)}")

    async def _timed(
        self, cancel: asyncio.Event | None, on_output: OnOutput | None, on_part: OnPart | None
    ) -> ToolResult:
        started = time.monotonic()
        if cancel is not None and cancel.is_set():
            await self.discard()
            return self._result(_INTERRUPTED, ResultStatus.INTERRUPTED)
        result = await self._run(cancel, on_output, on_part)
        return replace(result, seconds=time.monotonic() - started)

    async def _run(
        self, cancel: asyncio.Event | None, on_output: OnOutput | None, on_part: OnPart | None
    ) -> ToolResult:
        seconds = self.tool.options.timeout
        if self._group is not None:
            self._group.used = True
        answer = await self._ask("run", seconds, cancel, on_output, on_part)
        match answer:
            case {"op": "result", "content": str(content), "ok": bool(ok), "traceback": str(traceback), **rest}:
                await self.discard()
                self._note(traceback, on_output)
                match rest:
                    case {"out_of_memory": True, "memory": int(limit)}:  # less than its own by the user's `ulimit -v`
                        content = _over_memory(limit)
                if (images := received(rest.get("images", []), self.tool.name)) is None:
                    return self._result(_NO_ANSWER)
                return replace(self._result(content, ResultStatus.OK if ok else ResultStatus.ERROR), images=images)
            case {
                "op": "result",
                "content": {"head": str(head), "tail": str(tail), "total": int(total)},
                "ok": True,
                "images": [*files],
            } if total >= len(head) + len(tail):
                await self.discard()
                if (images := received(files, self.tool.name)) is None:
                    return self._result(_NO_ANSWER)
                head, tail = self._redactor.text(head), self._redactor.text(tail)
                return _cut(self._result("", ResultStatus.OK), Excerpt(head, tail, total), images)
            case {"op": "rejected", "message": str(message)}:
                await self.discard()
                return self._result(message)
        late = f"did not answer within {seconds_text(seconds)} (timeout: in the tools file)"
        return await self._failure(answer, late)

    async def _ask(
        self,
        op: str,
        seconds: float,
        cancel: asyncio.Event | None = None,
        on_output: OnOutput | None = None,
        on_part: OnPart | None = None,
    ) -> Message | NoAnswer:
        """The answer of the process that the call belongs to; of a new one where there is none, or none any more."""
        # Only the code that was shown is run; what it is shows when it is checked.
        digest = self.tool.source_digest if op == "run" else None
        message = {"op": op, "tool": self.tool.name, "arguments": self._asked, "digest": digest}
        try:
            process = await self._current()
        except NotAccepted as error:
            return {"op": "refused", "message": str(error), "files": error.files}
        except (HostDied, UsageError, OSError) as error:
            return NoAnswer(Cause.ENDED, " ".join(str(error).split()))
        window = Window(on_output, self._redactor) if on_output is not None else None
        process.output.show(window)
        try:
            return await process.ask(message, seconds, cancel, on_part)
        except asyncio.CancelledError:
            process.drop()
            raise
        finally:
            process.output.show(None)
            if window is not None:
                window.finish()

    async def _current(self) -> CallProcess:
        process = self._group.process if self._group is not None else self._process
        if process is not None and process.alive:
            return process
        if process is not None:
            process.drop()
        process = await self._supervisor.open(self.tool)
        if self._group is None:
            self._process = process
        else:
            self._group.process = process
            self._group.lost = self._group.lost or self._group.used
            self._group.used = False
        return process

    async def _failure(self, answer: Any, late: str) -> ToolResult:
        """The result of a call that was not answered, whose process is ended first."""
        process = self._group.process if self._group is not None else self._process
        if process is not None:
            await self._supervisor.end(self.tool, process)
        match answer:
            case NoAnswer(Cause.TIMEOUT):
                return self._result(f"Error: {self.tool.name} {late}", ResultStatus.TIMEOUT)
            case NoAnswer(Cause.CANCELLED):
                return self._result(_INTERRUPTED, ResultStatus.INTERRUPTED)
            case NoAnswer(Cause.ENDED, how):
                return self._result(f"Error: the tool ended unexpectedly ({how})")
            case NoAnswer(Cause.MEMORY):
                return self._result(_over_memory(self._supervisor.options(self.tool).memory or 0))
            case NoAnswer(Cause.HIDDEN):
                return self._result(_HIDES)
            case NoAnswer(Cause.CLOSED):
                return self._result(f"Error: the tool ended unexpectedly ({CLOSED})")
            case {"op": "refused", "message": str(message), "files": [*files]}:
                if (on_refusal := self._supervisor.on_refusal) is not None:
                    on_refusal(NotAccepted(message, map(str, files)))
                return self._result(f"Error: the call is refused: {message}")
            case {"op": "failed", "message": str(message)}:
                return self._result(f"Error: the tool could not be loaded: {message}")
        return self._result(_NO_ANSWER)

    def _result(self, content: str, status: ResultStatus = ResultStatus.ERROR) -> ToolResult:
        return ToolResult(self.call.id, self.call.name, self._redactor.text(content), status)

    def _note(self, traceback: str, on_output: OnOutput | None) -> None:
        """Log a traceback, and show it where that was asked for."""
        if not traceback:
            return
        traceback = self._redactor.text(traceback)
        if self._debug and on_output is not None:
            on_output(traceback)
        if self._supervisor.log is not None:
            with suppress(OSError):
                file = open_private(self._supervisor.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                with os.fdopen(file, "a", encoding="utf-8", errors="replace") as log:
                    log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {self.tool.name}\n{traceback}\n")


def _cut(result: ToolResult, excerpt: Excerpt, images: tuple[Image, ...]) -> CutResult:
    about = (result.status, result.seconds, images or result.images, excerpt.left_out)
    return CutResult(result.call_id, result.name, excerpt.text(), *about, excerpt=excerpt)


def _with_line(result: ToolResult, line: str) -> ToolResult:
    """The result with another line at its end."""
    if not isinstance(result, CutResult):
        return replace(result, content=f"{result.content}\n{line}")
    before = result.excerpt
    return _cut(result, replace(before, tail=f"{before.tail}\n{line}", total=before.total + 1 + len(line)), ())


def _up_to(most: int, on_part: OnPart) -> OnPart:
    """`on_part` for the parts that fit into so many bytes, whatever a tool's process sends."""
    room = most

    def take(text: str) -> None:
        nonlocal room
        room -= len(text.encode("utf-8", "replace"))
        if room >= 0:
            on_part(text)

    return take


def _over_memory(limit: int) -> str:
    return f"Error: the tool went over its memory limit of {limit // MIB} MiB (memory: in the tools file)"


async def _acquired(lock: asyncio.Lock, cancel: asyncio.Event | None) -> bool:
    """Wait for `lock` or for `cancel`; whether the lock is held now."""
    if cancel is None:
        return await lock.acquire()
    taking, cancelled = asyncio.ensure_future(lock.acquire()), asyncio.ensure_future(cancel.wait())
    try:
        await asyncio.wait({taking, cancelled}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        if taking.done() and not taking.cancelled():
            lock.release()
        raise
    finally:
        cancelled.cancel()
        taking.cancel()
    return taking.done() and not taking.cancelled()

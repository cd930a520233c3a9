"""One call of a server's tool, from its arguments to its result. Whatever its server does, the call has a result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from toolchat.images.returned import received
from toolchat.tools.host.channel import Message
from toolchat.tools.host.process_client import seconds_text
from toolchat.tools.mcp.client import McpTools, ServerState
from toolchat.tools.result import MAX_KEPT
from toolchat.tools.toolbox import Tool
from toolchat.wire.excerpt import Excerpt
from toolchat.wire.messages import CallOrigin, CutResult, ResultStatus, ToolCall, ToolResult

CHECK_SECONDS = 10.0
CANCEL_SECONDS = 0.5
"""For the server to be told, and for its bridge to say so."""
_INTERRUPTED = "Error: interrupted by the user"
_TICK = 0.25
_NO_ANSWER = "Error: the server's answer could not be understood"


class McpCall:
    """A call whose arguments fit, and that waits for the decision whether it runs. See `PreparedCall`."""

    def __init__(self, mcp: McpTools, state: ServerState, tool: Tool, call: ToolCall) -> None:
        self.tool = tool
        self.call = call
        self._mcp = mcp
        self._state = state
        # As it was shown: where it is another by the time it is to run, the bridge refuses.
        self._own = state.offered.own_names.get(tool.name, "")
        self._fingerprint = state.offered.fingerprints.get(tool.name, "")

    async def check(self, cancel: asyncio.Event | None = None) -> McpCall | ToolResult:
        """Itself, with `call` as converted, or why it cannot run."""
        answer = await self._ask("check", CHECK_SECONDS, cancel)
        match answer:
            case {"op": "checked", "arguments": dict(arguments), "repaired": bool(repaired)}:
                if repaired:
                    self.call = replace(self.call, arguments=arguments, origin=CallOrigin.REPAIRED)
                return self
            case {"op": "rejected", "message": str(message)}:
                return self._result(message)
        return self._failure(answer, f"did not check its arguments within {seconds_text(CHECK_SECONDS)}")

    async def run(
        self,
        cancel: asyncio.Event | None = None,
        on_output: Callable[[str], None] | None = None,
        on_part: Callable[[str], None] | None = None,
    ) -> ToolResult:
        """Run the call until it answers, its tool's time is over, or `cancel` is set; always has a result."""
        started = time.monotonic()
        seconds = self.tool.options.timeout
        answer = await self._ask("call", seconds, cancel, on_output, on_part)
        late = f"did not answer within {seconds_text(seconds)} (timeout: in the tools file)"
        return replace(self._made(answer, late), seconds=time.monotonic() - started)

    async def discard(self) -> None:
        """Nothing waits for a call that has not begun."""

    def _made(self, answer: Message | None, late: str) -> ToolResult:
        match answer:
            case {"op": "result", "content": str(content), "ok": bool(ok), "images": [*files]}:
                result = self._result(content, ResultStatus.OK if ok else ResultStatus.ERROR)
            case {
                "op": "result",
                "content": {"head": str(head), "tail": str(tail), "total": int(total)},
                "ok": bool(ok),
                "images": [*files],
            }:
                excerpt = Excerpt(head, tail, total)
                status = ResultStatus.OK if ok else ResultStatus.ERROR
                result = CutResult(
                    self.call.id, self.call.name, excerpt.text(), status, left_out=excerpt.left_out, excerpt=excerpt
                )
            case _:
                return self._failure(answer, late)
        images = received(files, self.tool.name)
        return replace(result, images=images) if images is not None else self._result(_NO_ANSWER)

    def _failure(self, answer: Message | None, late: str) -> ToolResult:
        match answer:
            case None:
                return self._result(f"Error: {self.tool.name} {late}", ResultStatus.TIMEOUT)
            case {"status": "interrupted"}:
                return self._result(_INTERRUPTED, ResultStatus.INTERRUPTED)
            case {"op": "failed", "why": str(why)}:
                return self._result(f"Error: {why}")
        return self._result(_NO_ANSWER)

    async def _ask(
        self,
        op: str,
        seconds: float,
        cancel: asyncio.Event | None = None,
        on_output: Callable[[str], None] | None = None,
        on_part: Callable[[str], None] | None = None,
    ) -> Message | None:
        """The bridge's answer; None where there was none in time. While the user is asked something, no time passes.

        A call that is given up is cancelled at its server.
        """
        if cancel is not None and cancel.is_set():
            return {"op": "failed", "why": "", "status": "interrupted"}
        answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        room = MAX_KEPT

        def heard(message: Message) -> None:
            nonlocal room
            match message:
                case {"op": "said", "text": str(text)}:
                    if on_output is not None:
                        on_output(text)
                case {"op": "part", "text": str(text)}:
                    room -= len(text.encode("utf-8", "replace"))
                    if on_part is not None and room >= 0:
                        on_part(text)
                case {"op": "checked" | "rejected" | "result" | "failed"} if not answered.done():
                    answered.set_result(message)

        state, arguments = self._state, self.call.arguments
        message = {"op": op, "tool": self._own, "fingerprint": self._fingerprint, "arguments": arguments}
        number = self._mcp.request(state, message, heard)
        cancelled = asyncio.ensure_future(cancel.wait()) if cancel is not None else None
        waits: set[asyncio.Future[object]] = {one for one in (answered, cancelled) if one is not None}  # type: ignore[misc]
        try:
            left = seconds
            while left > 0:
                slice_ = min(_TICK, left)
                done, _ = await asyncio.wait(waits, timeout=slice_, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    break
                if not self._mcp.questions.are_open(state.server.name):
                    left -= slice_
            if answered.done():
                return answered.result()
            interrupted = cancel is not None and cancel.is_set()
            if op == "call":
                self._mcp.cancel(state, number)
                self._mcp.questions.withdraw_all(state.server.name)
                await asyncio.wait({answered}, timeout=CANCEL_SECONDS)
                # What came in the same instant is still the answer.
                if answered.done() and answered.result().get("op") == "result":
                    return answered.result()
            return {"op": "failed", "why": "", "status": "interrupted"} if interrupted else None
        except asyncio.CancelledError:
            if op == "call":
                self._mcp.cancel(state, number)
            raise
        finally:
            self._mcp.forget(number)
            if cancelled is not None:
                cancelled.cancel()

    def _result(self, content: str, status: ResultStatus = ResultStatus.ERROR) -> ToolResult:
        return ToolResult(self.call.id, self.call.name, content, status)

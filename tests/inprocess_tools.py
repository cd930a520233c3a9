"""A stand-in for the tools' own processes, for tests that are about something else and are to be quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from toolchat.images.image import image_from_bytes
from toolchat.images.returned import without_pictures
from toolchat.tools.argument_check import Rejected, check_arguments
from toolchat.tools.toolbox import LoadedToolbox, Tool
from toolchat.tools.values import error_text, result_text
from toolchat.wire.messages import CallOrigin, ResultStatus, ToolCall, ToolResult


class InProcessRunner:
    """A tool runner without isolation, for the speed of tests: threads, and the real loading and checking."""

    def __init__(self, loaded: LoadedToolbox, says: str = "") -> None:
        self.loaded = loaded
        self.says = says
        self.toolbox = loaded.toolbox
        self.discarded: list[str] = []
        self.digest: str | None = None
        """What calls find that the code is now; None for what was loaded."""

    async def prepare(self, tool: Tool, call: ToolCall, cancel: asyncio.Event | None = None) -> Any:
        loaded = self.loaded.get(tool.name)
        assert loaded is not None
        checked = check_arguments(loaded, call.arguments)
        if isinstance(checked, Rejected):
            return ToolResult(call.id, call.name, checked.message, ResultStatus.ERROR)
        if checked.repaired:
            call = replace(call, arguments=checked.arguments, origin=CallOrigin.REPAIRED)
        tool = replace(tool, source_digest=self.digest or tool.source_digest)
        return InProcessCall(self, tool, call, lambda: loaded.function(**checked.values))

    async def settled(self) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass
class InProcessCall:
    runner: InProcessRunner
    tool: Tool
    call: ToolCall
    work: Callable[[], Any]

    async def run(
        self, cancel: asyncio.Event, on_output: Callable[[str], None], on_part: Callable[[str], None]
    ) -> ToolResult:
        if self.runner.says:
            on_output(self.runner.says)
        work = asyncio.create_task(asyncio.to_thread(self.work))
        cancelled = asyncio.create_task(cancel.wait())
        await asyncio.wait({work, cancelled}, timeout=self.tool.options.timeout, return_when=asyncio.FIRST_COMPLETED)
        content, status = "Error: interrupted", ResultStatus.INTERRUPTED
        files: list[bytes] = []
        if work.done():
            status = ResultStatus.OK
            try:
                value, files = without_pictures(work.result())
                content = result_text(value)
            except Exception as error:
                content, status = error_text(error), ResultStatus.ERROR
        cancelled.cancel()
        images = tuple(image_from_bytes(file, self.call.name) for file in files)
        return ToolResult(self.call.id, self.call.name, content, status, images=images)

    async def discard(self) -> None:
        self.runner.discarded.append(self.call.id)

"""Hooks: the user's own commands that are asked before and after each call of a tool, with JSON in and JSON out.

What a hook does not clearly pass is not run, or not shown to the model: a failure, a time limit and nonsense are a no.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchat.mistral.json_scan import nests_too_deep
from toolchat.tools.rules import call_of
from toolchat.tools.toolbox import Tool
from toolchat.tools.variables import OWN_PREFIX
from toolchat.wire.messages import CutResult, ToolCall, ToolResult

_MAX_ANSWER = 16 * 1024**2
"""Bytes of a hook's output."""
_MAX_SAID = 300
"""Characters of standard error that a notice quotes, its last."""

_END_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Passed:
    """Goes on, with what the hook has put in place of the arguments or the result; None where that stays."""

    replaced: Any = None


@dataclass(frozen=True, slots=True)
class Refused:
    reason: str
    """For the model."""
    problem: str = ""
    """What went wrong with the hook, for the user."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The commands of the settings; without words, none."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    timeout: float = 10.0
    """Seconds that one run may take."""
    folder: Path = Path("/")
    """Where they run: not in the user's working directory, whose files could then be what a name means."""

    async def before_tool(self, tool: Tool, call: ToolCall) -> Passed | Refused:
        """What the hook says of a call that is to run; `replaced` are other arguments."""
        if not self.before:
            return Passed()
        answer = await self._ask("before_tool", self.before, _about(tool, call))
        if isinstance(answer, Refused):
            return answer
        if "arguments" in answer and not isinstance(answer["arguments"], dict):
            return _failed("before_tool", "its arguments are no object")
        return _decision("before_tool", answer, "arguments")

    async def after_tool(self, tool: Tool, call: ToolCall, result: ToolResult) -> Passed | Refused:
        """What the hook says of a result that the model is to be shown; `replaced` is another text."""
        if not self.after:
            return Passed()
        left_out = result.excerpt.left_out if isinstance(result, CutResult) else result.left_out
        of_result = {
            "result": result.content,
            "status": str(result.status),
            "images": len(result.images),
            "left_out": left_out,
        }
        answer = await self._ask("after_tool", self.after, _about(tool, call) | of_result)
        if isinstance(answer, Refused):
            return answer
        if "result" in answer and not isinstance(answer["result"], str):
            return _failed("after_tool", "its result is no text")
        return _decision("after_tool", answer, "result")

    async def _ask(self, event: str, words: tuple[str, ...], about: Mapping[str, Any]) -> dict[str, Any] | Refused:
        """The object that the command answers with."""
        data = json.dumps({"version": 1, "event": event, **about}).encode()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN_PREFIX)}
        try:
            # A session of its own: it has no terminal to write to, and all that it starts can be ended with it.
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self.folder if self.folder.is_dir() else "/",
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return _failed(event, f"{words[0]} cannot be started: {getattr(error, 'strerror', None) or error}")
        ended = False
        try:
            async with asyncio.timeout(self.timeout):
                output, said, code = await _talk(process, data)
            ended = True
        except TimeoutError:
            return _failed(event, f"it did not answer within {self.timeout:g} s")
        except ValueError as error:
            return _failed(event, str(error))
        finally:
            if not ended:
                await _end(process)
        if code != 0:
            about_code = f"signal {-code}" if code < 0 else f"exit code {code}"
            return _failed(event, f"{about_code}{f': {said}' if said else ''}")
        return _answer(event, output)


def _about(tool: Tool, call: ToolCall) -> dict[str, Any]:
    return {
        "tool": tool.name,
        "callable": tool.callable_ref,
        "arguments": call.arguments,
        "folder": call_of(tool, call.arguments).folder,
    }


async def _talk(process: Process, data: bytes) -> tuple[bytes, str, int]:
    """What it answered, the end of what it said on standard error, and its exit code. Raises ValueError."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr

    async def write() -> None:
        # A hook that needs no input need not read it.
        with contextlib.suppress(ConnectionError):
            stdin.write(data)
            await stdin.drain()
        stdin.close()

    async def read() -> bytes:
        output = b""
        while piece := await stdout.read(65536):
            output += piece
            if len(output) > _MAX_ANSWER:
                raise ValueError(f"it answered with more than {_MAX_ANSWER // 1024**2} MiB")
        return output

    async def listen() -> str:
        said = b""
        while piece := await stderr.read(65536):
            said = (said + piece)[-4 * _MAX_SAID :]
        return " ".join(said.decode("utf-8", "replace").split())[-_MAX_SAID:]

    writing, reading, listening = (
        asyncio.create_task(write()),
        asyncio.create_task(read()),
        asyncio.create_task(listen()),
    )
    try:
        await asyncio.gather(writing, reading, listening)
    finally:
        for task in (writing, reading, listening):
            task.cancel()
        await asyncio.gather(writing, reading, listening, return_exceptions=True)
    return reading.result(), listening.result(), await process.wait()


async def _end(process: Process) -> None:
    """End it with the processes of its group. One that has left it may hold the output open, and is not waited for."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except TimeoutError:
        # asyncio takes a process for ended only when its pipes are closed, and has no public way to close them.
        vars(process)["_transport"].close()
        await process.wait()


def _answer(event: str, output: bytes) -> dict[str, Any] | Refused:
    expected = 'expected a JSON object such as {"decision": "pass"}'
    try:
        text = output.decode()
        answer = json.loads(text) if not nests_too_deep(text) else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return _failed(event, f"it answered {'nothing' if not output.strip() else 'no JSON object'}; {expected}")
    known = {"decision", "reason", "arguments" if event == "before_tool" else "result"}
    if unknown := answer.keys() - known:
        return _failed(event, f"it answered with the unknown key {min(unknown)!r}; expected {', '.join(sorted(known))}")
    if answer.get("decision", "pass") not in ("pass", "deny") or not isinstance(answer.get("reason", ""), str):
        return _failed(event, 'its decision is neither "pass" nor "deny", or its reason no text')
    return answer


def _decision(event: str, answer: Mapping[str, Any], key: str) -> Passed | Refused:
    if answer.get("decision") == "deny":
        return Refused(answer.get("reason") or f"the user's {event} hook does not allow it")
    return Passed(answer.get(key))


def _failed(event: str, problem: str) -> Refused:
    return Refused(f"the user's {event} hook failed", f"the {event} hook failed: {problem}")


NO_HOOKS = Hooks()

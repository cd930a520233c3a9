"""The local engine: a worker process with vLLM in it, seen from the chat's side. Nothing here imports vLLM or torch.

The worker has its own session, so that the terminal's Ctrl-C is not its Ctrl-C, and its own log file. If it dies,
every request under way fails with `EngineCrashedError`, and `start` makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolchat.engine.base import (
    ContextOverflowError,
    EngineCrashedError,
    EngineInfo,
    GenerateOptions,
)
from toolchat.engine.codec import LINE_LIMIT, decode_count, decode_delta, encode_message, encode_tool, line
from toolchat.engine.config import EngineConfig
from toolchat.private_file import DistrustedError, open_private, private_folder
from toolchat.wire.deltas import Delta, Finished
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec
from toolchat.wire.tokens import TokenCount

LOGS_KEPT = 10


class LocalEngine:
    """vLLM in a process of our own; see `Engine` for the protocol."""

    def __init__(self, config: EngineConfig, log_folder: Path) -> None:
        self._config = config
        self._log_folder = log_folder
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._states: asyncio.Queue[EngineState | EngineError] = asyncio.Queue()
        self._requests: dict[str, asyncio.Queue[Any]] = {}
        self._numbers = itertools.count()
        self._failure = ""
        self._ended: asyncio.Future[str] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.info: EngineInfo | None = None
        self.log: Path | None = None

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return self._process.pid if self._process else None

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        await self.close()
        self._states = asyncio.Queue()
        self._failure = ""
        self._ended = asyncio.get_running_loop().create_future()
        yield EngineState("starting", self._config.model)
        for note in self._config.notes:
            yield Notice(note)
        await self._spawn()
        while True:
            state = await self._states.get()
            if isinstance(state, EngineError):
                await self.close()
                raise state
            if state.state == "ready" and self._config.debug and self.info is not None:
                yield Notice("; ".join(f"{name}: {value}" for name, value in self.info.details.items()))
            yield state
            if state.state == "ready":
                return

    async def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        queue = self._ask(request_id, "generate", messages, tools, options=asdict(options))
        try:
            while True:
                item = await queue.get()
                if isinstance(item, EngineError):
                    raise item
                for data in item["deltas"]:
                    delta = decode_delta(data)
                    yield delta
                    if isinstance(delta, Finished):
                        return
        finally:
            if self._requests.pop(request_id, None) is not None:
                self.abort(request_id)

    def abort(self, request_id: str) -> None:
        self._send({"op": "abort", "id": request_id})

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        request_id = f"count-{next(self._numbers)}"
        queue = self._ask(request_id, "count", messages, tools, reasoning_effort=reasoning_effort)
        try:
            item = await queue.get()
        finally:
            self._requests.pop(request_id, None)
        if isinstance(item, EngineError):
            raise item
        return decode_count(item["count"])

    async def ended(self) -> str:
        assert self._ended is not None
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        self.info = None
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
            self._reading = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._process is not None:
            self._kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
        self._fail_requests(EngineCrashedError("the engine was closed"))

    def _kill(self) -> None:
        assert self._process is not None
        # The worker leads its own process group; nothing in it holds state that a clean exit would save, and
        # vLLM's clean exit takes seconds.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        self.log = self._new_log()
        if self._config.device == "cpu":
            self._scratch = tempfile.TemporaryDirectory(prefix="toolchat-engine-", ignore_cleanup_errors=True)
        # Popen, not asyncio's subprocess, and here, in the main thread: the kernel ends the worker when the
        # thread that started it ends.
        log_file = open_private(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(log_file, "wb") as log, theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [
                    sys.executable,
                    "-P",  # the folder the user is in must not shadow any module
                    "-m",
                    "toolchat.engine.worker",
                    f"--fd={theirs.fileno()}",
                    f"--parent={os.getpid()}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=self._environment(),
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=LINE_LIMIT)
        self._writer.write(line(asdict(self._config)))
        self._reading = asyncio.create_task(self._read(reader), name="engine-reader")

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(self._config.threads))
        environment.setdefault("VLLM_LOGGING_LEVEL", "INFO" if self._config.debug else "WARNING")
        environment |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            # The model is a folder by now: nothing is left to ask a hub for.
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
            # -P does not reach the interpreters that vLLM, Triton and Inductor start from it.
            "PYTHONSAFEPATH": "1",
        }
        if self._config.device == "cuda":
            # As nvidia-smi counts; CUDA's own order puts the fastest first.
            environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        if self._scratch is not None:
            # vLLM and torch leave sockets and files in the temporary folder behind. Not on a GPU: there it is where
            # compiled kernels are kept for the next start.
            environment["TMPDIR"] = self._scratch.name
        return environment

    def _new_log(self) -> Path:
        name = f"engine-{os.getpid()}-{next(self._numbers)}.log"
        try:
            private_folder(self._log_folder)
        except DistrustedError:
            # Others could have it written into any file. Without a log, nobody could tell why a model does not load.
            return Path(tempfile.mkdtemp(prefix="toolchat-log-"), name)
        logs = sorted(self._log_folder.glob("engine-*.log"), key=lambda file: file.stat().st_mtime)
        for old in logs[: -LOGS_KEPT + 1]:
            old.unlink(missing_ok=True)
        return self._log_folder / name

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while row := await reader.readline():
                self._dispatch(json.loads(row))
        await self._died()

    def _dispatch(self, message: dict[str, Any]) -> None:
        match message:
            case {"op": "deltas" | "count", "id": request_id}:
                if (queue := self._requests.get(request_id)) is not None:
                    queue.put_nowait(message)
            case {"op": "error", "id": request_id, "message": text}:
                if (queue := self._requests.get(request_id)) is not None:
                    queue.put_nowait(EngineError(text))
            case {"op": "overflow", "id": request_id, "message": text, "count": count, "context": context}:
                if (queue := self._requests.get(request_id)) is not None:
                    queue.put_nowait(ContextOverflowError(text, decode_count(count), context))
            case {"op": "state", "state": state}:
                self._states.put_nowait(EngineState(state, self._config.model))
            case {"op": "failed", "message": text}:
                self._failure = text
            case {"op": "ready", **info}:
                self.info = EngineInfo(
                    model=self._config.model, **info | {"reasoning_efforts": tuple(info["reasoning_efforts"])}
                )
                self._states.put_nowait(EngineState("ready", self._config.model))

    async def _died(self) -> None:
        assert self._process is not None
        code = await asyncio.to_thread(self._process.wait)
        ready, self.info = self.info is not None, None
        how = self._failure or (
            f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"
        )
        if ready:
            crash = f"the engine crashed ({how}); its log is {self.log}"
            self._fail_requests(EngineCrashedError(crash))
            if self._ended is not None and not self._ended.done():
                self._ended.set_result(crash)
        else:
            hint = " (out of memory?)" if code == -signal.SIGKILL and not self._failure else ""
            failure = EngineError(f"{self._config.model} could not be loaded: {how}{hint}; its log is {self.log}")
            self._states.put_nowait(failure)
            self._fail_requests(failure)

    def _fail_requests(self, error: EngineError) -> None:
        for queue in self._requests.values():
            queue.put_nowait(error)

    def _ask(
        self, request_id: str, op: str, messages: Sequence[Message], tools: Sequence[ToolSpec], **more: Any
    ) -> asyncio.Queue[Any]:
        if self.info is None:
            raise EngineCrashedError("the engine is not running")
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self._requests[request_id] = queue
        self._send(
            {
                "op": op,
                "id": request_id,
                "messages": [encode_message(message) for message in messages],
                "tools": [encode_tool(tool) for tool in tools],
                **more,
            }
        )
        return queue

    def _send(self, message: dict[str, Any]) -> None:
        # A worker that died meanwhile is noticed by the reader, which fails the requests.
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line(message))

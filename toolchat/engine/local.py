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
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeAlias

from toolchat.engine.base import (
    AnswerBrokenError,
    ContextOverflowError,
    EngineCrashedError,
    EngineInfo,
    GenerateOptions,
)
from toolchat.engine.config import EngineConfig
from toolchat.engine.gpu import PCI_ORDER
from toolchat.engine.remote.config import ServerConfig
from toolchat.environment import refused
from toolchat.private_file import DistrustedError, open_private, private_folder
from toolchat.wire.codec import LINE_LIMIT, decode_count, decode_delta, encode_message, encode_tool, line
from toolchat.wire.deltas import Delta, Finished, Note
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec
from toolchat.wire.tokens import TokenCount

LOGS_KEPT = 10
WORKER = (sys.executable, "-P", "-m", "toolchat.engine.worker")
"""The command that starts a worker. `-P`: the folder the user is in must not shadow any module."""

_END_SECONDS = 1.0
"""A worker that closed its socket has this long to end by itself, and so to show how."""
_LOOK_SECONDS = 0.01

_Answer: TypeAlias = list[Delta] | TokenCount | EngineError
"""What a request is told: a part of its stream, its count, or why there is neither."""

_log_numbers = itertools.count()


class LocalEngine:
    """A process of our own with vLLM in it, or one that speaks to a server; see `Engine` for the protocol."""

    def __init__(
        self, config: EngineConfig | ServerConfig, log_folder: Path, *, worker: Sequence[str] = WORKER
    ) -> None:
        """`worker` is the command of its process, which gets `--fd=NUMBER --parent=PID` too."""
        self._config = config
        self._log_folder = log_folder
        self._command = worker
        self._worker: _Worker | None = None
        self._numbers = itertools.count()
        self.log: Path | None = None
        """Of the last start."""

    @property
    def info(self) -> EngineInfo | None:
        return self._worker.info if self._worker is not None else None

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return self._worker.pid if self._worker is not None else None

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        await self.close()
        yield EngineState("starting", self._config.model)
        for note in self._config.notes:
            yield Notice(note)
        self.log = new_log(self._log_folder)
        try:
            worker = self._worker = _Worker(self._config, self._command, self.log)
        except OSError as error:
            raise EngineError(f"the engine's process cannot be started: {refused(error) or error}") from None
        await worker.connect()
        while True:
            state = await worker.states.get()
            if isinstance(state, EngineError):
                await self.close()
                raise state
            if state.state == "ready" and worker.info is not None:
                for note in worker.info.notes:
                    yield Notice(note)
                if self._config.debug:
                    yield Notice("; ".join(f"{name}: {value}" for name, value in worker.info.details.items()))
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
        worker = self._running()
        answers = worker.ask(request_id, "generate", messages, tools, options=asdict(options))
        over = begun = False
        try:
            while not over:
                deltas = await answers.get()
                if isinstance(deltas, EngineError):
                    over = True
                    # Nothing is lost where nothing came: the question can be asked again.
                    raise deltas if begun or not isinstance(deltas, AnswerBrokenError) else EngineError(str(deltas))
                assert isinstance(deltas, list)
                for delta in deltas:
                    over = isinstance(delta, Finished)
                    begun = begun or not isinstance(delta, Note)
                    yield delta
        finally:
            worker.forget(request_id)
            if not over:
                worker.send({"op": "abort", "id": request_id})

    def abort(self, request_id: str) -> None:
        if self._worker is not None:
            self._worker.send({"op": "abort", "id": request_id})

    async def count(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], reasoning_effort: str | None = None
    ) -> TokenCount:
        worker = self._running()
        request_id = f"count-{next(self._numbers)}"
        answers = worker.ask(request_id, "count", messages, tools, reasoning_effort=reasoning_effort)
        try:
            count = await answers.get()
        finally:
            worker.forget(request_id)
        if isinstance(count, EngineError):
            raise count
        assert isinstance(count, TokenCount)
        return count

    async def ended(self) -> str:
        if self._worker is None:
            raise EngineCrashedError("the engine is not running")
        return await asyncio.shield(self._worker.crashed)

    async def close(self) -> None:
        if (worker := self._worker) is None:
            return
        await worker.close()
        if self._worker is worker:
            self._worker = None

    def _running(self) -> _Worker:
        if self._worker is None or self._worker.info is None:
            raise EngineCrashedError("the engine is not running")
        return self._worker


class _Worker:
    """One worker process, from its start to its end, and the requests that it serves.

    Whatever goes wrong in reading from it ends it and fails its requests: none of them waits for ever.
    """

    def __init__(self, config: EngineConfig | ServerConfig, command: Sequence[str], log: Path | None) -> None:
        """Start it. Call in the main thread: the kernel ends the worker when the thread that started it ends."""
        self._config = config
        self._where = f"; its log is {log}" if log is not None else ""
        self.info: EngineInfo | None = None
        """None until it is ready, and again when it has ended."""
        self.states: asyncio.Queue[EngineState | EngineError] = asyncio.Queue()
        """Of loading, up to "ready"; an error where it ended before."""
        self.crashed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """How it ended, where it was ready and nobody asked it to end."""
        self._answers: dict[str, asyncio.Queue[_Answer]] = {}
        self._failure = ""
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[int] | None = None
        # vLLM and torch leave sockets and files in the temporary folder behind. Not on a GPU: there it is where
        # compiled kernels are kept for the next start.
        self._scratch = (
            tempfile.TemporaryDirectory(prefix="toolchat-engine-", ignore_cleanup_errors=True)
            if config.device == "cpu"
            else None
        )
        self._socket, theirs = socket.socketpair()
        try:
            with theirs, _output(log) as output:
                self._process = subprocess.Popen(
                    [*command, f"--fd={theirs.fileno()}", f"--parent={os.getpid()}"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    env=worker_environment(config, self._scratch.name if self._scratch is not None else None),
                )
        except BaseException:
            self._release()
            raise
        self.pid = self._process.pid

    async def connect(self) -> None:
        """Tell it what to load, and begin to hear it."""
        reader, self._writer = await asyncio.open_connection(sock=self._socket, limit=LINE_LIMIT)
        self.send(asdict(self._config))
        self._reading = asyncio.create_task(self._read(reader), name="engine-reader")

    def ask(
        self, request_id: str, op: str, messages: Sequence[Message], tools: Sequence[ToolSpec], **more: Any
    ) -> asyncio.Queue[_Answer]:
        """Begin a request; what it is told, until it is forgotten."""
        answers: asyncio.Queue[_Answer] = asyncio.Queue()
        self._answers[request_id] = answers
        self.send(
            {
                "op": op,
                "id": request_id,
                "messages": [encode_message(message) for message in messages],
                "tools": [encode_tool(tool) for tool in tools],
                **more,
            }
        )
        return answers

    def forget(self, request_id: str) -> None:
        self._answers.pop(request_id, None)

    def send(self, message: dict[str, Any]) -> None:
        # A worker that died meanwhile is noticed by the reader, which fails the requests.
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(line(message))

    async def close(self) -> None:
        """End it, however far it is. May be called again, and by several at once."""
        self.info = None
        self._kill()
        if self._reading is not None:
            self._reading.cancel()
        closed = EngineCrashedError("the engine was closed")
        self._fail_requests(closed)
        self.states.put_nowait(closed)
        await self._end(0)
        self._release()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            # The last line of a worker that is killed may be half of one.
            while (row := await reader.readline()).endswith(b"\n"):
                self._hear(json.loads(row))
        except ConnectionError:
            pass
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            self._failure = f"its process sent what cannot be understood: {type(error).__name__}: {text}"
            self._kill()
        was_ready, self.info = self.info is not None, None
        code = await self._end(_END_SECONDS)
        how = self._failure or _how_it_ended(code)
        if was_ready:
            crash = f"the engine crashed ({how}){self._where}"
            self._fail_requests(EngineCrashedError(crash))
            self.crashed.set_result(crash)
        else:
            hint = " (out of memory?)" if code == -signal.SIGKILL and not self._failure else ""
            loading = EngineError(f"{self._config.model} could not be loaded: {how}{hint}{self._where}")
            # What a server says is told as it is: nothing is loaded here, and the log adds nothing.
            told = isinstance(self._config, ServerConfig) and self._failure
            self.states.put_nowait(EngineError(self._failure) if told else loading)

    def _hear(self, message: dict[str, Any]) -> None:
        match message:
            case {"op": "deltas", "id": request_id, "deltas": deltas}:
                self._answer(request_id, [decode_delta(delta) for delta in deltas])
            case {"op": "count", "id": request_id, "count": count}:
                self._answer(request_id, decode_count(count))
            case {"op": "error", "id": request_id, "message": text}:
                self._answer(request_id, EngineError(text))
            case {"op": "broken", "id": request_id, "message": text}:
                self._answer(request_id, AnswerBrokenError(text))
            case {"op": "overflow", "id": request_id, "message": text, "count": count, "context": context}:
                self._answer(request_id, ContextOverflowError(text, decode_count(count), context))
            case {"op": "state", "state": state}:
                self.states.put_nowait(EngineState(state, self._config.model))
            case {"op": "failed", "message": text}:
                self._failure = text
            case {"op": "ready", **info}:
                info |= {name: tuple(info.get(name, ())) for name in ("reasoning_efforts", "models", "notes")}
                self.info = EngineInfo(**{"model": self._config.model} | info)
                self.states.put_nowait(EngineState("ready", self.info.model))
            case _:
                raise ValueError(f"no message of a worker: {message!r}")

    def _answer(self, request_id: str, answer: _Answer) -> None:
        # An aborted request is forgotten before its last deltas come.
        if (answers := self._answers.get(request_id)) is not None:
            answers.put_nowait(answer)

    def _fail_requests(self, error: EngineError) -> None:
        for answers in self._answers.values():
            answers.put_nowait(error)

    async def _end(self, seconds: float) -> int:
        """Wait for its end, which is forced after `seconds`; its exit code, negative for a signal."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._reap(seconds), name="engine-end")
        # Not awaited itself: whoever stops waiting must not leave the process behind.
        return await asyncio.shield(self._ending)

    async def _reap(self, seconds: float) -> int:
        until = time.monotonic() + seconds
        forced = False
        try:
            while not self._exited():
                if time.monotonic() >= until:
                    self._kill()
                    forced = True
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            # What it started and left in its group. Its number is its own until it is waited for: `_kill` must come
            # before, and never after.
            self._kill()
        code = self._process.wait()
        # One that was dying already ends as it would have, however long the GPU's driver takes to let go of it.
        if forced and code == -signal.SIGKILL:
            self._failure = self._failure or "its process closed its socket and did not end"
        return code

    def _exited(self) -> bool:
        """Whether it has ended; its number stays its own."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill(self) -> None:
        """Kill it and all of its group, unless its number may be another's by now.

        Nothing in the group holds state that a clean exit would save, and vLLM's clean exit takes seconds.
        """
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _release(self) -> None:
        """Close the socket and delete the temporary folder."""
        if self._writer is not None:
            self._writer.close()
        else:
            self._socket.close()
        if self._scratch is not None:
            self._scratch.cleanup()


def worker_environment(config: EngineConfig | ServerConfig, temporary: str | None = None) -> dict[str, str]:
    """The environment of a worker; `temporary` is a folder for what it leaves behind."""
    environment = dict(os.environ)
    if isinstance(config, ServerConfig):
        # The key goes through the socket: what a process is started with, others may read.
        environment.pop("TOOLCHAT_API_KEY", None)
        return environment | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "DO_NOT_TRACK": "1"}
    environment.setdefault("OMP_NUM_THREADS", str(config.threads))
    environment.setdefault("VLLM_LOGGING_LEVEL", "INFO" if config.debug else "WARNING")
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
    if config.device == "cuda":
        # As nvidia-smi counts; CUDA's own order puts the fastest first.
        environment["CUDA_DEVICE_ORDER"] = environment.get("CUDA_DEVICE_ORDER") or PCI_ORDER
    if temporary is not None:
        environment["TMPDIR"] = temporary
    return environment


def _output(log: Path | None) -> IO[bytes]:
    """Where the worker's output goes."""
    if log is None:
        return Path(os.devnull).open("wb")
    return os.fdopen(open_private(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")


def new_log(folder: Path) -> Path | None:
    """A name for a log in `folder`, where the oldest are deleted; None where nothing can be written.

    Another toolchat may be doing the same.
    """
    name = f"engine-{os.getpid()}-{next(_log_numbers)}.log"
    try:
        private_folder(folder)
    except DistrustedError:
        # Others could have it written into any file. Without a log, nobody could tell why a model does not load.
        return Path(tempfile.mkdtemp(prefix="toolchat-log-"), name)
    except OSError:
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    logs: list[tuple[float, Path]] = []
    for file in folder.glob("engine-*.log"):
        with contextlib.suppress(OSError):
            logs.append((file.stat().st_mtime, file))
    for _, old in sorted(logs)[: -LOGS_KEPT + 1]:
        with contextlib.suppress(OSError):
            old.unlink()
    return folder / name


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"  # a real-time signal has no name

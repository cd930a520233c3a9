"""The local engine: a worker process with vLLM in it, seen from the chat's side. Nothing here imports vLLM or torch.

The worker has its own session, so that the terminal's Ctrl-C is not its Ctrl-C, its own log file, and on a CPU its own
temporary folder. If it dies, every request under way fails with `EngineCrashedError`, and `start` makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO

from toolchat.engine.config import EngineConfig
from toolchat.engine.gpu import OWN_SAMPLER, PCI_ORDER
from toolchat.engine.kept.place import SCRATCH
from toolchat.engine.link import Link, LinkedEngine
from toolchat.engine.remote.config import ServerConfig
from toolchat.environment import refused
from toolchat.private_file import DistrustedError, open_private, private_folder
from toolchat.wire.codec import LINE_LIMIT
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice

LOGS_KEPT = 10
WORKER = (sys.executable, "-P", "-m", "toolchat.engine.worker")
"""The command that starts a worker. `-P`: the folder the user is in must not shadow any module."""

_LOOK_SECONDS = 0.01
_LOCK = ".in-use"
"""The file in a temporary folder that whoever uses it holds."""
_YOUNG_SECONDS = 60.0
"""A temporary folder that is younger may not have its lock yet."""

_log_numbers = itertools.count()
_left: list[subprocess.Popen[bytes]] = []
"""Kept workers that this process started and has let go: they are waited for when the next one starts."""


class LocalEngine(LinkedEngine):
    """A process of our own with vLLM in it, or one that speaks to a server; see `Engine` for the protocol."""

    def __init__(
        self, config: EngineConfig | ServerConfig, log_folder: Path, *, worker: Sequence[str] = WORKER
    ) -> None:
        """`worker` is the command of its process, which gets `--fd=NUMBER --parent=PID` too."""
        super().__init__()
        self._config = config
        self._log_folder = log_folder
        self._command = worker
        self._worker: Worker | None = None
        self.log: Path | None = None
        """Of the last start."""

    @property
    def pid(self) -> int | None:
        """Of the worker, while there is one."""
        return self._worker.pid if self._link is not None and self._worker is not None else None

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        await self.close()
        yield EngineState("starting", self._config.model)
        for note in self._config.notes:
            yield Notice(note)
        self.log = new_log(self._log_folder)
        self._link = self._worker = start_worker(self._config, self._command, self.log)
        await self._worker.connect()
        async for state in self._loading(self._worker, debug=self._config.debug):
            yield state


def start_worker(
    config: EngineConfig | ServerConfig,
    command: Sequence[str],
    log: Path | None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> Worker:
    """A new worker, as `Worker` has it. Raises EngineError where there can be none."""
    try:
        return Worker(config, command, log, environment=environment, folder=folder)
    except OSError as error:
        raise EngineError(f"the engine's process cannot be started: {refused(error) or error}") from None


class Worker(Link):
    """A worker process that this one has started, which ends with the connection unless it is let go."""

    def __init__(
        self,
        config: EngineConfig | ServerConfig,
        command: Sequence[str],
        log: Path | None,
        *,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
    ) -> None:
        """Start it, in `folder` where one is given, with what it needs of `environment` (None: this process's).

        Call in the main thread: the kernel ends the worker when the thread that started it ends.
        """
        super().__init__(config.model)
        self._config = config
        self.log = str(log) if log is not None else None
        self.kept: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """What it answers to `let_go`."""
        self._own = True
        """Whether it is to end with this connection."""
        self._ending: asyncio.Task[int] | None = None
        # Not on a GPU: there the temporary folder is where compiled kernels are kept for the next start.
        self._scratch = Scratch() if config.device == "cpu" else None
        self._socket, theirs = socket.socketpair()
        for worker in [worker for worker in _left if worker.poll() is not None]:
            _left.remove(worker)
        try:
            with theirs, _output(log) as output:
                self._process = subprocess.Popen(
                    [*command, f"--fd={theirs.fileno()}", f"--parent={os.getpid()}"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # The scratch folder's lock is held by the worker too, which may outlive this process.
                    pass_fds=(theirs.fileno(), *([self._scratch.lock] if self._scratch is not None else [])),
                    start_new_session=True,
                    cwd=folder,
                    env=worker_environment(config, self.scratch, environment),
                )
        except BaseException:
            self._socket.close()
            self._release()
            raise
        self.pid = self._process.pid

    @property
    def scratch(self) -> str | None:
        """Its temporary folder; None where it has none of its own."""
        return self._scratch.path if self._scratch is not None else None

    async def connect(self) -> None:
        """Tell it what to load, and begin to hear it."""
        reader, writer = await asyncio.open_connection(sock=self._socket, limit=LINE_LIMIT)
        self.begin(reader, writer, asdict(self._config))

    async def let_go(self, terms: Mapping[str, object]) -> str:
        """Have it outlive this process and be found by others; why not, or "".

        From then on the connection is one of a client: closing it ends nothing.
        """
        self.send({"op": "keep", **terms})
        done, _ = await asyncio.wait({self.kept, self.crashed}, return_when=asyncio.FIRST_COMPLETED)
        if self.kept not in done:
            return self.crashed.result()
        if not (why := self.kept.result()):
            self._own = False
            if self._scratch is not None:
                self._scratch.leave()
        return why

    def _hear(self, message: dict[str, object]) -> None:
        match message:
            case {"op": "kept", "why": str(why)} if not self.kept.done():
                self.kept.set_result(why)
            case _:
                super()._hear(message)

    def _not_loaded(self, how: str) -> EngineError:
        if isinstance(self._config, ServerConfig) and self.failure:
            return EngineError(self.failure)  # what a server says: nothing is loaded here, and the log adds nothing
        hint = " (out of memory?)" if self._process.returncode == -signal.SIGKILL and not self.failure else ""
        return super()._not_loaded(how + hint)

    def _give_up(self) -> None:
        self._kill()

    async def _over(self, seconds: float) -> str:
        if not self._own:
            return await self._let_go_ended(seconds)
        if self._ending is None:
            self._ending = asyncio.create_task(self._reap(seconds), name="engine-end")
        # Not awaited itself: whoever stops waiting must not leave the process behind.
        code = await asyncio.shield(self._ending)
        self._release()
        return self.failure or _how_it_ended(code)

    async def _let_go_ended(self, seconds: float) -> str:
        until = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
        if self._process.returncode is None:
            if self._process not in _left:
                _left.append(self._process)
            return self.failure or "it closed the connection"
        self._release()
        return self.failure or _how_it_ended(self._process.returncode)

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
            self.failure = self.failure or "its process closed its socket and did not end"
        return code

    def _exited(self) -> bool:
        """Whether it has ended; its number stays its own."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _kill(self) -> None:
        """Kill it and all of its group, unless it was let go, or its number may be another's by now.

        Nothing in the group holds state that a clean exit would save, and vLLM's clean exit takes seconds.
        """
        if self._own and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _release(self) -> None:
        """Delete the temporary folder of a process that has ended."""
        if self._scratch is not None:
            self._scratch.delete()


def worker_environment(
    config: EngineConfig | ServerConfig, temporary: str | None = None, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a worker; `temporary` is a folder for what it leaves behind, `given` what it is made of."""
    environment = dict(os.environ if given is None else given)
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
        environment.setdefault(*OWN_SAMPLER)
    if temporary is not None:
        environment["TMPDIR"] = temporary
    return environment


def _output(log: Path | None) -> IO[bytes]:
    """Where the worker's output goes."""
    if log is None:
        return Path(os.devnull).open("wb")
    return os.fdopen(open_private(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")


def new_log(folder: Path, kind: str = "engine") -> Path | None:
    """A name for a log in `folder`, where the oldest of its kind are deleted; None where nothing can be written.

    Another toolchat may be doing the same.
    """
    name = f"{kind}-{os.getpid()}-{next(_log_numbers)}.log"
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
    for file in folder.glob(f"{kind}-*.log"):
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


class Scratch:
    """An engine's temporary folder, in use until `leave` is called here and every process with `lock` has ended.

    vLLM and torch leave sockets and files in the temporary folder behind, so each engine on a CPU has one of its own.
    Whoever uses it holds a lock on a file in it, which the kernel takes back from a process that is killed. A process
    id would not tell: the temporary directory may be shared with containers, which have numbers of their own.
    """

    def __init__(self) -> None:
        """Raises OSError."""
        sweep_scratch()
        self.path = tempfile.mkdtemp(prefix=SCRATCH)
        try:
            self.lock = os.open(Path(self.path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def leave(self) -> None:
        """Hold it no longer: others that do keep it."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def delete(self) -> None:
        self.leave()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep_scratch(folder: Path | None = None) -> None:
    """Delete what processes left that were killed, of this user, in `folder` (None: the temporary directory)."""
    place = Path(tempfile.gettempdir()) if folder is None else folder
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(SCRATCH):
                with contextlib.suppress(OSError), _held(Path(entry.path)):
                    shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a folder that nobody uses. Raises OSError where somebody does, and for what is no such folder of ours."""
    facts = path.lstat()
    is_old = time.time() - facts.st_mtime > _YOUNG_SECONDS
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or not is_old:
        raise OSError
    # Not made here: what has no lock is not ours, or of a toolchat that did not know of locks.
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)

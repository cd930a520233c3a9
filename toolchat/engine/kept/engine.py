"""The engine of a chat that uses a kept worker where there is one, and otherwise starts one, to be kept or not.

One worker for each model, with its files, and each way of loading it: two commands that start at once end with one,
since starts on one device take turns by a lock, and whoever gets it looks again first.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import toolchat
from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import EngineConfig, Sampling
from toolchat.engine.kept.place import (
    ANSWER_SECONDS,
    CONTROL_VERSION,
    SUFFIX,
    folder_for_sockets,
    kept_environment,
    peer_of,
)
from toolchat.engine.link import Link, LinkedEngine
from toolchat.private_file import open_private
from toolchat.wire.codec import LINE_LIMIT
from toolchat.wire.deltas import Delta
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Notice
from toolchat.wire.messages import Message, ToolSpec

if TYPE_CHECKING:  # what starts and ends processes is imported where there is none to attach to
    from toolchat.engine.kept.control import KeptWorker
    from toolchat.engine.local import Worker

_LOCK_SECONDS = 0.05
"""Between two looks at a lock that another start holds: it loads a model for seconds."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a chat wants to be loaded."""

    model: str
    device: str
    """"cpu" or "cuda"."""
    names: Callable[[], Sequence[str]]
    """The digest of what would be loaded, by the files as they are now, and those of what serves as well."""
    context: int | None
    """The fewest tokens of context that are enough; None for what there is."""
    plan: Callable[[], EngineConfig]
    """How it would be loaded, by the memory that is free now. Raises EngineError or UsageError where it cannot be."""
    card: Callable[[], str]
    """Which card it would take; "cpu" for none."""
    sampling: Sampling
    """The model's own, for requests that name none."""
    debug: bool = False


class KeptEngine(LinkedEngine):
    """See `Engine` for the protocol."""

    def __init__(
        self,
        wanted: Wanted,
        log_folder: Path,
        keep: float | None,
        *,
        sets_time: bool = True,
        first_time: Callable[[], bool] = lambda: True,
        worker: Sequence[str] | None = None,
    ) -> None:
        """`keep` is how many seconds the worker stays loaded after its last client: negative for ever, 0 not at all.

        None neither keeps a worker nor says anything of the life of one that is there. `sets_time` is whether `keep` is
        to hold for one that is there, which another command may have asked to stay for longer. `first_time` says
        whether the user is to be told that a worker stays.
        """
        super().__init__()
        self._wanted = wanted
        self._log_folder = log_folder
        self._keep = keep
        self._sets_time = sets_time
        self._first_time = first_time
        self._command = worker
        self._path: Path | None = None
        """Of the socket, where this is the engine of a kept worker."""
        self._pid = 0

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        await self.close()
        self._path = None
        folder = folder_for_sockets(make=bool(self._keep))
        if await self._attach(folder):
            # Milliseconds: there is nothing to show, and what shows it need not be imported.
            async for state in self._attached():
                yield state
            return
        yield EngineState("starting", self._wanted.model)
        if folder is None or not self._keep:
            if self._keep:
                yield Notice("the model does not stay loaded: there is no folder of yours alone for its socket")
            async for state in self._start_private(folder):
                yield state
        else:
            async for state in self._start_kept(folder):
                yield state

    def generate(
        self,
        request_id: str,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: GenerateOptions,
    ) -> AsyncIterator[Delta]:
        # The worker knows the defaults of whoever started it, which may have been for another reasoning effort.
        own = self._wanted.sampling
        options = replace(
            options,
            temperature=own.temperature if options.temperature is None else options.temperature,
            top_p=own.top_p if options.top_p is None else options.top_p,
        )
        return super().generate(request_id, messages, tools, options)

    async def stop(self) -> None:
        """End the worker, whoever else uses it."""
        from toolchat.engine.kept.control import end

        path = self._path
        await self.close()
        if path is not None:
            with contextlib.suppress(EngineError):
                await asyncio.to_thread(end, path)

    @property
    def pid(self) -> int | None:
        """Of the worker, while it is known."""
        return self._pid if self._link is not None else None

    async def _attach(self, folder: Path | None) -> bool:
        """Use a worker that is there, if one serves."""
        for name in self._wanted.names() if folder is not None else ():
            assert folder is not None
            path = folder / f"{name}{SUFFIX}"
            if (link := await _attached_to(path, self._wanted, self._keep if self._sets_time else None)) is not None:
                self._link, self._path, self._pid = link, path, link.pid
                return True
        return False

    async def _attached(self) -> AsyncIterator[EngineState | Notice]:
        assert self._link is not None
        async for state in self._loading(self._link, debug=self._wanted.debug):
            yield state

    async def _start_private(self, folder: Path | None) -> AsyncIterator[EngineState | Notice]:
        """A worker that ends with this command."""
        config = None
        if self._wanted.device == "cpu":
            # Where the memory holds both, nobody need be sent away.
            with contextlib.suppress(EngineError):
                config = self._wanted.plan()
        if config is None:
            for notice in await self._make_room(folder):
                yield notice
            config = self._wanted.plan()
        worker = self._started(config)
        async for state in self._loaded(worker, config):
            yield state

    async def _start_kept(self, folder: Path) -> AsyncIterator[EngineState | Notice]:
        card = self._wanted.card()
        lock = _Lock(folder / f"{card}.lock")
        try:
            if not lock.take():
                yield EngineState("waiting for another toolchat that loads a model", self._wanted.model)
                while not lock.take():  # noqa: ASYNC110
                    await asyncio.sleep(_LOCK_SECONDS)
            if await self._attach(folder):
                async for state in self._attached():
                    yield state
                return
            for notice in await self._make_room(folder):
                yield notice
            before = self._wanted.names()
            config = self._wanted.plan()
            config = _anywhere(config)
            worker = self._started(config)
            async for state in self._loaded(worker, config):
                yield state
            async for notice in self._let_go(worker, folder / f"{before[0]}{SUFFIX}", card, before):
                yield notice
        finally:
            lock.release()

    def _started(self, config: EngineConfig) -> Worker:
        from toolchat.engine.local import WORKER, new_log, start_worker

        log = new_log(self._log_folder, "kept" if self._keep else "engine")
        kept: dict[str, Any] = {"environment": kept_environment(os.environ), "folder": "/"} if self._keep else {}
        worker = start_worker(config, self._command or WORKER, log, **kept)
        self._link, self._pid = worker, worker.pid
        return worker

    async def _loaded(self, worker: Worker, config: EngineConfig) -> AsyncGenerator[EngineState | Notice, None]:
        for note in config.notes:
            yield Notice(note)
        await worker.connect()
        async for state in self._loading(worker, debug=self._wanted.debug):
            yield state

    async def _let_go(
        self, worker: Worker, path: Path, card: str, before: Sequence[str]
    ) -> AsyncGenerator[Notice, None]:
        if tuple(self._wanted.names()) != tuple(before):
            yield Notice("the model does not stay loaded: its files changed while it was loaded")
            return
        facts = {
            "model": self._wanted.model,
            "device": self._wanted.device,
            "card": card,
            "toolchat": toolchat.__version__,
            "log": worker.log,
            "gpu": worker.info.details.get("GPU memory", "") if worker.info and self._wanted.device == "cuda" else "",
        }
        terms = {"path": str(path), "keep": self._keep, "scratch": worker.scratch, "facts": facts}
        if why := await worker.let_go(terms):
            yield Notice(f"the model does not stay loaded: {why}")
            return
        self._path = path
        if self._first_time():
            yield Notice(
                f"{self._wanted.model} stays loaded {keep_text(self._keep)}: the next command need not load it; "
                "toolchat stop ends it, --keep-alive 0 does without"
            )

    async def _make_room(self, folder: Path | None) -> list[Notice]:
        """End the idle workers on the same card. Raises EngineError where one is in use."""
        from toolchat.engine.kept.control import end, kept_workers

        notices = []
        for other in await asyncio.to_thread(kept_workers, folder) if folder is not None else ():
            if other.answers and other.card != self._wanted.card():
                continue
            if await asyncio.to_thread(end, other.path, if_idle=True) is None:
                raise EngineError(_in_use(other, self._wanted))
            what = f"{other.model or 'a model'}, which was loaded still"
            notices.append(Notice(f"{what}{'' if other.answers else ' and did not answer'}, is ended to make room"))
        return notices


class _Attached(Link):
    """A connection to a worker that somebody started."""

    pid = 0

    async def _over(self, seconds: float) -> str:
        return self.failure or "its process ended"

    def _hear(self, message: dict[str, Any]) -> None:
        match message:
            case {"op": "too small"}:
                self.states.put_nowait(EngineError("its context is too small"))
            case _:
                super()._hear(message)


async def _attached_to(path: Path, wanted: Wanted, keep: float | None) -> _Attached | None:
    """A connection to the worker that listens at `path`; None where there is none, or none that serves."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT)
    except (OSError, TimeoutError):
        return None
    pid, uid = peer_of(writer.get_extra_info("socket"))
    if uid != os.geteuid():
        writer.close()
        return None
    link = _Attached(wanted.model)
    link.pid = pid
    link.begin(reader, writer, {"op": "hello", "version": CONTROL_VERSION, "context": wanted.context, "keep": keep})
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            state = await link.states.get()
    except TimeoutError:
        # It is stuck, or was stopped by a signal. Whoever starts another ends it first.
        state = EngineError("it does not answer")
    except BaseException:
        await link.close()
        raise
    if isinstance(state, EngineError):
        await link.close()
        return None
    link.states.put_nowait(state)
    return link


class _Lock:
    """A file that one process at a time holds, and that the kernel takes from a process that ends."""

    def __init__(self, path: Path) -> None:
        self._descriptor = open_private(path, os.O_RDWR | os.O_CREAT)

    def take(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        os.close(self._descriptor)


def _anywhere(config: EngineConfig) -> EngineConfig:
    """`config` for a worker that is started in another folder than the user is in."""
    lora = config.lora
    if lora is not None:
        lora = replace(lora, folder=str(Path(lora.folder).absolute()))
    return replace(config, folder=str(Path(config.folder).absolute()), lora=lora)


def keep_text(seconds: float | None) -> str:
    """ "for 5 minutes after its last use", "until it is stopped"."""
    if seconds is None or seconds < 0:
        return "until it is stopped"
    for size, unit in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            number = int(seconds // size)
            return f"for {number} {unit}{'' if number == 1 else 's'} after its last use"
    return f"for {seconds:g} seconds after its last use"


def _in_use(other: KeptWorker, wanted: Wanted) -> str:
    where = "CPU" if wanted.device == "cpu" else "same GPU"
    users = "1 command uses" if other.clients == 1 else f"{other.clients} commands use"
    return (
        f"{wanted.model} cannot be loaded now: {users} {other.model}, loaded on the {where} with other settings "
        f"(process {other.pid}); end what uses it, or look with: toolchat ps"
    )

"""The chat's view of one host process: starts it with the environment that its tools may see, hears which tools it has
loaded, has it open processes for calls, and notices its death.

A tool's environment is a basic set of variables and those that the tools file names. Nothing else passes, so that keys
and tokens of toolchat's own never reach a tool that way.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

from toolchat.environment import refused, working_folder
from toolchat.private_file import open_private, private_folder
from toolchat.process import hide_memory
from toolchat.settings import cache_folder
from toolchat.tools.code import NotAccepted, ToolsCode
from toolchat.tools.host import confine
from toolchat.tools.host.channel import LOST_CHANNEL, AsyncChannel, Message, new_token, socket_pair
from toolchat.tools.host.process_client import CallProcess, Cause, NoAnswer, how_it_ended, seconds_text
from toolchat.tools.host.process_tree import kill_marked, kill_tree
from toolchat.tools.host.protocol import PYTHON_FLAGS, HostRequest, ProcessSetup, Share, decode_toolbox, to_descriptor
from toolchat.tools.problems import ToolsFileError
from toolchat.tools.toolbox import Toolbox
from toolchat.tools.variables import (
    Redactor,
    basic_environment,
    is_basic,
    named_environment,
    names_in,
    working_folder_of,
)
from toolchat.wire.errors import ToolchatError, UsageError

IMPORT_SECONDS = 30.0
"""For the imports of all the modules that a tools file names."""

_PROC = Path("/proc/self")
_END_SECONDS = 3.0
_PIECE = 64 * 1024
_MARK = "_TOOL_HOST"
"""The variable with one host's own random value: it is how what a dead host left behind is found."""
_SERVER = ("-X", "faulthandler", "-m", "toolchat.tools.host.server")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a host said of the tools that it has."""

    toolbox: Toolbox
    share: Share
    forks: bool
    """Whether a host that has imported the modules may be forked."""
    size: int
    """Bytes of memory that it takes after the imports."""
    confined: bool
    """Whether the kernel keeps its tools from other processes, or they are to keep their privileges."""
    learned: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """See `ToolsCode.learned`."""

    def code(self, code: ToolsCode) -> ToolsCode:
        """`code` as this host has it: what is imported from now on is one of its files, as it was then.

        Not with those of other hosts: what a tool's digest is made of must not depend on what they import.
        """
        return code.with_learned(self.learned)


class RedactedLog:
    """Writes what a host prints into the log, line by line, with the values of variables replaced."""

    def __init__(self, descriptor: int, log: BinaryIO, redactor: Redactor) -> None:
        self._descriptor = descriptor
        self._log = log
        self._redactor = redactor
        self._rest = b""
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    @classmethod
    def before(cls, log: BinaryIO, redactor: Redactor) -> tuple[Self, BinaryIO]:
        """It, and what a host is to print into."""
        read, write = os.pipe2(os.O_CLOEXEC)
        return cls(read, log, redactor), os.fdopen(write, "wb")

    def close(self) -> None:
        """Write what there is, and end."""
        if self._descriptor < 0:
            return
        while self._read():
            pass
        self._write(self._rest)
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        self._log.close()

    def _read(self) -> bool:
        data = b""
        with suppress(BlockingIOError):
            if not (data := os.read(self._descriptor, _PIECE)):
                asyncio.get_running_loop().remove_reader(self._descriptor)
        lines, newline, self._rest = (self._rest + data).rpartition(b"\n")
        self._write(lines + newline)
        if len(self._rest) > _PIECE:
            self._write(self._rest)
            self._rest = b""
        return bool(data)

    def _write(self, data: bytes) -> None:
        with suppress(OSError, ValueError):  # a full disk; the log is closed
            if data:
                self._log.write(self._redactor.text(data.decode("utf-8", "replace")).encode())
                self._log.flush()


class HostDied(ToolchatError):  # noqa: N818
    """The host is gone, so that no process can be had of it."""


class HostClient:
    """One host process, its guardian, and the processes that it started."""

    def __init__(
        self, code: ToolsCode, log: Path | None, share: Share | None = None, known: Loaded | None = None
    ) -> None:
        """Start it; `known` is what an earlier host said, where there was one. Call in the main thread.

        `share` says which of the file's tools are its own; None for the first, where it is to say which there are.
        """
        self._code = code
        self._path = code.path
        self._log = log
        self._share = share
        self._log_pipe: RedactedLog | None = None
        self._mark = f"{_MARK}={secrets.token_hex(16)}"
        self._numbers = itertools.count()
        self._processes: dict[int, CallProcess] = {}
        self._news: asyncio.Queue[Message | None] = asyncio.Queue()
        self._ending: asyncio.Task[None] | None = None
        self.alive = True
        self._spawn(known)

    @property
    def redactor(self) -> Redactor:
        """Replaces the values of variables that its tools are given."""
        if self._share is not None:
            return Redactor(self._share.given_values(os.environ))
        # Which share is the first of the file is not known yet: what any of them is given counts.
        texts = [self._code.text, *self._code.included.values()]
        names = {name for text in texts for name in names_in(text.decode("utf-8", "replace")) if not is_basic(name)}
        return Redactor(named_environment(names, os.environ))

    @property
    def pid(self) -> int:
        """Of the guardian; the host is its child."""
        return self._process.pid

    async def load(
        self, seconds: float = IMPORT_SECONDS, others: Callable[[list[Share]], None] | None = None
    ) -> Loaded:
        """What becomes of the imports, which begin by themselves. `others` is given the shares that are not its own.

        Raises:
            UsageError: one line for each problem; the host is gone then.
        """
        module: str | None = None
        try:
            async with asyncio.timeout(seconds):
                while (news := await self._news.get()) is not None:
                    match news:
                        case {"op": "importing", "module": module}:
                            pass
                        case {"op": "shares", "shares": [own, *rest]} if self._share is None:
                            self._share = Share.decode(own)
                            values, given = self._share.variables(os.environ), self._share.given_values(os.environ)
                            self._channel.send({"op": "env", "values": values, "given": given})
                            if others is not None:
                                others([Share.decode(share) for share in rest])
                        case {"op": "refused", "problems": [*problems], "notes": [*notes]}:
                            raise ToolsFileError(problems, notes)
                        case {"op": "refused", "message": message, "files": files}:
                            raise NotAccepted(message, files) if files else UsageError(message)
                        case {"op": "loaded", "toolbox": toolbox, "learned": learned, **rest}:
                            known = self._code.approved(decode_toolbox(self._path, toolbox))
                            share = self._share or Share()
                            notices = (*known.notices, *self._unset(share.env))
                            tools = replace(known, notices=notices)
                            return Loaded(tools, share, rest["forks"], rest["size"], rest["confined"], learned)
        except TimeoutError:
            self.kill()
            await self.close()
            what = f"{_module(module)} was still being imported after {seconds_text(seconds)}"
            expected = "expected it to import quickly; move slow work into a function"
            raise UsageError(f"{self._path}: {what}; {expected}") from None
        except BaseException:
            await self.close()
            raise
        await self.close()
        how = how_it_ended(self._process.returncode)
        what = f"{_module(module)} ended Python while it was imported ({how}); expected it to import quietly"
        if module is None:  # nothing of the file's has run
            more = f"; {self._log} says why" if self._log is not None else ""
            raise UsageError(f"{self._path}: the tools' process could not be prepared ({how}){more}")
        if self._process.returncode == LOST_CHANNEL:
            what = f"{_module(module)} closed files that are not its own while it was imported"
            what = f"{what}; expected it to close what it opened"
        log = f"; see {self._log}" if self._log is not None else ""
        raise UsageError(f"{self._path}: {what}; correct it there{log}")

    def open(
        self, *, memory: int | None, once: bool, orders: tuple[int, ...] = (), cwd: str | None = None
    ) -> CallProcess:
        """A new process for calls. What cannot be had shows as one that has ended. Raises HostDied.

        `orders` are the entries of the tools whose calls it runs, `cwd` is what the tools file calls their folder.
        """
        if not self.alive:
            raise HostDied("the tools' host process is gone")
        number = next(self._numbers)
        ours, theirs = socket_pair()
        read, write = os.pipe()
        token = new_token()
        process = CallProcess(ours, token, read, lambda: self._channel.send({"op": "kill", "number": number}))
        self._processes[number] = process
        folder = working_folder()
        own = str(working_folder_of(cwd, self._code.folder, os.environ)[0]) if cwd is not None else None
        setup = asdict(ProcessSetup(token, str(folder) if folder is not None else None, memory, once, orders, own))
        self._channel.send({"op": "open", "number": number, "setup": setup}, (theirs.detach(), write))
        return process

    async def close(self) -> None:
        """End it and all that it started."""
        self._channel.close()  # by which it knows
        if self._ending is None:
            self._ended(wait=_END_SECONDS)
        assert self._ending is not None
        await asyncio.shield(self._ending)

    def kill(self) -> None:
        """End it because it does not answer, with its guardian and all below; its processes are told."""
        if self._process.poll() is None:
            kill_tree(self._process.pid)

    def _unset(self, named: Iterable[str]) -> list[str]:
        return [
            f"{self._path}: a tool may see the variable {name}, which is not set; set it before toolchat starts"
            for name in named
            if name not in os.environ
        ]

    def _spawn(self, known: Loaded | None) -> None:
        if not _PROC.exists():
            what = "/proc is not mounted, and the processes of tools are watched there"
            raise UsageError(f"{what}; mount it, or leave the tools out with --no-tools")
        try:
            ours, theirs = socket_pair()
            code = self._code.to_descriptor()
        except OSError as error:
            raise self._unstarted(error) from None
        token = new_token()
        name, _, value = self._mark.partition("=")
        share = self._share
        request = HostRequest(
            channel=theirs.fileno(),
            token=token,
            parent=os.getpid(),
            code=code,
            share=share,
            forks=known is None or known.forks,
            size=known.size if known is not None else 0,
            abi=confine.landlock_abi(),
            terminals=tuple(confine.own_terminals()),
            given=share.given_values(os.environ) if share is not None else {},
        )
        # No token of the chat's passes, HF_TOKEN neither, unless a tool of this share names it.
        environment = basic_environment(os.environ) | {name: value}
        if share is not None:
            environment |= share.variables(os.environ)
        environment["PYTHONPYCACHEPREFIX"] = str(_bytecode_folder())
        # OpenBLAS, which numpy loads, starts its threads at import, after which no process should be forked.
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")
        log: Any = subprocess.DEVNULL
        with suppress(OSError):
            if self._log is not None:
                private_folder(self._log.parent)
                log = os.fdopen(open_private(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")
                if redactor := self.redactor:
                    self._log_pipe, log = RedactedLog.before(log, redactor)
        argument = to_descriptor(request)
        # What it does pass is not to be read from this process either.
        hide_memory()
        try:
            # In the main thread: the kernel ends the host when the thread that started it ends.
            self._process = subprocess.Popen(
                [sys.executable, *PYTHON_FLAGS, *_SERVER, str(argument)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), code, argument),
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            ours.close()
            raise self._unstarted(error) from None
        finally:
            theirs.close()
            os.close(code)
            os.close(argument)
            if log is not subprocess.DEVNULL:
                log.close()
        self._channel = AsyncChannel(ours, token, self._heard, self._ended)

    def _unstarted(self, error: OSError) -> UsageError:
        why = refused(error) or error.strerror
        return UsageError(f"{self._path}: no process can be started for the tools: {why}")

    def _heard(self, message: Message) -> None:
        match message:
            case {"op": "exited", "number": number, "code": code, "killed_for": reason}:
                if (process := self._processes.pop(number, None)) is not None:
                    process.exited(NoAnswer(Cause(reason) if reason else Cause.ENDED, how_it_ended(code)))
            case {"op": "failed", "number": number, "message": text}:
                if (process := self._processes.pop(number, None)) is not None:
                    process.exited(NoAnswer(Cause.ENDED, f"it could not be started: {text}"))
            case _:
                self._news.put_nowait(message)

    def _ended(self, wait: float = 0.5) -> None:
        """Its end of the socket is closed: it is dead, or as good as dead."""
        if self._ending is None:
            self.alive = False
            self._ending = asyncio.get_running_loop().create_task(self._end(wait), name="tools-host-end")

    async def _end(self, wait: float) -> None:
        try:
            for _ in range(int(wait / 0.01)):
                if self._process.poll() is not None:
                    break
                await asyncio.sleep(0.01)
        finally:
            killed = self._process.poll() is None
            self.kill()
            self._process.wait()
            if killed or self._process.returncode != 0:
                # It could not end what it had started.
                kill_marked(self._mark)
            self._channel.close()
            if self._log_pipe is not None:
                self._log_pipe.close()
            self._news.put_nowait(None)
            for process in self._processes.values():
                process.exited(NoAnswer(Cause.ENDED, "its host process ended"))
            self._processes.clear()


def _module(name: str | None) -> str:
    return f'module "{name}"' if name else "a module"


def _bytecode_folder() -> Path:
    """Where Python programs that a tool starts keep bytecode: what lies in folders of code may be anybody's."""
    folder = cache_folder() / "bytecode"
    try:
        private_folder(folder.parent, doubtful=folder.name)
        return private_folder(folder, doubtful="*")
    except OSError:
        # Below what is no folder nothing can be, which Python takes for an empty cache.
        return Path(os.devnull, "bytecode")

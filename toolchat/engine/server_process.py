"""Runs vLLM's own server: starts it, says when it is ready, passes on what it writes, and ends all of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import os
import re
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from toolchat.engine.kept.place import folder_for_sockets
from toolchat.engine.served import (
    GRACE,
    SCRATCH,
    Identity,
    ServedModel,
    below,
    end_processes,
    identity_of,
    remove_socket,
)
from toolchat.engine.server_command import Place, ServerCommand
from toolchat.environment import refused
from toolchat.process import adopt_orphans
from toolchat.wire.errors import EngineError, UsageError

_LOOK_SECONDS = 0.25
"""Between two looks at a server that is loading, which takes 45 s with the demo model on two cores."""
_HEALTH_SECONDS = 5.0
_DRAIN_SECONDS = 1.0
_LINE = 64 * 1024
_TAIL = 400
"""Lines that are kept to find why the server has ended."""
_RAISED = re.compile(r"\b([A-Z]\w*(?:Error|Exception|Interrupt)): (.+)")
_OUTER = "root cause"
"""In the error that vLLM raises where another process has raised one before."""


def check_place(place: Place) -> None:
    """Raise UsageError where nothing can listen at `place`, before a model is loaded for it."""
    if place.socket is not None:
        _check_socket(Path(place.socket))
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise UsageError(f"--host {place.host}: {error.strerror}; expected a name or address of this machine") from None
    except UnicodeError:
        raise UsageError(f"--host {place.host}: expected a name or address of this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "is in use by another program; --port names another, and toolchat ps shows servers of your own"
            raise UsageError(f"--port {place.port}: {reason}") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"--host {place.host}: is no address of this machine") from None
        raise UsageError(f"{place.host}:{place.port}: cannot be listened at: {error.strerror}") from None


def _check_socket(path: Path) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"--socket {path}: the folder {path.parent} does not exist")
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_socket():
        raise UsageError(f"--socket {path}: something else than a socket is there; name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_HEALTH_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            remove_socket(path)  # of a server that has ended: vLLM does not remove it, and would not start
            return
        except OSError as error:
            raise UsageError(f"--socket {path}: cannot be used: {error.strerror}") from None
    raise UsageError(f"--socket {path}: a program listens there; name another path, or end it")


async def run_server(
    command: ServerCommand,
    device: str,
    show: Callable[[str], None],
    ready: Callable[[ServedModel], None],
    *,
    grace: float = GRACE,
) -> None:
    """Run the server until it ends, or until this is cancelled. Call in the main thread, for whose life it lives.

    `show` gets each line that it writes, `ready` is called once, when it answers. However this ends, no process of the
    server is left: it has `grace` seconds to end in its own way. Raises EngineError where it ends by itself, or cannot
    be started.
    """
    adopt_orphans()  # of processes whose parents end before them: they are found below this one
    scratch = tempfile.mkdtemp(prefix=SCRATCH) if device == "cpu" else None
    try:
        async with _started(command, device, scratch, grace) as (process, served, written):
            tail: list[str] = []
            output = asyncio.create_task(_pass_on(written, show, tail), name="server-output")
            waiting = asyncio.create_task(_until_ready(command, served, ready), name="server-ready")
            ended = asyncio.create_task(process.wait(), name="server-end")
            try:
                done, _ = await asyncio.wait({ended, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if waiting in done:
                    waiting.result()
                code = await ended
                # What it wrote last is still in the pipe, which a process that it left may hold open.
                await _end(process.pid, grace)
                await asyncio.wait({output}, timeout=_DRAIN_SECONDS)
            finally:
                for task in (ended, output, waiting):
                    task.cancel()
            raise EngineError(_why_ended(code, was_ready=command.headless or waiting in done, tail=tail))
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if command.place.socket is not None and not command.headless:
            remove_socket(Path(command.place.socket))


@contextlib.asynccontextmanager
async def _started(
    command: ServerCommand, device: str, scratch: str | None, grace: float
) -> AsyncIterator[tuple[asyncio.subprocess.Process, ServedModel, asyncio.StreamReader]]:
    environment = {**command.environment, **({"TMPDIR": scratch} if scratch is not None else {})}
    # Not asyncio's own pipe: with that it waits for all who have it open, and not for the process alone.
    reading, writing = os.pipe()
    written = asyncio.StreamReader(limit=_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(written), os.fdopen(reading, "rb")
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,  # the terminal's Ctrl-C is toolchat's, which ends the server in its way
            env=environment,
            # The mode of the socket: whoever may write it may use the model.
            umask=0o077 if command.place.socket is not None else -1,
        )
    except OSError as error:
        transport.close()
        raise EngineError(f"vLLM's server cannot be started: {refused(error) or error}") from None
    finally:
        os.close(writing)
    own = identity_of(os.getpid())
    leader = identity_of(process.pid) or Identity(process.pid, 0)
    assert own is not None
    served = ServedModel(
        command.name,
        device,
        "" if command.headless else command.place.url(),
        own,
        leader,
        (leader,),
        began=time.time(),
        scratch=scratch,
        socket=command.place.socket,
    )
    note = _noted(served)
    try:
        yield process, served, written
    finally:
        await _end(process.pid, grace)
        with contextlib.suppress(ProcessLookupError):
            await process.wait()
        transport.close()
        if note is not None:
            note.unlink(missing_ok=True)


async def _end(leader: int, grace: float) -> None:
    """End all below this process: it adopts those whose parents end, and has started nothing else."""
    await asyncio.to_thread(end_processes, lambda: {one.pid for one in below(os.getpid())}, leader, grace)


async def _until_ready(command: ServerCommand, served: ServedModel, ready: Callable[[ServedModel], None]) -> None:
    """Note the processes as they come, until the server answers."""
    known = served
    while command.headless or not await asyncio.to_thread(_is_healthy, command.place):
        await asyncio.sleep(_LOOK_SECONDS)
        if (members := below(os.getpid())) != known.members:
            known = replace(known, members=members)
            _noted(known)
    known = replace(known, members=below(os.getpid()), ready=True)
    _noted(known)
    ready(known)


def _noted(served: ServedModel) -> Path | None:
    """Write the note for `toolchat ps`; without a folder for it there is none."""
    with contextlib.suppress(OSError):
        if (folder := folder_for_sockets(make=True)) is not None:
            return served.write(folder)
    return None


async def _pass_on(written: asyncio.StreamReader, show: Callable[[str], None], tail: list[str]) -> None:
    rest = b""
    while piece := await written.read(_LINE):
        # Bars of progress are drawn by carriage returns.
        *lines, rest = re.split(rb"\r\n|\n|\r", rest + piece)
        if len(rest) > _LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            if text := line.decode(errors="replace").rstrip():
                tail[:] = [*tail[1 - _TAIL :], text]
                show(text)
    if rest:
        tail.append(rest.decode(errors="replace"))
        show(tail[-1])


def _why_ended(code: int, *, was_ready: bool, tail: list[str]) -> str:
    how = f"killed by signal {-code}" if code < 0 else f"its process ended with {code}"
    if was_ready:
        return f"vLLM's server has ended by itself ({how})"
    raised = [match for line in tail if (match := _RAISED.search(line)) and _OUTER not in match[2]]
    reason = f": {raised[-1][0]}" if raised else "; what it wrote is above"
    return f"vLLM's server ended before it was ready ({how}){reason}"


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_HEALTH_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_HEALTH_SECONDS)
        self.sock.connect(self._path)


def _is_healthy(place: Place) -> bool:
    if place.socket is not None:
        connection: http.client.HTTPConnection = _SocketConnection(place.socket)
    else:
        host = place.host
        if place.is_any:
            host = "::1" if ":" in host else "127.0.0.1"
        if place.tls:
            # It is this process's own child, by whatever name its certificate has.
            trusting = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(host, place.port, timeout=_HEALTH_SECONDS, context=trusting)
        else:
            connection = http.client.HTTPConnection(host, place.port, timeout=_HEALTH_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

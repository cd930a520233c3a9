"""Starts toolchat for many tests at the price of one interpreter and its imports: a server has imported it, and forks.

What is forked is a process like any other, with arguments, environment, folder, streams and, where it is asked for, a
terminal of its own; what it imports later, and the processes of its tools, start as always. What it does not go through
is the start of the interpreter: tests of that, of variables that are read then, of signals or of wrappers around the
program start it as a shell does.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import io
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Never

import pexpect
import ptyprocess

REPOSITORY = Path(__file__).parents[1]
IMPORTS = (
    "toolchat.cli.main",
    "toolchat.cli.approval",
    "toolchat.cli.batch",
    "toolchat.cli.input_text",
    "toolchat.session.session",
    "toolchat.session.startup",
    "toolchat.tools.run",
    "toolchat.engine.scripted",
    "toolchat.ui.json_output",
    "toolchat.ui.plain",
    "toolchat.ui.repl",
)
"""What is imported before the fork. Nothing of the hub's library, which reads the environment when it is imported."""
START_SECONDS = 60.0
_MESSAGE = 1 << 20


class ProgramServer:
    """The server as seen from a test; it is started when it is first used, and ends with `close`."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._codes: dict[int, int] = {}

    def close(self) -> None:
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait(START_SECONDS)

    def start(
        self,
        command: Sequence[str],
        streams: tuple[int, int, int],
        cwd: Path,
        environment: Mapping[str, str],
        *,
        notes: Path | None = None,
    ) -> int:
        """The process id of `command`, which begins with `-m toolchat` or with a script.

        With `notes`, the streams are a terminal, which becomes its own, and it runs below terminal_shell.py.
        """
        request = {
            "command": list(command),
            "cwd": str(cwd),
            "environment": dict(environment),
            "notes": str(notes) if notes is not None else None,
        }
        sys.audit("os.fork")  # for the guard of `make test-quick`
        server = self._server()
        socket.send_fds(server, [json.dumps(request).encode()], streams)
        while "started" not in (message := self._hear(START_SECONDS)):
            pass
        return int(message["started"])

    def run(
        self, command: Sequence[str], stdin: bytes, cwd: Path, environment: Mapping[str, str], seconds: float
    ) -> tuple[int, bytes, bytes]:
        """Run to the end, with pipes for streams; the exit code, and what was written to both outputs."""
        (given, give), (out, write_out), (err, write_err) = os.pipe(), os.pipe(), os.pipe()
        theirs = (given, write_out, write_err)
        pid = self.start(command, theirs, cwd, environment)
        for fd in theirs:
            os.close(fd)
        with ThreadPoolExecutor(2) as readers:
            said = [readers.submit(_read_to_end, fd) for fd in (out, err)]
            with suppress(BrokenPipeError), open(give, "wb") as feed:  # noqa: PTH123
                feed.write(stdin)
            code = self.exit_code(pid, seconds)
            if code is None:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError(f"still running after {seconds:.0f} s: {command}")
        return code, said[0].result(), said[1].result()

    def exit_code(self, pid: int, seconds: float = 0.0) -> int | None:
        """The exit code of what was started, waited for so long; negative for a signal, None while it runs."""
        until = time.monotonic() + seconds
        while pid not in self._codes:
            left = until - time.monotonic()
            if not select.select([self._server()], [], [], max(left, 0.0))[0]:
                if left <= 0:
                    return None
                continue
            self._hear(START_SECONDS)
        return self._codes[pid]

    def _server(self) -> socket.socket:
        if self._socket is None:
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
        return self._socket

    def _hear(self, seconds: float) -> dict[str, int]:
        server = self._server()
        server.settimeout(seconds)
        data = server.recv(_MESSAGE)
        assert data, "the server of programs has ended"
        message: dict[str, int] = json.loads(data)
        if "ended" in message:
            self._codes[message["ended"]] = message["code"]
        return message


def _read_to_end(fd: int) -> bytes:
    with open(fd, "rb") as file:
        return file.read()


class _Pty(ptyprocess.PtyProcess):  # type: ignore[misc]
    """A terminal's process that is the server's child, and not ours."""

    def __init__(self, pid: int, fd: int, server: ProgramServer) -> None:
        super().__init__(pid, fd)
        self._server = server

    def isalive(self) -> bool:
        code = self._server.exit_code(self.pid)
        self.terminated = code is not None
        died = code is not None and code < 0
        self.exitstatus: int | None = None if died else code
        self.signalstatus: int | None = -(code or 0) if died else None
        return code is None


class ForkedSpawn(pexpect.spawn):  # type: ignore[misc]
    """`pexpect.spawn` of a program that the server forks."""

    def __init__(self, server: ProgramServer, command: Sequence[str], notes: Path, **options: Any) -> None:
        self._server = server
        self._command = command
        self._notes = notes
        super().__init__(sys.executable, **options)

    def _spawnpty(self, _: Sequence[str], **options: Any) -> _Pty:
        ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, options["dimensions"])
        streams = (theirs, theirs, theirs)
        pid = self._server.start(self._command, streams, Path(options["cwd"]), options["env"], notes=self._notes)
        os.close(theirs)
        return _Pty(pid, ours, self._server)


# What follows runs in the server and in what it forks.


def serve(connection: socket.socket) -> None:
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at `make test` is for pytest
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()
    while True:
        ready = select.select([connection.fileno(), woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _reap(connection)
        if connection.fileno() in ready:
            data, streams, _, _ = socket.recv_fds(connection, _MESSAGE, 3)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                _become(json.loads(data), streams)
            for fd in streams:
                os.close(fd)
            connection.send(json.dumps({"started": pid}).encode())


def _reap(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        connection.send(json.dumps({"ended": pid, "code": code}).encode())


def _become(request: dict[str, Any], streams: list[int]) -> Never:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["notes"] is not None:
            os.setsid()
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        os.closerange(3, 1 << 16)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        _open_streams()
        if request["notes"] is not None:
            import terminal_shell

            terminal_shell.run(Path(request["notes"]), request["command"], lambda command: _end(_run, command))
            os._exit(0)
        _end(_run, request["command"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


def _open_streams() -> None:
    """Python's three streams, as it makes them at its start where the locale is UTF-8."""

    def opened(fd: int, mode: str, errors: str, line_buffering: bool) -> io.TextIOWrapper:
        raw = open(fd, mode, closefd=False)  # noqa: SIM115
        return io.TextIOWrapper(raw, "utf-8", errors, line_buffering=line_buffering)

    sys.stdin = sys.__stdin__ = opened(0, "rb", "strict", False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = opened(1, "wb", "strict", os.isatty(1))  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = opened(2, "wb", "backslashreplace", True)  # type: ignore[misc]


def _run(command: Sequence[str]) -> None:
    random.seed()
    first, *rest = command
    search = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if first == "-m":
        sys.path[:1] = ["" if os.environ.get("PYTHONSAFEPATH") else str(Path.cwd()), *search]
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[:1] = [str(Path(first).parent), *search]
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def _end(run: Callable[[Sequence[str]], None], command: Sequence[str]) -> Never:
    """Run and end as an interpreter does."""
    code: object = 0
    try:
        run(command)
    except SystemExit as exit_:
        code = exit_.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        code = 120
    os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    for name in IMPORTS:
        __import__(name)
    serve(socket.socket(fileno=int(sys.argv[1])))

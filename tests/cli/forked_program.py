"""`toolchat` many times over, each run forked from one process that has imported it: some 30 ms instead of a second.

The client says what is run, and gives the descriptors that the run has as its standard streams; one that is not given
is closed there. A scripted engine takes the place of the real one; it appends each question that it answers to a file,
where it is told to.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class Forked:
    """A run that has begun."""

    channel: socket.socket
    pid: int

    def wait(self) -> int:
        """Its exit code; negative for a signal."""
        code = int.from_bytes(_take(self.channel, 4), "big", signed=True)
        self.channel.close()
        return code


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


class ForkingServer:
    """The client's side; `close` ends it."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path = path
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen()
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(listening.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[listening.fileno()],
                env=environment,
            )

    def start(
        self,
        *arguments: str,
        streams: Sequence[int | None],
        folder: Path,
        answers: Sequence[Any],
        variables: Mapping[str, str] | None = None,
        encoding: str = "utf-8",
        log: Path | None = None,
        delay: float = 0.0,
        wait: float = 2.0,
    ) -> Forked:
        """Begin a run. `answers` as those of scripted_program.py; the last one is given again and again.

        `delay` is that of each piece of an answer, `wait` the time after which the program tells what it waits for.
        """
        request = {
            "arguments": arguments,
            "given": [number for number, stream in enumerate(streams) if stream is not None],
            "folder": str(folder),
            "answers": answers,
            "variables": variables or {},
            "encoding": encoding,
            "log": str(log) if log is not None else None,
            "delay": delay,
            "wait": wait,
        }
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(60)
        channel.connect(str(self._path))
        data = json.dumps(request).encode()
        socket.send_fds(channel, [_LENGTH.pack(len(data))], [stream for stream in streams if stream is not None])
        channel.sendall(data)
        return Forked(channel, int.from_bytes(_take(channel, 4), "big"))

    def run(self, *arguments: str, folder: Path, answers: Sequence[Any], stdin: bytes = b"", **more: Any) -> Done:
        """Run to the end with pipes, in `folder`, which is the home too; `stdin` fits into a pipe."""
        (read, feed), (out, write_out), (err, write_err) = os.pipe(), os.pipe(), os.pipe()
        os.write(feed, stdin)
        os.close(feed)
        streams = (read, write_out, write_err)
        home = {"HOME": str(folder)}
        forked = self.start(*arguments, streams=streams, folder=folder, answers=answers, variables=home, **more)
        for stream in streams:
            os.close(stream)
        with ThreadPoolExecutor(2) as pool:
            texts = [pool.submit(_read, descriptor) for descriptor in (out, err)]
            return Done(forked.wait(), *(text.result() for text in texts))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _read(descriptor: int) -> str:
    with os.fdopen(descriptor, encoding="utf-8") as file:
        return file.read()


def _take(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            raise EOFError("the run's server has ended")
        data += part
    return data


# ---------------------------------------------------------------------------------------------------------------------
# The server.


def serve(listening: socket.socket) -> None:

    import toolchat.cli.approval
    import toolchat.cli.batch
    import toolchat.cli.main
    import toolchat.cli.schema
    import toolchat.cli.tools_file
    import toolchat.session.session
    import toolchat.ui.machine  # noqa: F401

    gc.freeze()  # what a collection touches would be copied in every run
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that attend to a run
    while True:
        channel, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _attend(channel)


def _attend(channel: socket.socket) -> None:
    """Fork the run, and tell its end. Never returns."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 3)
    request = json.loads(_take(channel, _LENGTH.unpack(head)[0]))
    pid = os.fork()
    if pid == 0:
        channel.close()
        _run(request, dict(zip(request["given"], descriptors, strict=True)))
    for descriptor in descriptors:
        os.close(descriptor)
    channel.sendall(pid.to_bytes(4, "big"))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        channel.sendall(code.to_bytes(4, "big", signed=True))
    os._exit(0)


def _run(request: Mapping[str, Any], given: Mapping[int, int]) -> None:
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    _use_streams(given, request["encoding"])
    from toolchat.cli import main, question
    from toolchat.session.startup import Plan

    question.WAIT_SECONDS = request["wait"]
    engine = _engine(request)
    Plan.engine = lambda _: engine  # type: ignore[method-assign,assignment]
    code = 99
    try:
        main.run(list(request["arguments"]))
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def _use_streams(given: Mapping[int, int], encoding: str) -> None:
    """Have the descriptors as 0, 1 and 2, and Python's streams on them as it makes them at its start."""
    # Out of the way first: one may stand where another is to be.
    moved = {number: fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for number, descriptor in given.items()}
    for number in {0, 1, 2, *given.values()}:
        with contextlib.suppress(OSError):
            os.close(number)
    for number, descriptor in moved.items():
        os.dup2(descriptor, number)
        os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = None
        if number in given:
            raw = io.FileIO(number, "r" if number == 0 else "w", closefd=False)
            buffer = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
            errors = "backslashreplace" if number == 2 else "strict"
            stream = io.TextIOWrapper(buffer, encoding=encoding, errors=errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _note(log: str, question: str) -> None:
    with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{question}\n")


def _engine(request: Mapping[str, Any]) -> Any:
    from collections.abc import AsyncIterator

    from scripted_program import answer

    from toolchat.engine.base import GenerateOptions
    from toolchat.engine.scripted import ScriptedEngine
    from toolchat.wire.deltas import Delta
    from toolchat.wire.messages import Message, ToolSpec

    class Engine(ScriptedEngine):
        """Gives its last answer again and again, and notes what it has answered."""

        async def generate(
            self, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
        ) -> AsyncIterator[Delta]:
            if len(self.answers) == 1:
                self.answers.append(self.answers[0])
            async for delta in super().generate(request_id, messages, tools, options):
                yield delta
            if request["log"] is not None:
                _note(request["log"], messages[-1].content)

    return Engine([replace(answer(item), delay=request["delay"]) for item in request["answers"]], context=10**6)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))

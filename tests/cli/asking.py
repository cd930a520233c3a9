"""Runs `ask` with a scripted engine, forked (see `forked_program`): some 30 ms a run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asked_program import State
from forked_program import ProgramServer

SCRIPT = Path(__file__).with_name("asked_program.py")
SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Asking:
    """`toolchat ask` in `home`, which is the working directory too."""

    server: ProgramServer
    home: Path
    flags: tuple[str, ...] = ()
    """Behind the arguments of each run."""

    @property
    def log(self) -> Path:
        return self.home / "asked"

    def asked(self) -> list[str]:
        """The questions that were answered, of one line each."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def start(self, *arguments: str, streams: tuple[int, int, int], **state: Any) -> int:
        """Begin a run; its process id, see `ProgramServer.exit_code`."""
        told = json.dumps(asdict(State(**{"log": str(self.log), **state})))
        command = (str(SCRIPT), told, "ask", *arguments, *self.flags)
        return self.server.start(command, streams, self.home, {**os.environ, "HOME": str(self.home)})

    def code(self, pid: int) -> int:
        """The exit code of a run, negative for a signal."""
        code = self.server.exit_code(pid, SECONDS)
        assert code is not None
        return code

    def run(self, *arguments: str, answers: Sequence[Any] = (), stdin: bytes = b"", **state: Any) -> Done:
        """Run to the end; `stdin` fits into a pipe."""
        (read, feed), (out, write_out), (err, write_err) = os.pipe(), os.pipe(), os.pipe()
        os.write(feed, stdin)
        os.close(feed)
        streams = (read, write_out, write_err)
        pid = self.start(*arguments, streams=streams, answers=answers, **state)
        for stream in streams:
            os.close(stream)
        with ThreadPoolExecutor(2) as readers:
            texts = [readers.submit(_read, descriptor) for descriptor in (out, err)]
            return Done(self.code(pid), *(text.result() for text in texts))


def _read(descriptor: int) -> str:
    with os.fdopen(descriptor, encoding="utf-8") as file:
        return file.read()

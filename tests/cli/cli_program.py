"""Runs the program as a person's shell does, and holds what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forked_program import ProgramServer

REPOSITORY = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "toolchat")
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    def refused(self, code: int) -> str:
        """The one line on stderr of a run that was refused with `code` and said nothing else."""
        assert (self.code, self.out) == (code, ""), self
        assert "Traceback" not in self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("toolchat: "), self.err
        assert "toolchat: unexpected " not in self.err
        return self.err.removeprefix("toolchat: ").removesuffix("\n")


@dataclass(frozen=True, slots=True)
class Program:
    """`toolchat`, started in `folder` without a terminal."""

    folder: Path
    python_path: tuple[Path, ...] = (REPOSITORY,)
    server: ProgramServer | None = None
    """Where it is forked from; None to start an interpreter for it."""

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, self.python_path))}

    def __call__(
        self,
        *arguments: str,
        stdin: bytes = b"",
        stdout: int = subprocess.PIPE,
        before: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run to the end. `before` is put before the command line: a wrapper, such as a shell that redirects."""
        environment = {**self.environment, **(variables or {})}
        if self.server is not None and not before and stdout == subprocess.PIPE:
            return self.fork("-m", "toolchat", *arguments, stdin=stdin, environment=environment)
        done = subprocess.run(
            [*before, *PROGRAM, *arguments],
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=environment,
            timeout=TIMEOUT,
            check=False,
        )
        return Ran(done.returncode, (done.stdout or b"").decode(), done.stderr.decode())

    def fork(self, *command: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Ran:
        """Run what `python COMMAND` would run, with the server, to the end."""
        assert self.server is not None
        code, out, err = self.server.run(command, stdin, self.folder, environment or self.environment, TIMEOUT)
        return Ran(code, out.decode(), err.decode())

    def start(self, *arguments: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start it and go on, its streams being pipes."""
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env={**self.environment, **variables},
        )

"""A folder with a tools file, as an attacker prepares or changes it, and the program that a person runs there.

What the attacker wants is that code of theirs runs which nobody accepted: it leaves the file `ran`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pexpect
from at_the_terminal import end_program

from toolchat.cli.tools_file import choose_tools_file
from toolchat.settings import resolve, state_folder
from toolchat.tools.host.call import Prepared
from toolchat.tools.mcp.call import McpCall
from toolchat.tools.run import ToolRunner, load_toolbox
from toolchat.tools.toolbox import Toolbox
from toolchat.tools.trust import TrustStore, refusals_noted
from toolchat.wire.errors import ToolchatError
from toolchat.wire.messages import ToolCall, ToolResult

REPOSITORY = Path(__file__).parents[2]
SCRIPTED = REPOSITORY / "tests" / "cli" / "scripted_program.py"
GREET = '''
def greet(person: str) -> str:
    """Greet a person."""
    return f"Hello {person}"
'''


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Attacked:
    """`toolchat` in `folder`, which is the attacker's but for what was accepted."""

    folder: Path
    python_path: tuple[Path, ...] = (REPOSITORY,)

    @classmethod
    def below(cls, path: Path, *installed: Path) -> Attacked:
        folder = path / "work"
        folder.mkdir()
        return cls(folder, (*installed, REPOSITORY))

    @property
    def ran(self) -> bool:
        """Whether the attacker's code has run."""
        return (self.folder / "ran").exists()

    @property
    def evil(self) -> str:
        """Code that leaves the file `ran`, in one line."""
        return f"open({str(self.folder / 'ran')!r}, 'w').close()\n"

    def write(self, **sources: str) -> None:
        for name, source in sources.items():
            (self.folder / f"{name}.py").write_text(source)

    def tools(self, *callables: str, **options: str) -> Path:
        """The tools file; the options are of every tool."""
        rows = "".join(f"    {key}: {value}\n" for key, value in options.items())
        path = self.folder / "tools.yaml"
        path.write_text("version: 1\ntools:\n" + "".join(f'  - callable: "{name}"\n{rows}' for name in callables))
        return path

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, self.python_path)), **(variables or {})}

    def __call__(self, *arguments: str, variables: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ran:
        return self._run([sys.executable, "-m", "toolchat", *arguments], variables, cwd)

    def accept(self, *, allows: bool = False) -> None:
        """What `toolchat tools trust` does."""
        store = TrustStore(state_folder())
        store.trust(store.read(self.folder / "tools.yaml"), allows=allows)

    def load(self) -> Toolbox:
        """What `toolchat tools list` does without a terminal. Raises ToolchatError where it would say why not."""
        with chdir(self.folder), patch.dict(os.environ, self.environment()):
            chosen = choose_tools_file(resolve({}))
            with refusals_noted(chosen):
                return load_toolbox(chosen)

    def refusal(self) -> str:
        """Why the tools file that is found is not used; empty where it is."""
        try:
            self.load()
        except ToolchatError as error:
            return str(error)
        return ""

    def ask(self, *answers: Any, flags: tuple[str, ...] = ()) -> Ran:
        """`toolchat ask` with a model that gives these answers, each a text or a list of `[tool, arguments]`."""
        return self._run(self.scripted(answers, "ask", "go", *flags), None, None)

    def scripted(self, answers: Any, *arguments: str) -> list[str]:
        return [sys.executable, str(SCRIPTED), json.dumps(answers), *arguments, "--model", str(self.model())]

    @contextmanager
    def terminal(self, *command: str, cwd: Path | None = None) -> Iterator[pexpect.spawn[str]]:
        child = pexpect.spawn(
            "/usr/bin/env",  # pexpect looks itself whether a program may be run, and errs where a capability lets it
            list(command),
            cwd=str(cwd or self.folder),
            env=self.environment(),
            encoding="utf-8",
            timeout=30,
            dimensions=(50, 200),
        )
        try:
            yield child
        finally:
            end_program(child)

    def _run(self, command: list[str], variables: Mapping[str, str] | None, cwd: Path | None) -> Ran:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=cwd or self.folder,
            env=self.environment(variables),
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def model(self) -> Path:
        """A folder that passes for a model's."""
        folder = self.folder.parent / "model"
        if not folder.exists():
            folder.mkdir()
            (folder / "params.json").write_text(
                '{"dim": 576, "n_layers": 30, "head_dim": 64, "n_heads": 9, "n_kv_heads": 3}'
            )
            (folder / "consolidated.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
            (folder / "tekken.json").write_text("{}")
        return folder


def toolchat(*arguments: str) -> tuple[str, ...]:
    """The command line for `Attacked.terminal`."""
    return (sys.executable, "-m", "toolchat", *arguments)


def ended(child: pexpect.spawn[str]) -> int:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus if child.exitstatus is not None else -(child.signalstatus or 0)


class Chat:
    """The tools of a chat under way, driven from synchronous tests."""

    def __init__(self, loop: asyncio.Runner, runner: ToolRunner) -> None:
        self._loop = loop
        self._runner = runner

    def call(self, name: str, /, **arguments: Any) -> str:
        """What the model is answered."""
        prepared = self.prepare(name, **arguments)
        return prepared.content if isinstance(prepared, ToolResult) else self.run(prepared)

    def prepare(self, name: str, /, **arguments: Any) -> Prepared | McpCall | ToolResult:
        """The call as it stands when the person is asked."""
        tool = self._runner.toolbox.get(name)
        assert tool is not None
        return self._loop.run(self._runner.prepare(tool, ToolCall("abcdefghi", name, arguments)))

    def run(self, prepared: Prepared | McpCall) -> str:
        return self._loop.run(prepared.run()).content

    def kill_host(self) -> None:
        """End the tools' host, as a tool can that runs meanwhile."""
        supervisor = self._runner._supervisor
        assert supervisor is not None
        (host,) = supervisor.hosts

        async def kill() -> None:
            os.kill(host.pid, signal.SIGKILL)
            for _ in range(1000):
                if not host.alive:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("the host lives on")

        self._loop.run(kill())


@contextmanager
def chat(tools: Any, **options: Any) -> Iterator[Chat]:
    with asyncio.Runner() as loop:
        runner = loop.run(ToolRunner.start(tools, **options))
        try:
            yield Chat(loop, runner)
        finally:
            loop.run(runner.close())

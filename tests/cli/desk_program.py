"""Runs a command of the program in this process, for commands whose tools take processes enough."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_program import Ran
from typer import Exit

from toolchat.cli import tool_check
from toolchat.cli.main import app
from toolchat.tools import run
from toolchat.tools.load import load_tools
from toolchat.wire.errors import ToolchatError


@dataclass(frozen=True, slots=True)
class Desk:
    """`toolchat tools …`, in a folder of its own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]

    def write(self, **files: str) -> None:
        """Write files of the folder; `tools` is tools.yaml, all others are modules."""
        for name, text in files.items():
            (self.folder / (f"{name}.yaml" if name.startswith("tools") else f"{name}.py")).write_text(text)

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        self.captured.readouterr()
        piped = self.folder.parent / "stdin"
        piped.write_text(stdin)
        with piped.open() as stream:
            self.monkeypatch.setattr(sys, "stdin", stream)
            code, error = 0, ""
            try:
                result = app(args=["tools", *arguments], prog_name="toolchat", standalone_mode=False)
                code = result if isinstance(result, int) else 0
            except Exit as ended:
                code = ended.exit_code
            except ToolchatError as failed:
                code, error = failed.exit_code, f"toolchat: {failed}\n"
            self.monkeypatch.setattr(sys, "stdin", io.StringIO())
        out, err = self.captured.readouterr()
        return Ran(code, out, err + error)


@contextmanager
def loaded_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands that look at tools load them in this process, and not in one of their own, which takes longer."""
    folder = Path.cwd()
    path, modules = sys.path.copy(), set(sys.modules)
    for module in (run, tool_check):
        monkeypatch.setattr(module, "load_toolbox", lambda source: load_tools(source).toolbox)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            # Libraries that a command has imported meanwhile stay: some cannot be imported twice.
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                del sys.modules[name]

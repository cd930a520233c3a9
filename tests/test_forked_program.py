from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from forked_program import ProgramServer
from terminal_screen import Terminal

pytestmark = pytest.mark.terminal


@pytest.mark.parametrize("forked", [True, False])
def test_a_program_in_a_terminal_runs_once_and_its_shell_ends_after_it(
    tmp_path: Path, program_server: ProgramServer, forked: bool
) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('It runs.')\nraise SystemExit(3)\n")
    command = [str(script)] if forked else [sys.executable, str(script)]
    environment = {"PATH": os.environ["PATH"]}
    terminal = Terminal(command, tmp_path, tmp_path, environment, server=program_server if forked else None)
    try:
        assert terminal.exit_code() == 3
        terminal.wait_for("the end", lambda: terminal.child.flag_eof)
        assert terminal.raw.split() == b"It runs. the shell again".split()
    finally:
        terminal.close()

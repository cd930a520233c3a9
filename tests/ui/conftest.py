from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_program import ProgramServer
from scripted_terminal import BEGINNING, LAUNCHER, REPOSITORY, OpenRepl
from terminal_screen import Terminal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the REPL runs."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def repl(folder: Path, home: Path, tmp_path: Path, program_server: ProgramServer) -> Iterator[OpenRepl]:
    """Opens terminals with a REPL whose engine the script, a piece of Python, sets."""
    opened: list[Terminal] = []

    def open_(script: str, *flags: str, columns: int = 80, rows: int = 24, **environment: str) -> Terminal:
        notes = tmp_path / f"terminal-{len(opened)}"
        notes.mkdir()
        file = notes / "script.py"
        file.write_text(BEGINNING + script)
        path = os.pathsep.join(map(str, (REPOSITORY, LAUNCHER.parent)))
        opened.append(
            Terminal(
                [str(LAUNCHER), str(file), *flags],
                notes,
                folder,
                {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": path, **environment},
                columns=columns,
                rows=rows,
                server=program_server,
            )
        )
        return opened[-1]

    yield open_
    for one in opened:
        one.close()

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_terminal import BEGINNING, LAUNCHER, REPOSITORY
from terminal_screen import PATIENCE

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

SCRIPT = """
engine = GatedEngine()
cells = "".join(f"| {number} | a cell that is rather long, as cells are |\\n" for number in range(3))
engine.enqueue(Answer(text=["Before.\\n\\n" * 4, "| n | text |\\n|---|---|\\n" + cells, "@go", "\\nends."]))
"""


class Tmux:
    """A window of a tmux server of its own: unlike the emulator of other tests, it wraps its rows anew."""

    def __init__(self, folder: Path, command: list[str], columns: int, rows: int, environment: dict[str, str]) -> None:
        self._socket = str(folder / "tmux")
        self._environment = {**os.environ, **environment, "LC_ALL": "C.UTF-8"}
        self("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", str(columns), "-y", str(rows), *command)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *arguments],
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=PATIENCE,
            check=True,
        )
        return done.stdout

    @property
    def rows(self) -> list[str]:
        """All that is not empty, the scrollback too."""
        return [row.rstrip() for row in self("capture-pane", "-p", "-S", "-", "-t", "t").splitlines() if row.strip()]

    def wait_for(self, condition: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + PATIENCE
        while not ((rows := self.rows) and condition(rows)):
            assert time.monotonic() < deadline, "\n".join(rows)
            time.sleep(0.05)
        return rows


@pytest.fixture
def window(folder: Path, home: Path, tmp_path: Path) -> Iterator[Tmux]:
    script = tmp_path / "script.py"
    script.write_text(BEGINNING + SCRIPT)
    path = os.pathsep.join(map(str, (REPOSITORY, LAUNCHER.parent)))
    command = ["-c", str(folder), sys.executable, str(LAUNCHER), str(script)]
    made = Tmux(tmp_path, command, 90, 24, {"PYTHONPATH": path})
    yield made
    made("kill-server")


@pytest.mark.parametrize("columns", [36, 60, 120])
def test_a_resize_during_an_answer_leaves_nothing_twice(window: Tmux, folder: Path, columns: int) -> None:
    window.wait_for(lambda rows: "ready" in rows[-1])
    window("send-keys", "-t", "t", "go", "Enter")
    window.wait_for(lambda rows: any(row.startswith("2 │") for row in rows) and "answering" in rows[-1])
    window("resize-window", "-t", "t", "-x", str(columns), "-y", "24")
    window.wait_for(lambda rows: "answering" in rows[-1] and max(map(len, rows)) <= columns)
    (folder / "go").touch()
    rows = window.wait_for(lambda rows: "ready" in rows[-1])
    assert [row for row in rows if row in ("Before.", "ends.")] == ["Before."] * 4 + ["ends."]
    assert [row[0] for row in rows if row[1:3] == " │" and row[0] in "n012"] == [*"n012"], rows
    assert sum("scripted ·" in row for row in rows) == 1, rows
    assert [row for row in rows if row.startswith("›")] == ["› go", "›"]


@pytest.mark.parametrize("joined", ["👩‍👩‍👧", "🇩🇪🇫🇷"], ids=["family", "flags"])
def test_emoji_that_the_terminal_joins_leave_the_prompt_and_the_toolbar_whole(window: Tmux, joined: str) -> None:
    window.wait_for(lambda rows: "ready" in rows[-1])
    window("send-keys", "-t", "t", "-l", f"ab{joined}cd")
    window.wait_for(lambda rows: rows[-2] == f"› ab{joined}cd")
    window("send-keys", "-t", "t", "C-c")
    rows = window.wait_for(lambda rows: joined not in rows[-2])
    window("send-keys", "-t", "t", "-l", "next")
    rows = window.wait_for(lambda rows: "next" in rows[-2])
    assert rows[-2] == "› next", rows
    assert rows[-1].startswith("scripted ·"), rows

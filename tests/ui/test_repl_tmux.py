from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from scripted_terminal import BEGINNING, LAUNCHER, REPOSITORY
from terminal_screen import PATIENCE

from toolchat.ui.dialogs import ARMING_SECONDS

pytestmark = [pytest.mark.terminal, pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")]

TOOLS = """version: 1
tools:
  - callable: ./mine.py:typed
    approval: ask
  - callable: ./mine.py:shrink
    approval: allow
    timeout: 60
"""
MINE = '''
import pathlib, time

def typed(a: int) -> str:
    """Typed."""
    return "typed"

def shrink() -> str:
    """Say much, and then little."""
    for said, file in (("x" * 68, "little"), ("short", "end")):
        print(said, flush=True)
        while not pathlib.Path(file).exists():
            time.sleep(0.01)
    return "shrunk"
'''
SCRIPT = """
engine = GatedEngine()
cells = "".join(f"| {number} | a cell that is rather long, as cells are |\\n" for number in range(3))
engine.enqueue(Answer(text=["Before.\\n\\n" * 4, "| n | text |\\n|---|---|\\n" + cells, "@go", "\\nends."]))
"""
STREAM = """
import itertools
from toolchat.wire.deltas import Finished

class Endless(ScriptedEngine):
    async def generate(self, *_):
        for number in itertools.count():
            line = "some words of a line that is long enough to wrap now and then " * (number % 3)
            for word in f"L{number:03}: {line}end.\\n\\n".split(" "):
                yield Text(f"{word} ")
                await asyncio.sleep(0.005)
            if Path("end").exists():
                break
        yield Text("ends.")
        yield Finished(FinishReason.STOP, Usage(10, 5))

engine = Endless()
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


OpenWindow = Callable[..., Tmux]


@pytest.fixture
def open_window(folder: Path, home: Path, tmp_path: Path) -> Iterator[OpenWindow]:
    """Opens a window with a REPL whose engine the script, a piece of Python, sets."""
    opened: list[Tmux] = []

    def open_(script: str, *flags: str, columns: int = 90) -> Tmux:
        file = tmp_path / "script.py"
        file.write_text(BEGINNING + script)
        path = os.pathsep.join(map(str, (REPOSITORY, LAUNCHER.parent)))
        command = ["-c", str(folder), sys.executable, str(LAUNCHER), str(file), *flags]
        opened.append(Tmux(tmp_path, command, columns, 24, {"PYTHONPATH": path}))
        return opened[-1]

    yield open_
    for one in opened:
        with suppress(subprocess.CalledProcessError):  # it ended with the REPL
            one("kill-server")


@pytest.fixture
def window(open_window: OpenWindow) -> Tmux:
    return open_window(SCRIPT)


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


def test_many_resizes_during_an_answer_lose_no_line_and_leave_none_twice(open_window: OpenWindow, folder: Path) -> None:
    window = open_window(STREAM, columns=80)
    window.wait_for(lambda rows: "ready" in rows[-1])
    window("send-keys", "-t", "t", "go", "Enter")
    window.wait_for(lambda rows: any(row.startswith("L001") for row in rows))
    for number in range(40):
        window("resize-window", "-t", "t", "-x", str((200, 40, 80)[number % 3]), "-y", "24")
        time.sleep(0.1)  # as fast as a person drags the edge of a window
    (folder / "end").touch()
    rows = window.wait_for(lambda rows: "ends." in rows and "ready" in rows[-1])
    lines = [row[:4] for row in rows if row.startswith("L")]
    assert lines == [f"L{number:03}" for number in range(len(lines))], rows
    assert sum("scripted ·" in row for row in rows) == 1, rows
    assert [row for row in rows if row.startswith("›")] == ["› go", "›"]


@pytest.fixture
def with_tools(open_window: OpenWindow, folder: Path) -> OpenWindow:
    (folder / "mine.yaml").write_text(TOOLS)
    (folder / "mine.py").write_text(MINE)

    def open_(calls: str, columns: int) -> Tmux:
        script = f'engine = answering(Answer(calls=[{calls}]), "It is done.")'
        window = open_window(script, "--tools", "mine.yaml", columns=columns)
        window.wait_for(lambda rows: "ready" in rows[-1])
        window("send-keys", "-t", "t", "go", "Enter")
        return window

    return open_


def resize(window: Tmux, *columns: int) -> list[str]:
    """The rows once the chat has drawn them anew, which shows in what is typed then."""
    for each in columns:
        window("resize-window", "-t", "t", "-x", str(each), "-y", "24")
    window("send-keys", "-t", "t", "-l", "z")
    rows = window.wait_for(lambda rows: any(row.endswith("z") for row in rows[-3:]))
    assert max(map(len, rows)) <= columns[-1]
    return rows


@pytest.mark.parametrize(("before", "after"), [(80, 70), (80, 40), (200, 60), (40, 200)])
def test_a_dialog_that_changed_is_there_once_after_a_resize(with_tools: OpenWindow, before: int, after: int) -> None:
    window = with_tools('call("typed", a=1)', before)
    window.wait_for(lambda rows: any("Run typed?" in row for row in rows))
    edit(window)
    rows = resize(window, after)
    for once in ("The model asks to run typed:", "  a: 1", "The arguments of typed, as JSON:", "› go"):
        assert rows.count(once) == 1, rows
    assert sum("Esc: back" in row for row in rows) == 1, rows
    assert not any("Run typed?" in row or "S, A:" in row for row in rows), rows


def edit(window: Tmux) -> None:
    """Press the key that leads to the editor, until it does: it does not count before the dialog is armed."""
    while not any("as JSON:" in row for row in window.rows):
        window("send-keys", "-t", "t", "e")
        time.sleep(2 * ARMING_SECONDS)


@pytest.mark.parametrize(("before", "after"), [(80, 60), (200, 40), (40, 80)])
def test_a_call_that_says_less_than_before_is_there_once_after_a_resize(
    with_tools: OpenWindow, folder: Path, before: int, after: int
) -> None:
    window = with_tools('call("shrink")', before)
    window.wait_for(lambda rows: any(row.startswith("  │ xxx") for row in rows))
    (folder / "little").touch()
    window.wait_for(lambda rows: "  │ short" in rows)
    rows = resize(window, after)
    assert sum(row.startswith("→ shrink()") for row in rows) == 1, rows
    assert rows.count("  │ short") == rows.count("› go") == 1, rows
    (folder / "end").touch()
    rows = window.wait_for(lambda rows: "It is done." in rows and "ready" in rows[-1])
    assert not any(row.startswith("→") for row in rows), rows


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

"""A terminal with a program in it, whose screen can be read as a person sees it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pyte
from at_the_terminal import end_program
from forked_program import ForkedSpawn, ProgramServer

PATIENCE = float(os.environ.get("PATIENCE", "60"))
"""Seconds after which what is waited for is taken not to come."""

PROMPT = "›"
ENTER, ESCAPE, TAB = "\r", "\x1b", "\t"
CTRL_C, CTRL_D, CTRL_J, CTRL_R, CTRL_Z = "\x03", "\x04", "\n", "\x12", "\x1a"
ALT_ENTER = "\x1b\r"

_BRACKETED_PASTE = 2004 << 5  # as pyte numbers private modes

TRACEBACK = b"Traceback (most recent"

SHELL = Path(__file__).with_name("terminal_shell.py")


def squeeze(text: str) -> str:
    return "".join(text.split())


class _Screen(pyte.HistoryScreen):
    """Answers when it is asked where its cursor is, as real terminals do."""

    def __init__(self, columns: int, rows: int, answer: Callable[[str], object]) -> None:
        super().__init__(columns, rows, history=5000, ratio=0.5)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """Runs `command` below a shell; what it shows is read by `wait_for` and kept as a terminal keeps it."""

    def __init__(
        self,
        command: Sequence[str],
        notes: Path,
        cwd: Path,
        environment: Mapping[str, str],
        *,
        columns: int = 80,
        rows: int = 24,
        patience: float = PATIENCE,
        server: ProgramServer | None = None,
    ) -> None:
        """With `server`, `command` is one for it."""
        self._notes = notes
        self._patience = patience
        options: dict[str, Any] = {
            "cwd": str(cwd),
            "env": {"TERM": "xterm-256color", **environment},
            "dimensions": (rows, columns),
            "timeout": patience,
        }
        self.child: pexpect.spawn[bytes] = (
            ForkedSpawn(server, command, notes, **options)
            if server is not None
            else pexpect.spawn(sys.executable, [str(SHELL), str(notes), *command], **options)
        )
        self.raw = b""
        """All that the program has written."""
        self._screen = _Screen(columns, rows, self.child.send)
        self._stream = pyte.ByteStream(self._screen)

    # What is seen.

    @property
    def display(self) -> list[str]:
        """The rows of the screen, top to bottom."""
        return [row.rstrip() for row in self._screen.display]

    @property
    def rows(self) -> list[str]:
        """All rows that are not empty, also those that have left the screen at its top."""
        columns = self._screen.columns
        above = ["".join(row[column].data for column in range(columns)) for row in self._screen.history.top]
        return [row.rstrip() for row in [*above, *self._screen.display] if row.strip()]

    @property
    def toolbar(self) -> str:
        """The last row that is not empty."""
        return next((row for row in reversed(self.display) if row.strip()), "")

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row, from 0."""
        return self._screen.cursor.x, self._screen.cursor.y

    def colour(self, text: str) -> str:
        """Of the last row of the screen that begins with `text`, as pyte names it ("default", "cyan"); "" for none."""
        at = [y for y, row in enumerate(self.display) if row.startswith(text)]
        return str(self._screen.buffer[at[-1]][0].fg) if at else ""

    @property
    def typed(self) -> str:
        """What stands on the row of the cursor, without the prompt."""
        row = self.display[self._screen.cursor.y]
        return row.removeprefix(PROMPT).strip()

    def since(self, mark: str = "") -> str:
        """What follows the last `mark`, all white space left out: a terminal breaks rows within words. Else ""."""
        squeezed = squeeze("".join(self.rows))
        _, found, after = squeezed.rpartition(squeeze(mark)) if mark else ("", " ", squeezed)
        return after if found else ""

    def shows(self, text: str, since: str = "") -> bool:
        """True where `text` stands on the screen after `since`, wherever the terminal has broken its rows."""
        return squeeze(text) in self.since(since)

    def index(self, row: str) -> int:
        """Where in `rows` that row stands, the last of them. Fails where it does not."""
        rows = self.rows
        assert row in rows, rows
        return len(rows) - 1 - rows[::-1].index(row)

    # Waiting: for what is on the screen, never for time to pass.

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Go on reading until `condition` holds. Fails with the screen where it does not come to hold."""
        deadline = time.monotonic() + self._patience
        while not condition():
            assert time.monotonic() < deadline, f"not seen: {what}; the screen:\n" + "\n".join(self.rows)
            try:
                data = self.child.read_nonblocking(65536, timeout=0.05)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                assert condition(), f"ended before: {what}; the screen:\n" + "\n".join(self.rows)
                return
            self.raw += data
            self._stream.feed(data)
            # Also where it was cut in two by the reading.
            assert TRACEBACK not in self.raw[-len(data) - len(TRACEBACK) :], "\n".join(self.rows)

    def wait_for_text(self, text: str, since: str = "") -> None:
        self.wait_for(text, lambda: self.shows(text, since))

    def wait_for_row(self, row: str) -> None:
        self.wait_for(row, lambda: row in self.rows)

    def wait_for_prompt(self) -> None:
        """An empty one, with nothing under way."""
        self.wait_for(
            "the prompt",
            lambda: self.typed == "" and self._at_prompt and " ready" in self.toolbar and "queued" not in self.toolbar,
        )

    def wait_for_typed(self, text: str) -> None:
        self.wait_for(f"{text!r} at the prompt", lambda: self.typed == text)

    @property
    def _at_prompt(self) -> bool:
        return self.display[self._screen.cursor.y].startswith(PROMPT)

    # What is done.

    def press(self, *keys: str) -> None:
        for key in keys:
            self.child.send(key)

    def type(self, line: str) -> None:
        """Type `line` and Enter, as soon as the prompt is there."""
        self.wait_for_prompt()
        self.child.send(line)
        self.wait_for(f"{line!r} at the prompt", lambda: squeeze("".join(self.display)).count(squeeze(line)) > 0)
        shown = self.rows.count(f"{PROMPT} {line}")
        self.child.send(ENTER)
        # It may be back in the input already, or a question may stand where the prompt was.
        self.wait_for(
            "that it was sent",
            lambda: self.typed == "" or self.rows.count(f"{PROMPT} {line}") > shown or "waits for you" in self.toolbar,
        )

    def paste(self, text: str) -> None:
        """Paste, as terminals do it for programs that ask for brackets around it."""
        self.child.send(f"\x1b[200~{text}\x1b[201~")

    def resize(self, columns: int, rows: int) -> None:
        self._screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def ctrl_c(self) -> None:
        self.child.send(CTRL_C)

    def leave(self) -> None:
        self.wait_for_prompt()
        self.child.send(CTRL_D)

    def close(self) -> None:
        """End the program where the test is over; never fails."""
        end_program(self.child)

    # How it ended.

    def exit_code(self) -> int:
        """Of the program, once it has ended and the shell has the terminal again."""
        self.wait_for("the end of the program", lambda: self.shows("the shell again"))
        return int((self._notes / "code").read_text())

    @property
    def is_restored(self) -> bool:
        """True where the terminal's settings are what they were before the program."""
        return (self._notes / "before").read_text() == (self._notes / "after").read_text() != ""

    @property
    def brackets_pastes(self) -> bool:
        """True while the terminal puts brackets around what is pasted: programs that did not ask would read them."""
        return _BRACKETED_PASTE in self._screen.mode

    @property
    def was_restored_meanwhile(self) -> bool:
        """The same, of the moment in which the program was stopped."""
        return (self._notes / "before").read_text() == (self._notes / "stopped").read_text() != ""

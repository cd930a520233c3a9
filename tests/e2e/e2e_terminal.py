"""A terminal of 80 by 24 with a program in it, whose screen can be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pexpect
import pyte
from e2e_processes import PATIENCE

PROMPT = "›"
CTRL_D = "\x04"

# A shell around the program, which notes how the terminal was set before and after, and the exit code.
AROUND = (
    'trap : INT; stty -g >"$1/before"; there="$1"; shift; '
    '"$@"; echo $? >"$there/code"; stty -g >"$there/after"; printf "\\r\\nthe shell again\\r\\n"'
)


def _squeeze(text: str) -> str:
    return "".join(text.split())


class _Screen(pyte.HistoryScreen):
    """Answers when it is asked where its cursor is, as real terminals do."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        super().__init__(80, 24, history=2000, ratio=0.5)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """Runs `command` below a shell; what it shows is read by `wait_for` and kept as a terminal keeps it."""

    def __init__(self, command: Sequence[str], notes: Path, cwd: Path, environment: Mapping[str, str]) -> None:
        self._notes = notes
        self.child = pexpect.spawn(
            "bash",
            ["-c", AROUND, "bash", str(notes), *command],
            cwd=str(cwd),
            env={**environment, "TERM": "xterm-256color"},
            dimensions=(24, 80),
            timeout=PATIENCE,
        )
        self._screen = _Screen(self.child.send)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def rows(self) -> list[str]:
        """All rows that are not empty, also those that have left the screen at its top."""
        above = ["".join(row[column].data for column in range(80)) for row in self._screen.history.top]
        return [row.rstrip() for row in [*above, *self._screen.display] if row.strip()]

    def since(self, mark: str = "") -> str:
        """What follows the last `mark`, all white space left out: a terminal breaks rows within words. Else ""."""
        squeezed = _squeeze("".join(self.rows))
        _, found, after = squeezed.rpartition(_squeeze(mark)) if mark else ("", " ", squeezed)
        return after if found else ""

    def shows(self, text: str, since: str = "") -> bool:
        """True where `text` stands on the screen after `since`, wherever the terminal has broken its rows."""
        return _squeeze(text) in self.since(since)

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Go on reading until `condition` holds. Fails with the screen after two minutes."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"not seen: {what}; the screen:\n" + "\n".join(self.rows)
            try:
                self._stream.feed(self.child.read_nonblocking(65536, timeout=0.1))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                assert condition(), f"ended before: {what}; the screen:\n" + "\n".join(self.rows)

    def wait_for_prompt(self) -> None:
        self.wait_for("the prompt", self._at_prompt)

    def _at_prompt(self) -> bool:
        here = self._screen.display[self._screen.cursor.y]
        return here.strip() == PROMPT and self.rows[-1] == here.rstrip()

    def type(self, line: str) -> None:
        """Type `line` and Enter, as soon as the prompt is there."""
        self.wait_for_prompt()
        self.child.send(line + "\r")
        self.wait_for("what was typed", lambda: not self._at_prompt())

    def ctrl_c(self) -> None:
        self.child.sendintr()

    def leave(self) -> None:
        self.wait_for_prompt()
        self.child.send(CTRL_D)

    def exit_code(self) -> int:
        """Of the program, once it has ended and the shell has the terminal again."""
        self.wait_for("the end of the program", lambda: self.shows("the shell again"))
        return int((self._notes / "code").read_text())

    @property
    def is_restored(self) -> bool:
        """True where the terminal's settings are what they were before the program."""
        return (self._notes / "before").read_text() == (self._notes / "after").read_text() != ""

"""The table of odd environments: locale, standard input, standard output, home, working directory, terminal.

Each row of it runs `ask`, `repl --plain` and `tools list`, with a scripted engine. What must come out is reckoned from
the row alone.
"""

from __future__ import annotations

import array
import fcntl
import itertools
import json
import os
import random
import re
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from cli_program import REPOSITORY
from stored import stored_rows

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).with_name("scripted_program.py")
LINES = [f"{number} → Grüße 日本 ✓ {'x' * 400}" for number in range(40)]
ANSWER = "\n".join(LINES)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NOT_RECORDED = "this session is not recorded"
NO_PASSWD = """import pwd
def nobody(user):
    raise KeyError(f"getpwuid(): uid not found: {user}")
pwd.getpwuid = nobody
"""
"""What a sitecustomize.py says for a user without an entry in passwd."""
SAMPLES = ("get_current_weather", "calculate", "current_time", "convert_units", "list_files", "read_file")


@dataclass(frozen=True, slots=True)
class Row:
    locale: str
    stdin: str
    stdout: str
    home: str
    cwd: str
    term: str

    def __str__(self) -> str:
        return "-".join(getattr(self, field.name) for field in fields(self))


VALUES = Row(
    locale=("utf8", "ascii", "latin1", "eucjp"),  # type: ignore[arg-type]
    stdin=("null", "closed", "unreadable", "bom", "waiting"),  # type: ignore[arg-type]
    stdout=("pipe", "nonblocking", "file", "full", "gone", "closed"),  # type: ignore[arg-type]
    home=("own", "none", "null", "readonly"),  # type: ignore[arg-type]
    cwd=("own", "deleted", "readonly"),  # type: ignore[arg-type]
    term=("none", "dumb", "forced"),  # type: ignore[arg-type]
)
LOCALES = {
    "utf8": ({"LC_ALL": "C.UTF-8"}, "utf-8"),
    "ascii": ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
    "latin1": ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "iso-8859-1"}, "iso-8859-1"),
    "eucjp": ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "euc-jp"}, "euc-jp"),
}
STATES = {"null": "/dev/null", "readonly": "/proc/nothing"}
TERMS = {"none": {}, "dumb": {"TERM": "dumb"}, "forced": {"TERM": "xterm-256color", "FORCE_COLOR": "1"}}


def table(size: int) -> list[Row]:
    """Rows of which the first have every pair of values, and the rest are drawn; the same at each call."""
    choices = [getattr(VALUES, field.name) for field in fields(Row)]
    rows = list(itertools.product(*choices))
    random.Random(12).shuffle(rows)
    wanted = {
        (one, first, other, second)
        for one, other in itertools.combinations(range(len(choices)), 2)
        for first in choices[one]
        for second in choices[other]
    }
    pairs_of = {row: pairs(row) for row in rows}
    found: list[tuple[str, ...]] = []
    while wanted:
        best = max(rows, key=lambda row: len(wanted & pairs_of[row]))
        wanted -= pairs_of[best]
        found.append(best)
    found += [row for row in rows if row not in found][: max(0, size - len(found))]
    return [Row(*row) for row in found]


def pairs(row: tuple[str, ...]) -> set[tuple[int, str, int, str]]:
    return {(one, row[one], other, row[other]) for one, other in itertools.combinations(range(len(row)), 2)}


ROWS = table(64)
QUICK = 7
"""Rows that `make test` runs: among them are all values. They take some 15 s together."""


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str
    questions: list[str]
    """By the session's record, where there is one."""


class Place:
    """The folders of one row, and the runs in it."""

    def __init__(self, row: Row, folder: Path) -> None:
        self.row = row
        self._folder = folder
        self._state = folder / "home" / ".local" / "state"
        (folder / "home").mkdir()

    @property
    def recorded(self) -> bool:
        return self.row.home == "own"

    def run(self, *command: str, name: str) -> Ran:
        row = self.row
        work = self._folder / f"work-{name}"
        work.mkdir()
        wrapper = 'exec "$@"'
        wrapper += {"closed": " <&-", "unreadable": " 0>/dev/null"}.get(row.stdin, "")
        wrapper += " >&-" if row.stdout == "closed" else ""
        if row.cwd == "deleted":
            wrapper = f'rmdir "{work}"; {wrapper}'
        variables, encoding = LOCALES[row.locale]
        stdin, feed = self._stdin()
        stdout, read = self._stdout()
        process = subprocess.Popen(
            ["sh", "-c", wrapper, "sh", *command],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd="/proc" if row.cwd == "readonly" else work,
            env=self._environment() | variables,
        )
        os.close(stdin)
        os.close(stdout)
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.extend(read_to_end(read)), daemon=True)
        reader.start()
        if feed is not None:
            give(feed, [b"first\n", b"second \xc3\xa9\n"], process)
        _, err = process.communicate(timeout=120)
        reader.join(timeout=60)
        out = b"".join(received)
        if row.stdout == "file":
            out = (self._folder / "out").read_bytes()
        rows = stored_rows(self._state / "toolchat" / "sessions")
        questions = [row["data"]["text"] for row in rows if row["type"] == "question_asked"]
        return Ran(process.returncode, COLOUR.sub("", out.decode(encoding)), err.decode(encoding), questions)

    def _environment(self) -> dict[str, str]:
        row = self.row
        unset = ("HOME", "TERM", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING", "PYTHONUTF8")
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment |= {"PYTHONPATH": str(REPOSITORY), **TERMS[row.term]}
        if row.home == "none":
            (self._folder / "sitecustomize.py").write_text(NO_PASSWD)
            environment["PYTHONPATH"] = f"{self._folder}{os.pathsep}{REPOSITORY}"
        else:
            environment["HOME"] = str(self._folder / "home")
        if row.home in STATES:
            environment["XDG_STATE_HOME"] = STATES[row.home]
        return environment

    def _stdin(self) -> tuple[int, int | None]:
        if self.row.stdin == "bom":
            path = self._folder / "question"
            # As two files that were joined.
            path.write_bytes(b"\xef\xbb\xbffirst\n\xef\xbb\xbfsecond \xc3\xa9\n")
            return os.open(path, os.O_RDONLY), None
        if self.row.stdin == "waiting":
            read, write = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read, False)
            return read, write
        return os.open(os.devnull, os.O_RDONLY), None

    def _stdout(self) -> tuple[int, int]:
        """What the program writes to, and where that is read; -1 for nowhere."""
        if self.row.stdout == "full":
            return os.open("/dev/full", os.O_WRONLY), -1
        if self.row.stdout == "file":
            return os.open(self._folder / "out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), -1
        read, write = os.pipe2(os.O_CLOEXEC)
        if self.row.stdout == "gone":
            os.close(read)
            return write, -1
        if self.row.stdout == "nonblocking":
            os.set_blocking(write, False)
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        return write, read


def read_to_end(fd: int) -> Iterator[bytes]:
    if fd < 0:
        return
    with os.fdopen(fd, "rb") as file:
        yield file.read()


def give(fd: int, parts: list[bytes], process: subprocess.Popen[bytes]) -> None:
    """Write each part once the one before has been read: whoever reads on meets nothing."""
    with os.fdopen(fd, "wb", buffering=0) as file:
        for part in parts:
            try:
                file.write(part)
            except BrokenPipeError:  # it has ended, as it should where it cannot write
                return
            until, left = time.monotonic() + 30, array.array("i", [1])
            while left[0] and process.poll() is None and time.monotonic() < until:
                fcntl.ioctl(fd, termios.FIONREAD, left)
                time.sleep(0.002)


def check_streams(row: Row, ran: Ran, usual: int = 0) -> bool:
    """What holds for every command; whether its output can be looked at."""
    assert "Traceback" not in ran.err, ran
    assert "report it" not in ran.err, ran
    # A spinner hides the cursor, and draws over its row.
    assert "\x1b[?" not in ran.err, ran
    assert "\r" not in ran.err, ran
    if row.stdout == "full":
        assert (ran.code, ran.out) == (1, ""), ran
        assert "toolchat: standard output: No space left on device; make room there" in ran.err, ran
        return False
    if row.stdout == "gone":
        assert (ran.code, ran.out) == (141, ""), ran
        return False
    assert ran.code == usual, ran
    return row.stdout != "closed"


def said(text: str, row: Row) -> str:
    """`text` as this locale can say it."""
    encoding = LOCALES[row.locale][1]
    return text.encode(encoding, "replace").decode(encoding)


def run_row(row: Row, folder: Path, model: Path) -> None:
    place = Place(row, folder)
    scripted = (sys.executable, str(SCRIPT), json.dumps([ANSWER, ANSWER]))
    piped = row.stdin in ("bom", "waiting")

    ran = place.run(*scripted, "ask", "hi", "--model", str(model), name="ask")
    if check_streams(row, ran):
        assert ran.out == said(ANSWER, row) + "\n"
        assert ran.err.count(NOT_RECORDED) == (0 if place.recorded else 1), ran.err
    if place.recorded and row.stdout not in ("full", "gone"):
        assert ran.questions == ["hi\n\nfirst\nsecond é" if piped else "hi"]

    ran = place.run(*scripted, "repl", "--plain", "--model", str(model), name="repl")
    # Without a line to read there is nothing to write either, but for the notice.
    if row.stdout in ("pipe", "nonblocking", "file", "closed") or piped:
        visible = check_streams(row, ran)
    else:
        visible = False
        assert "Traceback" not in ran.err
        assert "report it" not in ran.err
    if visible:
        lines = ran.out.splitlines()
        for line in LINES:
            assert lines.count(said(line, row)) == (2 if piped else 0), (line, ran.out)
        assert ran.out.count(NOT_RECORDED) == (0 if place.recorded else 1)
    if place.recorded and row.stdout not in ("full", "gone"):
        # A chat in which nothing was asked is not stored: the last session is that of ask.
        assert ran.questions == (["first", "second é"] if piped else ["hi"])

    ran = place.run(sys.executable, "-m", "toolchat", "tools", "list", name="tools")
    if check_streams(row, ran):
        assert all(name in ran.out for name in SAMPLES), ran
        assert "6 tools in " in ran.out
        assert ran.err == ""
    assert not list(folder.glob("**/~"))


@pytest.mark.parametrize("row", ROWS[:QUICK], ids=str)
def test_an_odd_environment_loses_nothing(row: Row, tmp_path: Path, model_folder: Path) -> None:
    folder = tmp_path / "row"
    folder.mkdir()
    run_row(row, folder, model_folder)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS[QUICK:], ids=str)
def test_every_odd_environment_loses_nothing(row: Row, tmp_path: Path, model_folder: Path) -> None:
    folder = tmp_path / "row"
    folder.mkdir()
    run_row(row, folder, model_folder)


def test_the_quick_rows_have_every_value() -> None:
    for field in fields(Row):
        assert {getattr(row, field.name) for row in ROWS[:QUICK]} == set(getattr(VALUES, field.name))
    assert len(set(ROWS)) >= 60

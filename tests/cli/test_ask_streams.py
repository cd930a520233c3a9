"""Forty uses of `ask` with standard input and output in odd states. What must come out stands in the row."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asking import Asking
from forked_program import ProgramServer

pytestmark = pytest.mark.process

ANSWER = "Grüße → 日本\n" + "x" * 9000
"""Longer than the pipe of "narrow" holds, with characters that some encodings lack."""
ASKED = "What is it?"


@dataclass(frozen=True, slots=True)
class Use:
    stdin: str
    stdout: str = "pipe"
    question: str | None = ASKED
    flags: tuple[str, ...] = ()
    code: int = 0
    asked: str | None = ASKED
    """What the engine was asked; None for nothing."""
    said: str = ""
    """One line of stderr; "" for none at all."""
    encoding: str = "utf-8"
    out: str = ANSWER + "\n"

    def __str__(self) -> str:
        flags = "".join(self.flags)
        return f"{self.stdin}-{self.stdout}-{'question' if self.question else 'none'}{flags}-{self.encoding}"


NO_QUESTION = "there is no question"
ADDED = "standard input adds"
FULL = "standard output: No space left on device; make room there"
NONE = {"asked": None, "out": ""}
USES = (
    # Standard input as it usually is.
    Use("null"),
    Use("closed"),
    Use("empty pipe"),
    Use("empty file"),
    Use("blank"),
    Use(
        "text", asked=f"{ASKED}\n\nfirst\nsecond é", said=f"{ADDED} 15 bytes to the question; --no-stdin leaves it out"
    ),
    Use("text", question=None, asked="first\nsecond é"),
    Use("file", asked=f"{ASKED}\n\nfirst\nsecond é", said=ADDED),
    Use("file", question=None, asked="first\nsecond é"),
    Use("socket", asked=f"{ASKED}\n\nfirst\nsecond é", said=ADDED),
    Use("fifo", asked=f"{ASKED}\n\nfirst\nsecond é", said=ADDED),
    Use("large", asked=f"{ASKED}\n\n{'a' * 300_000}", said=f"{ADDED} 300 kB"),
    # Left alone.
    Use("text", flags=("--no-stdin",)),
    Use("open pipe", flags=("--no-stdin",)),
    Use("latin-1", flags=("--no-stdin",)),
    Use("text", question=None, flags=("--no-stdin",), code=2, said=NO_QUESTION, **NONE),  # type: ignore[arg-type]
    Use("text", flags=("--quiet",), asked=f"{ASKED}\n\nfirst\nsecond é"),
    # As it should not be.
    Use("write-only"),
    Use("write-only", question=None, code=2, said=NO_QUESTION, **NONE),  # type: ignore[arg-type]
    Use("closed", question=None, code=2, said=NO_QUESTION, **NONE),  # type: ignore[arg-type]
    Use("null", question=None, code=2, said=NO_QUESTION, **NONE),  # type: ignore[arg-type]
    Use("latin-1", code=2, said="standard input is not text in UTF-8 (byte 2)", **NONE),  # type: ignore[arg-type]
    Use("utf-16", code=2, said="standard input is not text in UTF-8 (byte 0)", **NONE),  # type: ignore[arg-type]
    Use("bom", asked=f"{ASKED}\n\nfirst\nsecond é", said=ADDED),
    Use("non-blocking", asked=f"{ASKED}\n\nfirst\nsecond é", said=ADDED),
    Use("reset socket", code=2, said="standard input cannot be read: Connection reset", **NONE),  # type: ignore[arg-type]
    # Standard output.
    Use("null", "narrow"),
    Use("null", "non-blocking"),
    Use("null", "file"),
    Use("null", "append"),
    Use("null", "socket"),
    Use("null", "full", code=1, said=FULL, out=""),
    Use("null", "closed", out=""),
    Use("null", "gone", code=141, out=""),
    Use("null", "read-only", code=1, said="standard output: Bad file descriptor", out=""),
    Use("closed", "closed", out=""),
    Use("text", "full", question=None, code=1, asked="first\nsecond é", said=FULL, out=""),
    # Encodings that lack a character.
    Use("null", encoding="ascii", out=ANSWER.encode("ascii", "replace").decode() + "\n"),
    Use("null", encoding="latin-1", out=ANSWER.encode("latin-1", "replace").decode("latin-1") + "\n"),
    Use(
        "text",
        question=None,
        asked="first\nsecond é",
        encoding="ascii",
        out=ANSWER.replace("ü", "?").replace("ß", "?").replace("→", "?").replace("日本", "??") + "\n",
    ),
    Use("null", "non-blocking", encoding="euc-jp", out=ANSWER.replace("ü", "ü") + "\n"),
)
TEXT = "first\nsecond é\n".encode()


class Place:
    """Makes the streams of one use, and reads what comes out of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[int] = []
        self.feeders: list[threading.Thread] = []

    def close(self) -> None:
        for descriptor in self._open:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def stdin(self, state: str) -> int | None:
        contents = {
            "text": TEXT,
            "empty pipe": b"",
            "blank": b" \n\n",
            "large": b"a" * 300_000,
            "latin-1": "größer".encode("latin-1"),
            "utf-16": "größer".encode("utf-16"),
            "bom": b"\xef\xbb\xbf" + TEXT,
            "non-blocking": TEXT,
        }
        match state:
            case "closed":
                return None
            case "null":
                return os.open(os.devnull, os.O_RDONLY)
            case "write-only":
                return os.open(os.devnull, os.O_WRONLY)
            case "file" | "empty file":
                path = self._folder / "given"
                path.write_bytes(TEXT if state == "file" else b"")
                return os.open(path, os.O_RDONLY)
            case "fifo":
                path = self._folder / "fifo"
                os.mkfifo(path)
                self._later(lambda: path.write_bytes(TEXT))
                return os.open(path, os.O_RDONLY)
            case "socket" | "reset socket":
                ours, theirs = socket.socketpair()
                if state == "socket":
                    ours.sendall(TEXT)
                else:
                    # Closed with something unread in it, its other side is told of a reset.
                    theirs.sendall(b"unread")
                ours.close()
                return theirs.detach()
            case "open pipe":
                read, write = os.pipe()
                self._open.append(write)
                return read
        read, write = os.pipe()
        if state == "non-blocking":
            os.set_blocking(read, False)

        def feed() -> None:
            with os.fdopen(write, "wb", buffering=0) as file:
                for part in [contents[state]] if state != "non-blocking" else [TEXT[:3], TEXT[3:]]:
                    file.write(part)

        self._later(feed)
        return read

    def _later(self, feed: Callable[[], object]) -> None:
        def run() -> None:
            with contextlib.suppress(BrokenPipeError):
                feed()

        self.feeders.append(threading.Thread(target=run, daemon=True))
        self.feeders[-1].start()

    def stdout(self, state: str) -> tuple[int | None, Callable[[], bytes]]:
        """What the program writes to, and what has arrived there, once the program has ended."""
        nothing = bytes
        match state:
            case "closed":
                return None, nothing
            case "full":
                return os.open("/dev/full", os.O_WRONLY), nothing
            case "read-only":
                return os.open(os.devnull, os.O_RDONLY), nothing
            case "file" | "append":
                path = self._folder / "out"
                path.write_bytes(b"before\n")
                how = os.O_APPEND if state == "append" else os.O_TRUNC
                return os.open(path, os.O_WRONLY | how), lambda: path.read_bytes().removeprefix(b"before\n")
            case "gone":
                read, write = os.pipe()
                os.close(read)
                return write, nothing
            case "socket":
                ours, theirs = socket.socketpair()
                return theirs.detach(), self._reading(ours.detach())
        read, write = os.pipe()
        if state == "narrow":
            import fcntl

            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        if state == "non-blocking":
            os.set_blocking(write, False)
        return write, self._reading(read)

    def _reading(self, descriptor: int) -> Callable[[], bytes]:
        received: list[bytes] = []

        def read() -> None:
            with os.fdopen(descriptor, "rb") as file:
                received.append(file.read())

        reader = threading.Thread(target=read, daemon=True)
        reader.start()

        def whole() -> bytes:
            reader.join(60)
            return received[0]

        return whole

    def stderr(self) -> tuple[int, Callable[[], bytes]]:
        read, write = os.pipe()
        return write, self._reading(read)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def test_there_are_forty_uses() -> None:
    assert len(USES) >= 40
    assert len(set(map(str, USES))) == len(USES)


@pytest.mark.parametrize("use", USES, ids=str)
def test_ask_in_odd_states_loses_nothing_and_says_what_is_wrong(
    program_server: ProgramServer, model_folder: Path, use: Use, place: Place, home: Path
) -> None:
    out, read_out = place.stdout(use.stdout)
    err, read_err = place.stderr()
    stdin = place.stdin(use.stdin)
    given = [stream if stream is not None else os.open(os.devnull, os.O_RDWR) for stream in (stdin, out, err)]
    closed = [number for number, stream in enumerate((stdin, out)) if stream is None]
    asking = Asking(program_server, home, ("--no-tools", "--model", str(model_folder)))
    arguments = (*([use.question] if use.question is not None else []), *use.flags)
    how = {"answers": [ANSWER], "closed": closed, "encoding": use.encoding}
    pid = asking.start(*arguments, streams=(given[0], given[1], given[2]), **how)
    for stream in given:
        os.close(stream)
    code = asking.code(pid)
    told = read_err().decode(use.encoding)
    assert code == use.code, told
    assert "Traceback" not in told
    assert read_out().decode(use.encoding) == use.out
    log = home / "asked"
    assert (log.read_text() if log.exists() else None) == (None if use.asked is None else f"{use.asked}\n")
    lines = told.splitlines()
    assert len(lines) == bool(use.said), told
    assert not lines or lines[0].startswith(f"toolchat: {use.said}"), told

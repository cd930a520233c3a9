from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from toolchat.standard_streams import read_all

pytestmark = pytest.mark.process

WRITES = """
import sys
from toolchat.standard_streams import open_standard_streams
open_standard_streams()
"""


def run(
    code: str, redirection: str = "", stdout: int = subprocess.PIPE, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """What a program does whose first act is to open its streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-c", WRITES + code],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "", **variables},
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_does_not_wait_gets_everything(unbuffered: str) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(read_all(read)))
    reader.start()
    done = run("for _ in range(300): print('x' * 9999)", stdout=write, PYTHONUNBUFFERED=unbuffered)
    os.close(write)
    reader.join(timeout=60)
    os.close(read)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(received[0]) == 300 * 10_000


@pytest.mark.parametrize("encoding", ["iso-8859-1", "euc-jp", "koi8-r", "cp437", "gb2312", "big5", "ascii"])
def test_what_the_encoding_lacks_is_replaced_and_the_rest_is_there(encoding: str) -> None:
    text = "→ größer ✓ 日本 ñ Ж €\nend\n"
    done = run(f"print({text[:-1]!r})", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.stdout == text.encode(encoding, "replace")
    assert "? größer ? ?? ñ ? ?".encode("iso-8859-1") in done.stdout or encoding != "iso-8859-1"


def test_a_half_of_a_character_does_not_end_it() -> None:
    assert run(r"print('a\ud800b')", PYTHONIOENCODING="utf-8").stdout == b"a?b\n"


def test_the_users_own_way_to_say_what_is_lacking_stays() -> None:
    assert run("print('→')", PYTHONIOENCODING="ascii:xmlcharrefreplace").stdout == b"&#8594;\n"


@pytest.mark.parametrize("redirection", ["<&-", "0>/dev/null", "0>>/dev/zero", "0>/dev/full", "0>&1", "0>&2"])
def test_standard_input_that_cannot_be_read_is_at_its_end(redirection: str) -> None:
    done = run("print(repr(sys.stdin.read()))", redirection)
    assert (done.stdout, done.stderr) == (b"''\n", b"")


def test_a_full_standard_output_is_named() -> None:
    done = run("print('x', flush=True)", ">/dev/full")
    assert b"No space left on device: 'standard output'" in done.stderr


def test_a_full_standard_error_costs_no_output() -> None:
    done = run("print('log', file=sys.stderr); print('answer')", "2>/dev/full")
    assert (done.returncode, done.stdout) == (0, b"answer\n")


def test_standard_error_is_written_at_once() -> None:
    done = run("import os; print('first', file=sys.stderr); os.write(2, b'second')")
    assert done.stderr == b"first\nsecond"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_was_written_when_a_signal_came_is_not_written_again(stream: str) -> None:
    code = f"""
import os
write = os.write
def interrupted(fd, data):
    os.write = write
    write(fd, data)
    raise KeyboardInterrupt
os.write = interrupted
try:
    print("once", file=sys.{stream}, flush=True)
except KeyboardInterrupt:
    pass
"""
    done = run(code)
    assert getattr(done, stream).count(b"once") == 1

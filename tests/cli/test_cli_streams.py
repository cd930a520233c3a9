from __future__ import annotations

import os
import subprocess

import pytest
from cli_program import PROGRAM, Program

pytestmark = pytest.mark.process

BROKEN_PIPE = 141


@pytest.mark.parametrize("arguments", [("tools", "list"), ("models", "list"), ("--help",), ("--version",)])
def test_a_reader_that_has_gone_ends_it_quietly(toolchat: Program, arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    ran = toolchat(*arguments, stdout=write)
    os.close(write)
    assert (ran.code, ran.err) == (BROKEN_PIPE, "")


def test_a_reader_of_one_byte_ends_it_quietly(toolchat: Program) -> None:
    # Far more tools than a pipe holds, so that it is still writing when the reader goes.
    (toolchat.folder / "tools.yaml").write_text(
        "version: 1\ntools:\n"
        + "".join(
            f"  - {{callable: 'toolchat.samples.weather:get_current_weather', name: weather_{number}}}\n"
            for number in range(500)
        )
    )
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -c1; echo " ${PIPESTATUS[0]}"', "bash", *PROGRAM, "tools", "list"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=toolchat.folder,
        env=toolchat.environment,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"N {BROKEN_PIPE}\n".encode(), b"")


def shell(toolchat: Program, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {redirection}', "bash", *PROGRAM, *arguments],
        capture_output=True,
        text=True,
        cwd=toolchat.folder,
        env=toolchat.environment,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_not_an_error(toolchat: Program, redirection: str) -> None:
    done = shell(toolchat, redirection, "tools", "list")
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("calculate" in done.stdout) == (">&-" not in redirection.split())


def test_closed_standard_input_is_no_question(toolchat: Program) -> None:
    done = shell(toolchat, "<&-", "ask")
    assert done.returncode == 2
    assert done.stderr.startswith("toolchat: there is no question")
    assert done.stderr.count("\n") == 1


def test_closed_standard_input_leaves_the_question_as_it_is(toolchat: Program) -> None:
    done = shell(toolchat, "<&-", "ask", "hi", "--model", "./none")
    assert done.returncode == 3
    assert "no such folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_output_that_a_full_disk_cannot_take_is_one_line(toolchat: Program) -> None:
    done = shell(toolchat, ">/dev/full", "tools", "list")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_narrow_pipe_still_gets_plain_text(toolchat: Program) -> None:
    ran = toolchat("tools", "list", variables={"COLUMNS": "20", "TERM": "dumb"})
    assert "toolchat.samples.units:convert_units" in ran.out
    assert "\x1b" not in ran.out


def test_standard_input_that_stays_silent_is_told_to_be_waited_for(toolchat: Program) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "ask", "hi", "--model", "./none"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=toolchat.folder,
        env=toolchat.environment,
        text=True,
    )
    assert process.stderr is not None
    assert "reading standard input" in process.stderr.readline()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "no such folder" in err

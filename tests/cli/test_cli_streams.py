from __future__ import annotations

import os
import re
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


def test_a_question_that_begins_with_a_dash_is_told_of_the_two_dashes(toolchat: Program) -> None:
    said = toolchat("ask", "-5 + 3").refused(2)
    assert said.startswith('No such option: -5; a question that begins with "-" stands behind --: toolchat ask -- ')
    assert toolchat("ask", "--model", "./none", "--", "-5 + 3").refused(3).endswith("expected a model's folder")
    for question in ("--all of them?", "--5", "-x * y = ?"):
        assert "behind --" in toolchat("ask", question).refused(2)
    # -m is an option, which takes the rest of it for a model.
    assert 'ask -- "-…"' in toolchat("ask", "-m or -n?").refused(2)
    assert "behind --" not in toolchat("tools", "list", "-5").refused(2)


@pytest.mark.parametrize("command", [("ask", "hi", "--model", "./none"), ("tools", "list")])
def test_colours_that_are_forced_bring_no_control_sequences_into_logs(
    toolchat: Program, command: tuple[str, ...]
) -> None:
    ran = toolchat(*command, variables={"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "40"})
    for text in (ran.out, ran.err):
        assert set(re.findall("\x1b[^a-zA-Z]*[a-zA-Z]", text)) <= set(re.findall(r"\x1b\[[0-9;]*m", text))
    # As wide as in any pipe: nobody looks at it in forty columns.
    assert "get_current_weather" not in ran.out or len(max(ran.out.splitlines(), key=len)) > 100


@pytest.mark.parametrize("tools", ["x.yaml", "./x.yaml"])
def test_a_file_of_a_deleted_folder_is_said_to_be_that(toolchat: Program, tools: str) -> None:
    gone = ("sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh")
    said = toolchat("tools", "list", "--tools", tools, before=gone).refused(2)
    assert said.endswith("no such file; the working directory has been deleted; change to a folder that is there")


def test_too_few_open_files_are_named_with_the_remedy(toolchat: Program) -> None:
    few = ("sh", "-c", 'ulimit -n 9; exec "$@"', "sh")
    said = toolchat("tools", "list", before=few).refused(2)
    assert said.endswith("Too many open files; raise the limit of open files with: ulimit -n 1024")

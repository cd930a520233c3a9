# ruff: noqa: E501
"""What the tools file gives a tool (values, variables, a folder, a program), as the tool's processes have it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from host_bench import Bench, command_lines, write_tools

from toolchat.tools.host.process_client import HEAD, Window
from toolchat.tools.run import ToolRunner
from toolchat.tools.variables import Redactor
from toolchat.wire.errors import UsageError
from toolchat.wire.messages import CutResult, ResultStatus

pytestmark = pytest.mark.process

SECRET = "sk-0123456789-secret"
SOURCE = '''
import atexit, logging, os, subprocess, sys
from pathlib import Path

logging.basicConfig(level=logging.INFO, format="%(message)s")
print("imported", file=sys.__stderr__)
os.write(2, b"from the import: " + str(os.environ.get("FROM_FILE")).encode() + b"\\n")

def told(city: str, key: str) -> dict:
    """Tell what it was given."""
    print("printed", key)
    logging.info("logged %s", key)
    sys.stdout.write(key[:8]); sys.stdout.flush(); sys.stdout.write(key[8:] + "\\n")
    return {"city": city, "key": key, "environment": dict(os.environ)}

def fails(key: str) -> str:
    """Fail."""
    raise ValueError(f"refused {key}")

def yields(key: str):
    """Yield."""
    yield key

def long(key: str) -> str:
    """Return more than one message holds."""
    return ("x" * 262_130 + key) * 5

def outside() -> dict:
    """Tell what a tool without values has."""
    return {"environment": dict(os.environ), "cwd": os.getcwd()}

def where() -> str:
    """Tell the folder."""
    return os.getcwd()

def variables() -> str:
    """Tell its variables."""
    return f"{os.environ.get('PLAIN')} {os.environ.get('FROM_FILE')} {os.environ.get('PASSED')}"

def needs() -> str:
    """Need a variable."""
    return os.environ["ABSENT_KEY"]

def many_threads() -> str:
    """Start more threads than there is memory for."""
    import threading
    threads = []
    while True:
        threads.append(threading.Thread(target=threading.Event().wait, daemon=True))
        threads[-1].start()

class Shelf:
    """A shelf."""

    def __init__(self, file: str) -> None:
        self.file = open(file, "w")
        self.path = Path(file)
        atexit.register(lambda: self.path.with_suffix(".atexit").write_text("ran"))

    def add(self, text: str) -> int:
        """Add a line, which stays in the buffer."""
        return self.file.write(text)

    def close(self) -> None:
        self.file.write(", closed")
'''
FILE = """version: 1
tools:
- callable: given:told
  arguments: {key: "${HOST_KEY}"}
- callable: given:fails
  arguments: {key: "${HOST_KEY}"}
- callable: given:yields
  arguments: {key: "${HOST_KEY}"}
- callable: given:long
  arguments: {key: "${HOST_KEY}"}
- callable: given:outside
- callable: given:where
  cwd: ./folder
- callable: given:variables
  env: {PLAIN: 7, FROM_FILE: "of ${HOST_KEY}", PASSED: }
- callable: given:needs
- callable: given:many_threads
  memory: 64MiB
- callable: given:Shelf
  arguments: {file: shelf.txt}
- command: [printf, "%s|", "{words}", "-{number}", [--flag, "{flag}"], ./static]
  name: words
  description: Print words.
  parameters:
    words: {type: array, default: [a]}
    number: {type: integer}
    flag: {default: null}
- command: [cat, "{file}"]
  description: Show a file.
  stdin: "{text}"
  parameters: {file: {default: "-"}}
- command: cat; printf '|%s' "in $(pwd) <{a}>" {b} {a}
  shell: true
  name: shell
  description: A shell.
  stdin: "{b}"
  cwd: ./folder
- command: [./script.sh, "{word}"]
  name: script
  description: A script.
  arguments: {word: "${HOST_KEY}"}
- command: [sh, -c, "echo out; echo $0 >&2; exit 3", "{word}"]
  name: fails_too
  description: Fail.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    (folder / "folder").mkdir()
    (folder / "given.py").write_text(SOURCE)
    (folder / "tools.yaml").write_text(FILE)
    (folder / "script.sh").write_text('#!/bin/sh\necho "$1"\necho "key $1" >&2\n')
    (folder / "script.sh").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def given(loop: asyncio.Runner, folder: Path) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOST_KEY", SECRET)
        patch.setenv("PASSED", "passed")
        patch.chdir(folder)
        runner = loop.run(ToolRunner.start(folder / "tools.yaml", folder / "tools.log"))
        yield Bench(loop, runner)
        loop.run(runner.close())


def test_a_value_reaches_the_function_and_is_shown_nowhere(given: Bench) -> None:
    ran = given.call("told", city="Oslo")
    result = json.loads(ran.result.content)
    assert (result["city"], result["key"]) == ("Oslo", "${HOST_KEY}")
    assert ran.output == "printed ${HOST_KEY}\nlogged ${HOST_KEY}\n${HOST_KEY}\n"
    assert "HOST_KEY" not in result["environment"]
    failed = given.call("fails")
    assert (failed.result.content, failed.result.status) == (
        "Error: ValueError: refused ${HOST_KEY}",
        ResultStatus.ERROR,
    )
    assert given.call("yields").result.content == '["${HOST_KEY}"]'
    log = given.log.read_text()
    assert "ValueError: refused ${HOST_KEY}" in log
    assert SECRET not in log
    assert "from the import: of ${HOST_KEY}" in log


def test_a_value_is_hidden_in_the_parts_of_a_long_result(given: Bench) -> None:
    parts: list[str] = []
    prepared = given.prepare("long")
    result = given.loop.run(prepared.run(None, None, parts.append))
    assert isinstance(result, CutResult)
    whole = "".join(parts)
    assert whole.count("${HOST_KEY}") == 5
    assert SECRET not in whole + result.content


def test_a_value_reaches_no_other_tools_process_and_no_command_line(given: Bench) -> None:
    other = json.loads(given.call("outside").result.content)
    assert not any(SECRET in value for value in other["environment"].values())
    assert not any(SECRET in line for line in command_lines())
    assert len(given.supervisor.hosts) == 3


def test_the_file_sets_variables_and_the_folder(given: Bench, folder: Path) -> None:
    # What `env` sets is in the environment, and what it takes from a variable is not shown all the same.
    assert given.call("variables").result.content == "7 of ${HOST_KEY} passed"
    assert given.call("where").result.content == str(folder / "folder")
    assert json.loads(given.call("outside").result.content)["cwd"] == str(folder)


def test_a_folder_that_has_gone_is_an_error_of_its_call(given: Bench, folder: Path) -> None:
    (folder / "folder").rename(folder / "elsewhere")
    try:
        content = given.call("where").result.content
    finally:
        (folder / "elsewhere").rename(folder / "folder")
    assert content.startswith("Error: the tool could not be loaded: its folder ")
    assert "is not there any more; expected it; make it again, or correct cwd:" in content


def test_each_value_of_a_command_is_one_word(given: Bench) -> None:
    def words(**arguments: object) -> str:
        return given.call("words", **arguments).result.content

    assert words(number=1) == "a|-1|./static|"
    assert words(words=["a b", "$(id)", "", "*"], number=1, flag="-x y") == "a b|$(id)||*|-1|--flag|-x y|./static|"
    assert 'words begins with "-", which the program would take for an option' in words(words=["-x"], number=1)
    assert "number" in words(number="x; id")


def test_a_command_reads_what_it_is_given_and_says_why_it_fails(given: Bench) -> None:
    assert given.call("cat", text="über\n").result.content == "über"
    assert given.call("cat", text="").result.content == "(no result)"
    failed = given.call("cat", text="", file="/nowhere")
    assert failed.result.status is ResultStatus.ERROR
    assert failed.result.content.startswith("Error: cat ended with exit code 1: cat: /nowhere")
    assert "cat: /nowhere" in failed.output
    assert given.call("fails_too", word="$(id)").result.content == "Error: sh ended with exit code 3: $(id)"


def test_a_shell_is_given_values_that_it_does_not_parse(given: Bench, folder: Path) -> None:
    hostile = "$(id) `id` \"; id; ' * $HOME"
    content = given.call("shell", a=hostile, b="b  b").result.content
    assert content == f"b  b|in {folder / 'folder'} <{hostile}>|b  b|{hostile}"


def test_a_program_beside_the_file_runs_as_it_was_read_and_no_other(given: Bench, folder: Path) -> None:
    ran = given.call("script")
    assert (ran.result.content, ran.output) == ("${HOST_KEY}", "key ${HOST_KEY}\n")
    script = folder / "script.sh"
    text = script.read_text()
    script.write_text("#!/bin/sh\necho changed\n")
    try:
        assert "script.sh has changed since the tools were read" in given.call("script").result.content
    finally:
        script.write_text(text)


def test_the_limit_or_the_key_that_is_the_reason_is_named(given: Bench) -> None:
    assert given.call("needs").result.content == (
        "Error: KeyError: 'ABSENT_KEY'; tools see few variables: if ABSENT_KEY is set, add env: [ABSENT_KEY] to the tool in "
        "the tools file"
    )
    content = given.call("many_threads").result.content
    assert "can't start new thread; the tool may take 64 MiB of memory: raise memory: in the tools file" in content


def test_a_stateful_tool_ends_in_peace(start: Callable[..., Bench], tmp_path: Path, loop: asyncio.Runner) -> None:
    path = write_tools(tmp_path, {"given:Shelf": {"arguments": f"{{file: {tmp_path / 'shelf.txt'}}}"}}, given=SOURCE)
    bench = start(path)
    assert bench.call("add", text="one").result.content == "3"
    loop.run(bench.runner.close())
    assert (tmp_path / "shelf.txt").read_text() == "one, closed"
    assert (tmp_path / "shelf.atexit").read_text() == "ran"


HANGS = """
class Hangs:
    def go(self) -> int:
        '''Go.'''
        return 1
    def close(self) -> None:
        import time
        while True:
            time.sleep(60)
"""


def test_a_tool_that_does_not_end_in_peace_is_killed(
    start: Callable[..., Bench], tmp_path: Path, loop: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchat.tools.host.supervisor.PEACE_SECONDS", 0.2)
    bench = start(write_tools(tmp_path, {"hanging:Hangs": {}}, hanging=HANGS))
    assert bench.call("go").result.content == "1"

    async def close() -> float:
        before = asyncio.get_running_loop().time()
        await bench.runner.close()
        return asyncio.get_running_loop().time() - before

    assert loop.run(close()) < 2.0


THREADED = """
import threading
thread = threading.Thread(target=threading.Event().wait, daemon=True, name="waits")
thread.start()

def one(key: str) -> str:
    '''One.'''
    import sys
    return f"{'other_module' in sys.modules} {key}"
"""


def test_where_forking_is_unsafe_a_call_imports_its_own_module_alone(
    start: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_KEY", SECRET)
    other = 'def two() -> None:\n    "Two."\n'
    rows = {"threaded:one": {"arguments": '{key: "${HOST_KEY}"}'}, "other_module:two": {"arguments": "{}"}}
    path = write_tools(tmp_path, rows, threaded=THREADED, other_module=other)
    # In one host: `env` is what tells them apart.
    path.write_text(path.read_text().replace("arguments: {}", 'env: {A: "${HOST_KEY}"}').replace(
        "    arguments: {key", '    env: {A: "${HOST_KEY}"}\n    arguments: {key'))  # fmt: skip
    bench = start(path, log=tmp_path / "log")
    notice = bench.runner.toolbox.notices[-1]
    assert 'a module or a library of its starts a thread while it is imported ("waits"); each call therefore' in notice
    assert bench.call("one").result.content == "False ${HOST_KEY}"


def test_a_missing_value_and_one_in_an_error_at_the_start_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_KEY", SECRET)
    source = "class Client:\n    def __init__(self, key):\n        raise ValueError('bad ' + key)\n    def go(self):\n        'Go.'\n"
    rows = {
        "client:Client": {"arguments": '{key: "${HOST_KEY}"}'},
        "client:Client.go": {"arguments": '{key: "${GONE}"}'},
    }
    with pytest.raises(UsageError) as caught:
        asyncio.run(ToolRunner.start(write_tools(tmp_path, rows, client=source)))
    assert "cannot be made: ValueError: bad ${HOST_KEY} (client.py:3)" in str(caught.value)
    assert "key needs the variable GONE, which is not set" in str(caught.value)


def test_a_value_in_a_row_that_is_cut_or_replaced_is_hidden() -> None:
    async def play(*pieces: str) -> str:
        said: list[str] = []
        window = Window(said.append, Redactor({"KEY": SECRET}))
        for piece in pieces:
            window.feed(piece.encode())
        window.finish()
        return "".join(said)

    long = "x" * (HEAD - 5)
    for pieces in ((long, SECRET[:7], SECRET[7:], long), (long + SECRET + long,), (f"a\r{SECRET}", "\rb"), (SECRET,)):
        assert SECRET[:7] not in asyncio.run(play(*pieces))


def test_no_process_shows_its_request(given: Bench) -> None:
    host = given.supervisor.hosts[0].pid
    shown = Path(f"/proc/{host}/cmdline").read_bytes().split(b"\0")
    assert shown[-2].isdigit()
    assert os.path.basename(sys.executable).encode() in shown[0]  # noqa: PTH119
    assert subprocess.run(["ps", "-o", "args=", "-p", str(host)], capture_output=True, text=True).stdout.count("{") == 0

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchat.api.opening import Options
from toolchat.settings import SETTINGS

REPOSITORY = Path(__file__).parents[2]
BEGIN = """
import os, sys, time
from toolchat import Chat, events
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.samples.calculator import calculate

engine = ScriptedEngine(answers=[Answer("", [call("calculate", expression="1+1")]), Answer("It is late.")])
chat = Chat(tools=[calculate], approve="allow", engine=engine)
print(chat.ask("When?").text, flush=True)
"""


def python(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        start_new_session=True,
    )


def children_left(mark: str) -> list[str]:
    """The processes that have `mark` in their environment."""
    left = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                left.append(folder.name)
        except OSError:
            continue
    return left


@pytest.mark.process
@pytest.mark.parametrize("end", ["raise KeyError('x')", "os.kill(os.getpid(), 9)"])
def test_a_program_that_closes_nothing_leaves_no_process(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Basic variables reach the tools' processes.
    mark = f"TZ=:mark-{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("TZ", mark.removeprefix("TZ="))
    with python(f"{BEGIN}\n{end}") as program:
        out, error = program.communicate(timeout=60)
    assert out == "It is late.\n", error
    assert ("KeyError" in error) == ("KeyError" in end)
    until = time.monotonic() + 20
    while (left := children_left(mark)) and time.monotonic() < until:
        time.sleep(0.02)
    assert left == []


@pytest.mark.process
def test_ctrl_c_in_a_terminal_stops_the_answer_and_no_process_of_the_chat() -> None:
    script = f"""{BEGIN}
engine.answers += [Answer(["word "] * 5000, delay=0.01), Answer("", [call("calculate", expression="1+1")])]
engine.enqueue("Gone on.")
try:
    for event in chat.stream("Talk."):
        if isinstance(event.body, events.TextDelta):
            print("talking", flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
print(chat.ask("And?").text, chat.last.calls[0].status)
chat.close()
"""
    with python(script) as program:
        assert program.stdout is not None
        while program.stdout.readline() != "talking\n":
            pass
        os.killpg(program.pid, signal.SIGINT)
        out, error = program.communicate(timeout=60)
    assert out.splitlines()[-2:] == ["stopped", "Gone on. ok"], error
    assert error == ""


@pytest.mark.process
def test_a_chat_does_not_go_on_in_a_forked_process() -> None:
    script = f"""{BEGIN}
if (child := os.fork()) == 0:
    try:
        chat.ask("In the child?")
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    sys.exit(0)
os.waitpid(child, 0)
engine.answers.append(Answer("Still here."))
print(chat.ask("In the parent?").text)
chat.close()
"""
    with python(script) as program:
        out, error = program.communicate(timeout=60)
    assert out.splitlines()[1].startswith("UsageError this chat belongs to the process"), error
    assert out.splitlines()[2] == "Still here."


@pytest.mark.process
def test_importing_costs_next_to_nothing() -> None:
    script = """
import sys, time

def cost(name):
    began = time.process_time()
    __import__(name)
    return time.process_time() - began

own = cost("toolchat")
print([name for name in sys.modules if name.startswith("toolchat")])
from toolchat import Chat
print([name for name in ("asyncio", "pydantic", "yaml", "typer", "rich", "sqlite3", "numpy") if name in sys.modules])
print(own / cost("pydantic.main"))
"""
    with python(script) as program:
        out, error = program.communicate(timeout=60)
    modules, heavy, ratio = out.splitlines()
    assert modules == "['toolchat']", error
    assert float(ratio) < 0.5
    assert heavy == "[]"


def test_every_setting_is_an_option() -> None:
    of_programs = {name for name, setting in SETTINGS.items() if not setting.of_screen}
    assert set(Options.__annotations__) == of_programs - {"model", "tools"}

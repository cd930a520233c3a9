from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e_processes import assert_nothing_left, in_session_of, wait_for_import, wait_until, workers
from questions import ENDLESS
from stored import stored_rows
from terminal_screen import Terminal, squeeze

pytestmark = pytest.mark.engine

WEATHER = "Can you tell me what the temperature will be in Dallas, in fahrenheit?"
TOOLS = """version: 1
defaults: {approval: allow}
tools:
  - callable: toolchat.samples.weather:get_current_weather
    description: Get the current weather in a given location
  - callable: toolchat.samples.calculator:calculate
    description: Evaluate an arithmetic expression.
"""


@pytest.fixture
def chat(terminal: Callable[..., Terminal], tmp_path: Path) -> Terminal:
    """A terminal in which `toolchat repl` has just been started."""
    tools = tmp_path / "tools.yaml"
    tools.write_text(TOOLS)
    return terminal("repl", "--model", "demo", "--tools", str(tools))


def program_in(terminal: Terminal) -> int:
    """The process id of the toolchat that runs in a terminal."""

    def found() -> int | None:
        for pid in in_session_of(terminal.child.pid):
            if workers(pid):
                return pid
        return None

    return wait_until("toolchat with an engine in the terminal", found)  # type: ignore[return-value]


def ask(chat: Terminal, question: str) -> None:
    """Ask, and return when the prompt is back."""
    chat.type(question)
    chat.wait_for_prompt()


def begin_endless_answer(chat: Terminal) -> None:
    """Return in the middle of an answer that goes on for many seconds."""
    asked = chat.since().count(squeeze(ENDLESS))
    chat.type(ENDLESS)
    chat.wait_for("the question", lambda: chat.since().count(squeeze(ENDLESS)) > asked)
    chat.wait_for("a song", lambda: chat.since(ENDLESS).casefold().count("ticktock") > 2)


def record(home: Path) -> list[dict[str, Any]]:
    """The events of the only session there was."""
    return stored_rows(home / ".local" / "state" / "toolchat" / "sessions")


def test_a_chat_goes_on_after_a_ctrl_c_a_killed_worker_and_one_that_hangs(chat: Terminal, cached_demo: Path) -> None:
    # One chat for all of it: every start of the engine takes as long as ten answers.
    program = program_in(chat)
    (worker,) = workers(program)
    chat.wait_for("that it is ready", lambda: "demo · ready" in chat.toolbar)

    ask(chat, WEATHER)
    assert chat.shows('✓ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")', since=WEATHER)
    # Once in the tool's result, and once more in the model's answer.
    assert chat.since(WEATHER).casefold().count("85degreesfahrenheit") == 2, chat.rows

    begin_endless_answer(chat)
    chat.ctrl_c()
    chat.wait_for_row("■ interrupted")
    chat.wait_for_prompt()
    assert workers(program) == [worker]

    ask(chat, "What is 17 * 24?")
    assert chat.shows("408", since="✓"), "\n".join(chat.rows)

    begin_endless_answer(chat)
    os.kill(worker, signal.SIGKILL)
    chat.wait_for_row("The engine is started again; the conversation is kept.")
    assert chat.shows("the engine crashed (killed by SIGKILL)", since=ENDLESS)
    chat.wait_for_prompt()
    (second,) = workers(program)
    assert second != worker
    wait_until("nothing left of the killed engine", lambda: not in_session_of(worker), 30)

    ask(chat, "What is 12 * 12?")
    assert chat.shows("144", since="12*12"), "\n".join(chat.rows)

    # Behind two songs that were cut off the model sings no third, and none without the weather before it.
    ask(chat, "/clear")
    ask(chat, WEATHER)
    begin_endless_answer(chat)
    os.kill(second, signal.SIGSTOP)
    chat.ctrl_c()
    chat.wait_for("the hint", lambda: "Ctrl-C again ends the engine" in chat.toolbar)
    chat.ctrl_c()
    chat.wait_for("a third engine", lambda: workers(program) not in ([], [second]))
    ask(chat, "What is 15 * 15?")
    assert chat.shows("225", since="15*15"), "\n".join(chat.rows)
    (third,) = workers(program)
    assert third not in (worker, second)

    chat.leave()
    assert chat.exit_code() == 0
    assert chat.is_restored
    assert not chat.shows("Traceback")
    assert_nothing_left(program, third)

    rows = record(cached_demo)
    ends = [row["data"]["status"] for row in rows if row["type"] == "turn_finished"]
    assert ends[:5] == ["answered", "interrupted", "answered", "engine_failed", "answered"]
    assert ends[5:] == ["answered", "interrupted", "answered"]
    crashed = [row for row in rows if row["type"] == "engine_state" and row["data"]["state"] == "crashed"]
    assert crashed[0]["turn"] == 4
    # What the engine was sent in the fifth turn holds those before, from before it was started again: its prompt is
    # longer than all of the third turn, and by the text of the song that had come.
    used = {row["turn"]: row["data"]["usage"] for row in reversed(rows) if row["type"] == "round_finished"}
    song = "".join(row["data"]["text"] for row in rows if row["type"] == "text_delta" and row["turn"] == 4)
    assert song
    assert used[5]["prompt_tokens"] > used[3]["prompt_tokens"] + used[3]["completion_tokens"] + len(song.split())


def test_two_ctrl_c_while_the_model_loads_leave_with_130_and_the_terminal_as_it_was(
    chat: Terminal,
) -> None:
    program = program_in(chat)
    (worker,) = workers(program)
    wait_for_import(worker)
    chat.ctrl_c()
    chat.wait_for("the hint", lambda: "Ctrl-C again or Ctrl-D leaves" in chat.toolbar)
    chat.ctrl_c()
    assert chat.exit_code() == 130
    assert chat.is_restored
    assert not chat.shows("Traceback")
    assert_nothing_left(program, worker)


def test_a_terminal_that_is_closed_takes_the_engine_with_it(chat: Terminal) -> None:
    program = program_in(chat)
    (worker,) = workers(program)
    wait_for_import(worker)
    chat.child.close(force=False)
    assert_nothing_left(program, worker)
    wait_until("the end of the program", lambda: program not in in_session_of(chat.child.pid), 30)

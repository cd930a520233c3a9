from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inprocess_tools import InProcessRunner
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from toolchat.cli.session import Session
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.settings import Settings
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.ui.repl import Repl
from toolchat.wire.errors import EngineError
from toolchat.wire.events import EngineState, Event, TextDelta

ENTER, CTRL_C, CTRL_D = "\r", "\x03", "\x04"


class Screen:
    """A REPL on a scripted engine, whose keys come from a pipe."""

    def __init__(self, keys: PipeInput, records: Path, *, width: int = 100) -> None:
        self.keys = keys
        self.out = io.StringIO()
        self.engine = ScriptedEngine()
        self.repl = Repl(Console(file=self.out, width=width, markup=False, highlight=False, emoji=False))
        self.handlers: list[Callable[[], None]] = []
        self.on_event: Callable[[Event], None] = lambda event: None
        self.session = Session(Settings(), "scripted", self.engine, records, self._show)
        self.session.equip(InProcessRunner(load_tools(sample_tools_path())))

    def _show(self, event: Event) -> None:
        self.repl.show(event)
        self.on_event(event)

    @contextlib.contextmanager
    def taking(self, handler: Callable[[], None]) -> Iterator[None]:
        """Stands in for the program's own: Ctrl-C goes to the last of `handlers`."""
        self.handlers.append(handler)
        try:
            yield
        finally:
            self.handlers.pop()

    @property
    def text(self) -> str:
        return self.out.getvalue()

    def run(self, *lines: str, keys: str | None = None) -> int:
        """Type `lines`, then Ctrl-D; or exactly `keys`. Returns the exit code."""
        self.keys.send_text(keys if keys is not None else "".join(line + ENTER for line in lines) + CTRL_D)

        async def play() -> int:
            await self.session.launch()
            try:
                return await self.repl.run(self.session, self.taking)
            finally:
                await self.session.close()

        return asyncio.run(asyncio.wait_for(play(), 60))

    def asked(self) -> list[str]:
        return [request.messages[-1].content for request in self.engine.requests]


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        yield Screen(keys, tmp_path / "sessions")


def test_ctrl_d_leaves_with_success(screen: Screen) -> None:
    assert screen.run() == 0
    assert "scripted is ready." in screen.text
    assert screen.engine.closed


def test_a_line_is_asked_and_its_answer_printed(screen: Screen) -> None:
    screen.engine.enqueue("Hello, you.")
    assert screen.run("hello") == 0
    assert screen.asked() == ["hello"]
    assert screen.text.endswith("Hello, you.\n")


def test_each_turn_knows_those_before_it(screen: Screen) -> None:
    screen.engine.enqueue("One.", "Two.")
    screen.run("first", "second")
    assert [message.content for message in screen.engine.requests[1].messages] == ["first", "One.", "second"]


def test_empty_lines_ask_nothing(screen: Screen) -> None:
    assert screen.run("", "   ") == 0
    assert screen.asked() == []


def test_ctrl_c_at_the_prompt_says_how_to_leave_and_drops_the_line(screen: Screen) -> None:
    screen.engine.enqueue("Yes.")
    assert screen.run(keys=f"half a line{CTRL_C}hello{ENTER}{CTRL_D}") == 0
    assert "Ctrl-D leaves." in screen.text.splitlines()
    assert screen.asked() == ["hello"]


def test_a_call_and_its_result_are_shown_above_the_answer(screen: Screen) -> None:
    screen.engine.enqueue(
        Answer(calls=[call("get_current_weather", city="Dallas", state="TX", unit="fahrenheit")]), "85 degrees."
    )
    screen.run("weather?")
    *_, call_row, result_row, answer = screen.text.splitlines()
    assert call_row == '→ get_current_weather(city="Dallas", state="TX", unit="fahrenheit")'
    assert result_row.startswith("  ✓ The weather in Dallas, TX is 85 degrees fahrenheit.")
    assert answer == "85 degrees."


def test_ctrl_c_during_an_answer_stops_it_and_keeps_the_chat(screen: Screen) -> None:
    screen.engine.enqueue(Answer(text=["Once upon ", *["and on "] * 500], delay=0.01), "The end.")

    def interrupt(event: Event) -> None:
        if isinstance(event.body, TextDelta) and screen.handlers and len(screen.engine.requests) == 1:
            screen.handlers[-1]()

    screen.on_event = interrupt
    assert screen.run("a story", "and then?") == 0
    assert "Interrupted." in screen.text.splitlines()
    assert screen.text.endswith("The end.\n")
    assert screen.handlers == []
    first, told, second = screen.engine.requests[1].messages
    assert (first.content, second.content) == ("a story", "and then?")
    assert told.content.startswith("Once upon ")
    assert told.content.endswith("[interrupted]")


def test_a_crash_is_said_the_engine_restarted_and_the_conversation_kept(screen: Screen) -> None:
    screen.engine.enqueue("One.", Answer(text="Half of", crash=True), "Three.")
    assert screen.run("first", "second", "third") == 0
    rows = screen.text.splitlines()
    after = rows[rows.index("Half of") :]
    assert after[1] == "toolchat: the engine's process ended unexpectedly"
    assert "The conversation is kept." in after[2]
    assert after[3] == "Ready again."
    assert after[-1] == "Three."
    assert screen.engine.starts == 2
    assert [message.content for message in screen.engine.requests[-1].messages] == [
        "first",
        "One.",
        "second",
        "Half of [interrupted]",
        "third",
    ]


def test_an_engine_that_died_between_turns_is_restarted_before_the_next(screen: Screen) -> None:
    screen.engine.enqueue("One.", "Two.")

    def die(event: Event) -> None:
        if isinstance(event.body, TextDelta) and event.body.text == "One.":
            asyncio.get_running_loop().call_later(0, setattr, screen.engine, "info", None)

    screen.on_event = die
    assert screen.run("first", "second") == 0
    assert screen.engine.starts == 2
    assert screen.text.endswith("Two.\n")


def test_an_engine_that_does_not_start_again_leaves_the_prompt(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    screen.engine.enqueue(Answer(crash=True), "Three.")
    start = screen.engine.start
    attempts = 0

    async def second_fails() -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 2:
            yield EngineState("starting")
            raise EngineError("no memory left")
        async for state in start():
            yield state

    monkeypatch.setattr(screen.engine, "start", second_fails)
    assert screen.run("first", "third") == 0
    assert "toolchat: no memory left" in screen.text.splitlines()
    assert attempts == 3
    assert screen.text.endswith("Three.\n")


def test_a_model_that_cannot_be_loaded_at_all_ends_the_repl(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails() -> Any:
        yield EngineState("starting")
        raise EngineError("no memory left")

    monkeypatch.setattr(screen.engine, "start", fails)
    with pytest.raises(EngineError, match="no memory left"):
        screen.run("first")


def test_a_refused_question_is_one_line_and_the_next_one_works(screen: Screen) -> None:
    screen.engine.enqueue(Answer(error=EngineError("the conversation takes too much")), "Two.")
    assert screen.run("first", "second") == 0
    assert "toolchat: the conversation takes too much" in screen.text.splitlines()
    assert [message.content for message in screen.engine.requests[1].messages] == ["second"]


def test_what_the_model_writes_cannot_move_the_cursor(screen: Screen) -> None:
    screen.engine.enqueue("\x1b[2J\x1b]0;owned\x07[bold]plain[/bold] :smile:")
    screen.run("hello")
    assert "\x1b" not in screen.text
    assert "\x07" not in screen.text
    assert "[bold]plain[/bold] :smile:" in screen.text


def test_a_long_answer_is_not_broken_into_lines_of_its_own(screen: Screen) -> None:
    answer = "word " * 100 + "end"
    screen.engine.enqueue(answer)
    screen.run("hello")
    assert answer in screen.text

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest
from fake_chat import FakeChat

from toolchat.ui.commands import Commands, Outcome
from toolchat.ui.turns import Turns


class Front:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.put: list[str] = []
        self.outcomes: list[Outcome] = []

    def say(self, text: str, style: str) -> None:
        self.said.append(text)

    def put_back(self, lines: Sequence[str]) -> None:
        self.put += lines

    def apply(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def changed(self) -> None:
        pass


@pytest.fixture
def front() -> Front:
    return Front()


def waiting_turns(front: Front) -> Turns:
    """Turns of an open chat whose model is still loading; nothing takes what is sent."""
    turns = Turns(front, time.monotonic)
    chat = FakeChat(info=None, loading=True)
    turns.chat, turns.commands = chat, Commands(chat, width=lambda: 80)
    return turns


def send(front: Front, *lines: str) -> Turns:
    async def play() -> Turns:
        turns = waiting_turns(front)
        for line in lines:
            turns.send(line)
        for _ in range(20):
            await asyncio.sleep(0)
        return turns

    return asyncio.run(play())


def test_a_command_that_changes_the_history_waits_behind_the_questions_before_it(front: Front) -> None:
    turns = send(front, "first question", "/undo", "/system Be a pirate.")
    assert [sent.line for sent in turns.waiting] == ["first question", "/undo", "/system Be a pirate."]
    assert front.outcomes == []


@pytest.mark.parametrize("line", ["/help", "/model"])
def test_what_need_not_wait_runs_at_once(front: Front, line: str) -> None:
    turns = send(front, "first question", line)
    assert [sent.line for sent in turns.waiting] == ["first question"]


def test_questions_go_back_to_the_input_and_commands_are_named(front: Front) -> None:
    turns = send(front, "first question", "/undo", "second")
    turns.take_back()
    assert front.put == ["first question", "second"]
    assert front.said == ["not run: /undo"]
    assert turns.waiting == []

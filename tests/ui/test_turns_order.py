from __future__ import annotations

import asyncio
import time

import pytest
from fake_chat import FakeChat

from toolchat.ui.commands import Commands, Outcome
from toolchat.ui.turns import PutBack, Say, Sent, Told, Turns


class Front:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.put: list[str] = []
        self.outcomes: list[Outcome] = []

    def told(self, told: Told) -> None:
        match told:
            case Say(text):
                self.said.append(text)
            case PutBack(lines):
                self.put += lines
            case Outcome():
                self.outcomes.append(told)


@pytest.fixture
def front() -> Front:
    return Front()


def waiting_turns(front: Front) -> Turns:
    """Turns of an open chat whose model is still loading; nothing takes what is sent."""
    turns = Turns(front.told, time.monotonic)
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


def test_a_round_to_retry_is_retried_and_asks_nothing(front: Front) -> None:
    chat = FakeChat(can_retry_round=True)

    async def play() -> None:
        turns = Turns(front.told, time.monotonic)
        serving = asyncio.create_task(turns.serve(chat, Commands(chat, width=lambda: 80)))
        await asyncio.sleep(0)
        turns.send("/retry")
        await chat.retried_round.wait()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(asyncio.wait_for(play(), 30))
    assert chat.questions == []


def test_a_round_to_retry_that_has_to_wait_goes_back_to_the_input_as_the_command(front: Front) -> None:
    turns = waiting_turns(front)
    turns.waiting = [Sent("/retry", asks=True, retries_round=True)]
    turns.take_back()
    assert front.put == ["/retry"]

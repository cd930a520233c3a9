from __future__ import annotations

import asyncio
import gc
import hashlib
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from toolchat.chat.conversation import Conversation
from toolchat.engine.record_replay import CountKeys, count_key
from toolchat.engine.scripted import ScriptedEngine
from toolchat.session.session import Session
from toolchat.session.stream import KeptAnswers
from toolchat.settings import Settings
from toolchat.store.transcript import Transcript
from toolchat.tools.run import ToolRunner
from toolchat.wire import events
from toolchat.wire.deltas import TokenCount, Usage
from toolchat.wire.events import EventBody, Stamper, TurnFinished, TurnStatus
from toolchat.wire.messages import AssistantMessage, Message, SystemMessage, ToolSpec, UserMessage
from toolchat.wire.timeline import Timeline

TURNS = 100


class Uncounting(ScriptedEngine):
    def _count(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> TokenCount:
        return TokenCount(1, (), (), 1)


class Calls:
    """Counts the calls of Python functions and the steps of generators: time would say less on a busy machine."""

    def __enter__(self) -> Calls:
        self.count = 0
        # A collection would add the calls of finalizers and of its callbacks. None is run before, which takes 80 ms.
        gc.disable()
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _see(self, frame: FrameType, event: str, arg: Any) -> None:
        self.count += event == "call"


def test_a_late_turn_makes_no_more_calls_than_an_early_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = 0
    turns = Timeline.turns

    def counted(line: Timeline[Any]) -> Any:
        nonlocal whole
        whole += 1
        return turns.__get__(line)

    monkeypatch.setattr(Timeline, "turns", property(counted))

    async def chat() -> list[int]:
        engine = Uncounting(context=10_000_000)
        session = Session(Settings(), "m", engine, tmp_path, lambda event: None)
        session.equip(ToolRunner.none())
        await session.launch()
        await session.ready()
        counts = []
        for turn in range(TURNS):
            engine.enqueue("an answer")
            with Calls() as calls:
                await session.ask(f"question {turn}?")
            counts.append(calls.count)
        assert [len(request.messages) for request in engine.requests] == list(range(1, 2 * TURNS, 2))
        await session.close()
        return counts

    counts = asyncio.run(chat())
    assert statistics.median(counts[-20:]) <= statistics.median(counts[5:25]) + 2
    assert whole < 10  # nobody has all turns copied for each turn


def test_going_on_with_a_turn_makes_no_more_calls_where_there_were_many_before() -> None:
    def added(turns: int) -> int:
        kept, transcript, conversation = KeptAnswers(), Transcript(), Conversation("be brief")
        stamp = Stamper("s", lambda: 0.0)

        def turn(number: int) -> None:
            conversation.add_user("hi", number=number)
            bodies: tuple[EventBody, ...] = (
                events.TurnStarted(),
                events.QuestionAsked("hi"),
                events.TextDelta("hello"),
                TurnFinished(TurnStatus.ANSWERED, 1, Usage(), False),
            )
            for body in bodies:
                kept.see(body, number)
                transcript.take(stamp(body, number))
            assert len(conversation.messages) == 2 * number
            conversation.add_answer("hello")
            assert conversation.messages[-1].content == "hello"
            assert (transcript.title, transcript.turn_count, kept.answer) == ("hi", number, "hello")

        for number in range(1, turns):
            turn(number)
        with Calls() as calls:
            turn(turns)
        return calls.count

    assert added(200) == added(10)


def test_what_the_model_is_sent_is_the_same_after_every_kind_of_change() -> None:
    conversation = Conversation("be brief")

    def sent() -> list[str]:
        """What there is, made anew."""
        system = [conversation.system] if conversation.system else []
        turns = [turn for turn in conversation.history if not turn.aside]
        return [*system, *(message.content for turn in turns for message in turn.messages)]

    def ask(text: str) -> None:
        conversation.add_user(text)
        conversation.add_answer(f"of {text}")

    for step in (
        lambda: ask("a"),
        lambda: ask("b"),
        lambda: conversation.set_system("be long"),
        lambda: ask("c"),
        lambda: conversation.set_aside([1]),
        lambda: ask("d"),
        lambda: conversation.undo(),
        lambda: conversation.branch(1),
        lambda: ask("e"),
        lambda: conversation.undo_edit() if conversation.last_edit else None,
        lambda: conversation.summarise([1], "so far"),
        lambda: ask("f"),
        lambda: conversation.keep(conversation.last_number),
        lambda: conversation.set_system(None),
        lambda: ask("g"),
        lambda: conversation.clear(),
        lambda: ask("h"),
    ):
        step()
        assert [message.content for message in conversation.messages] == sent()
    mark = conversation.mark()
    conversation.add_user("i")
    assert [message.content for message in conversation.messages] == sent()
    conversation.close("as far as", failed=True)
    assert [message.content for message in conversation.messages] == sent()
    conversation.rewind(mark)
    assert [message.content for message in conversation.messages] == sent() == ["h", "of h"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x85", "\u2028"])
def test_a_title_is_the_first_line_with_words(end: str) -> None:
    transcript = Transcript()
    stamp = Stamper("s", lambda: 0.0)
    for body in (events.TurnStarted(), events.QuestionAsked(f" {end}\t{end}  the train  {end}and more")):
        transcript.take(stamp(body, 1))
    assert transcript.title == "the train"


def test_a_recorded_prompt_that_goes_on_is_not_redacted_again() -> None:
    seen = 0

    def redact(value: Any) -> Any:
        nonlocal seen
        seen += 1
        return value

    keys = CountKeys(redact)
    prompt: list[Message] = [SystemMessage("be brief")]
    for turn in range(50):
        prompt += [UserMessage(f"question {turn} \ud800"), AssistantMessage("an answer")]
        # A conversation makes the system prompt's message anew.
        assert keys.key([SystemMessage("be brief"), *prompt[1:]], (), None) == count_key(prompt, (), None, unchanged)
    assert seen == 101
    prompt[1] = UserMessage("another")
    assert keys.key(prompt[:9], (), "high") == count_key(prompt[:9], (), "high", unchanged)


def test_the_key_of_a_count_is_the_one_that_recordings_have() -> None:
    prompt = [SystemMessage("be brief"), UserMessage("Zürich?\nnow"), AssistantMessage("yes")]
    data = '[[["system: be brief"], ["user: Zürich?", "  now"], ["assistant: yes"]], [], "high"]'
    assert count_key(prompt, (), "high", unchanged) == hashlib.sha256(data.encode()).hexdigest()[:32]


def unchanged(value: Any) -> Any:
    """Redacts nothing."""
    return value

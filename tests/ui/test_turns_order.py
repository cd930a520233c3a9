from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from fake_chat import FakeChat
from image_files import image

from toolchat.images.image import description
from toolchat.ui.attached import Question, Text
from toolchat.ui.commands.base import Outcome
from toolchat.ui.commands.registry import Commands
from toolchat.ui.plain_repl import LineReader, PlainRepl
from toolchat.ui.turns import PutBack, Say, Sent, Told, Turns
from toolchat.wire.errors import EngineError
from toolchat.wire.events import TurnFinished
from toolchat.wire.messages import Image, UserMessage


class Front:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.put: list[str] = []
        self.images: list[Image] = []
        self.came_back: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self.outcomes: list[Outcome] = []

    def told(self, told: Told) -> None:
        match told:
            case Say(text):
                self.said.append(text)
            case PutBack(lines, images):
                self.put += lines
                self.images += images
                self.came_back.put_nowait(lines)
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


def test_a_question_that_was_refused_goes_back_with_its_images(front: Front) -> None:
    first, second = image("red"), image("blue")
    chat = FakeChat(questions=[UserMessage("What is it?", (first,))])
    chat.refuses = EngineError("no more room")

    async def play() -> None:
        turns = Turns(front.told, time.monotonic)
        serving = asyncio.create_task(turns.serve(chat, Commands(chat, width=lambda: 80)))
        await asyncio.sleep(0)
        turns.send("/retry")
        await front.came_back.get()
        turns.send("And this?", (second,))
        await front.came_back.get()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(asyncio.wait_for(play(), 30))
    assert front.put == ["What is it?", "And this?"]
    assert front.images == [first, second]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_turn_is_under_way_while_the_files_of_its_question_are_read(
    front: Front, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    reading, read = threading.Event(), threading.Event()

    def slowly(sent: Sent) -> Question:
        reading.set()
        assert read.wait(30)
        return Question(sent.line)

    monkeypatch.setattr(Sent, "question", slowly)
    chat = FakeChat()

    async def play() -> None:
        turns = Turns(front.told, time.monotonic)
        serving = asyncio.create_task(turns.serve(chat, Commands(chat, width=lambda: 80)))
        await asyncio.sleep(0)
        turns.send("Sum @slow.log up.")
        await asyncio.to_thread(reading.wait, 30)
        assert turns.is_busy
        if stopped:
            turns.interrupt()
        read.set()
        while turns.is_busy or turns.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(asyncio.wait_for(play(), 30))
    assert [question.content for question in chat.questions] == ([] if stopped else ["Sum @slow.log up."])
    assert front.put == (["Sum @slow.log up."] if stopped else [])


def test_questions_that_go_back_keep_all_their_images(front: Front) -> None:
    turns = waiting_turns(front)
    pictures = [image("red"), image("blue")]
    turns.waiting = [Sent("one", (pictures[0],)), Sent("two"), Sent("three", (pictures[1],))]
    turns.take_back()
    assert (front.put, front.images) == (["one", "two", "three"], pictures)


def test_a_retry_line_by_line_asks_with_the_images_again_and_undo_names_them() -> None:
    chat = FakeChat(questions=[UserMessage("What is it?", (image("red"),))])
    typed = ["/retry", "/undo"]

    class Reader(LineReader):
        async def line(self) -> str | None:
            return typed.pop(0) if typed else None

    @contextlib.asynccontextmanager
    async def open_chat(*_: object) -> AsyncIterator[FakeChat]:
        yield chat

    out = io.StringIO()
    asked: list[UserMessage] = []
    ask = chat.ask

    async def noted(text: str, images: Sequence[Image] = ()) -> TurnFinished:
        finished = await ask(text, images)
        asked.append(chat.questions[-1])
        return finished

    chat.ask = noted  # type: ignore[method-assign]
    repl = PlainRepl(out, to_person=False, reader=Reader())
    assert asyncio.run(repl.run(open_chat, lambda _: contextlib.nullcontext())) == 0
    assert asked == [UserMessage("What is it?", (image("red"),))]
    assert out.getvalue().splitlines()[-1] == f"[image: {description(image('red'))}; red.png]"


def test_what_is_attached_goes_along_with_the_next_question_that_begins(front: Front) -> None:
    async def play() -> FakeChat:
        turns = Turns(front.told, time.monotonic)
        chat = FakeChat()
        serving = asyncio.create_task(turns.serve(chat, Commands(chat, width=lambda: 80)))
        await asyncio.sleep(0)
        turns.attached = (image(), Text("output of `ls`", "a\nb"))
        turns.send("what is it?")
        turns.send("and now?")
        async with asyncio.timeout(30):
            while len(chat.questions) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
        serving.cancel()
        return chat

    first, second = asyncio.run(play()).questions
    assert first.content == "what is it?\n\noutput of `ls`:\n```\na\nb\n```"
    assert first.images == (image(),)
    assert (second.content, second.images) == ("and now?", ())


def test_a_question_whose_file_cannot_be_sent_comes_back_with_what_goes_along(front: Front, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"\xff\xfe")

    async def play() -> FakeChat:
        turns = Turns(front.told, time.monotonic)
        chat = FakeChat()
        serving = asyncio.create_task(turns.serve(chat, Commands(chat, width=lambda: 80)))
        await asyncio.sleep(0)
        turns.attached = (image(),)
        turns.send(f"what is @{tmp_path}/blob")
        await asyncio.wait_for(front.came_back.get(), 30)
        serving.cancel()
        return chat

    assert asyncio.run(play()).questions == []
    assert front.put == [f"what is @{tmp_path}/blob"]
    assert front.images == [image()]
    assert front.said[0].startswith(f"{tmp_path}/blob: not text in UTF-8")


def test_a_shells_command_waits_its_turn_and_is_named_where_it_is_dropped(front: Front) -> None:
    async def shell(line: str) -> None:
        raise AssertionError(line)

    async def play() -> Turns:
        turns = Turns(front.told, time.monotonic, shell)
        chat = FakeChat(info=None, loading=True)
        turns.chat, turns.commands = chat, Commands(chat, width=lambda: 80)
        for line in ("first question", "!ls", "!= is what?"):
            turns.send(line)
        turns.take_back()
        return turns

    assert asyncio.run(play()).waiting == []
    assert front.put == ["first question", "!= is what?"]
    assert front.said == ["not run: !ls"]


@pytest.mark.parametrize("to_person", [True, False])
def test_line_by_line_a_named_file_goes_along_for_a_person_and_not_for_a_pipe(tmp_path: Path, to_person: bool) -> None:
    (tmp_path / "notes.txt").write_text("the milk")
    question = f"what is in @{tmp_path}/notes.txt"
    lines = [question, "!ls", None]

    class Reader(LineReader):
        async def line(self) -> str | None:
            return lines.pop(0)

    chat = FakeChat()

    @contextlib.asynccontextmanager
    async def open_chat(*_: object) -> AsyncIterator[FakeChat]:
        yield chat

    repl = PlainRepl(io.StringIO(), to_person=to_person, reader=Reader())
    assert asyncio.run(repl.run(open_chat, lambda _: contextlib.nullcontext())) == 0
    block = f"\n\n{tmp_path}/notes.txt:\n```\nthe milk\n```"
    assert [asked.content for asked in chat.questions] == [question + block * to_person, "!ls"]

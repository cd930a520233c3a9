from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import tiny_pixtral
from e2e_engine import Running
from e2e_processes import PATIENCE, assert_nothing_left, start, wait_for_worker
from PIL import Image as Pillow
from stored import stored_rows

from toolchat.chat.conversation import Conversation
from toolchat.chat.guards import Limits
from toolchat.chat.loop import ChatLoop
from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.images.image import image_bytes, image_from_bytes
from toolchat.models.hardware import engine_device
from toolchat.store.results import keep_image
from toolchat.tools.run import ToolRunner
from toolchat.wire import events
from toolchat.wire.deltas import Finished, Text, Usage
from toolchat.wire.errors import EngineError
from toolchat.wire.events import Stamper
from toolchat.wire.messages import AssistantMessage, Image, Message, ToolCall, ToolMessage, UserMessage

pytestmark = pytest.mark.engine

QUESTION = "What is this? " + "Look at it. " * 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_pixtral.write(folder)
    return folder


@pytest.fixture(scope="module")
def running(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = plan("tiny", model, engine_device())
    with asyncio.Runner() as loop:
        running = Running(LocalEngine(config, tmp_path_factory.mktemp("logs")), loop)
        try:
            running.start()
            yield running
        finally:
            loop.run(running.engine.close())


def picture(color: str, size: tuple[int, int] = (100, 50), kind: str = "PNG") -> Image:
    file = io.BytesIO()
    Pillow.new("RGB", size, color).save(file, kind)
    return image_from_bytes(file.getvalue(), f"{color}.{kind.lower()}")


def answer(running: Running, *messages: Message) -> tuple[str, Usage]:
    async def whole() -> tuple[str, Usage]:
        text, usage = "", Usage()
        async for delta in running.engine.generate("one", messages, (), GenerateOptions(max_tokens=16)):
            match delta:
                case Text(piece):
                    text += piece
                case Finished(_, found):
                    usage = found
        return text, usage

    return running.loop.run(whole())


def tokens(running: Running, messages: Sequence[Message]) -> int:
    return running.loop.run(running.engine.count(messages, ())).total


def test_the_engine_says_that_it_sees(running: Running) -> None:
    assert running.engine.info is not None
    assert running.engine.info.supports_images


def test_what_an_image_shows_decides_the_answer(running: Running) -> None:
    without, _ = answer(running, UserMessage(QUESTION))
    answers = [answer(running, UserMessage(QUESTION, (picture(color),)))[0] for color in ("red", "blue", "red")]
    assert answers[0] == answers[2]
    assert len({without, *answers}) == 3


def test_an_image_is_counted_as_it_is_sent(running: Running) -> None:
    message = UserMessage(QUESTION, (picture("green", (64, 48)),))
    # Four patches in each of three rows, and the end of each row.
    assert tokens(running, [message]) == tokens(running, [UserMessage(QUESTION)]) + 3 * (4 + 1)
    _, usage = answer(running, message)
    assert usage.prompt_tokens == tokens(running, [message])


def test_the_same_image_again_is_read_from_the_prefix_cache(running: Running) -> None:
    asked = UserMessage(QUESTION, (picture("purple"),))
    text, first = answer(running, asked)
    _, second = answer(running, asked, AssistantMessage(text or "yes"), UserMessage("And now?"))
    assert first.cached_tokens == 0
    assert second.cached_tokens >= first.prompt_tokens // 32 * 32 > 0
    _, other = answer(running, UserMessage(QUESTION, (picture("orange"),)))
    assert other.cached_tokens == 0


def test_several_images_of_several_formats_in_one_message(running: Running) -> None:
    images = [picture("red", kind=kind) for kind in ("PNG", "JPEG", "WEBP", "GIF")]
    _, usage = answer(running, UserMessage(QUESTION, tuple(images)))
    assert usage.completion_tokens > 0
    assert usage.prompt_tokens == tokens(running, [UserMessage(QUESTION)]) + 4 * 2 * (4 + 1)


def test_images_that_a_tool_returned_are_seen(running: Running) -> None:
    call = ToolCall("abcdefghi", "plot", {})
    before = (UserMessage(QUESTION), AssistantMessage(calls=(call,)))
    answers = {
        answer(running, *before, ToolMessage(call.id, "plot", "[image 1]", (picture(color),)))[0]
        for color in ("red", "blue")
    }
    assert len(answers) == 2


def test_an_image_that_cannot_be_decoded_is_refused_and_the_engine_lives(running: Running) -> None:
    broken = Image("image/png", "AAAA", 10, 10, "broken.png")
    with pytest.raises(EngineError, match=r"broken\.png: the image cannot be decoded"):
        answer(running, UserMessage(QUESTION, (broken,)))
    assert answer(running, UserMessage(QUESTION, (picture("red"),)))[1].completion_tokens > 0


def test_a_tools_image_comes_from_its_process_to_the_model(running: Running, tmp_path: Path) -> None:
    (tmp_path / "painter.py").write_text(
        "from PIL import Image\n\ndef draw():\n    'Draw.'\n    return Image.new('RGB', (100, 50), 'red')\n"
    )
    (tmp_path / "tools.yaml").write_text("version: 1\ntools:\n  - callable: painter:draw\n")

    async def play() -> list[object]:
        runner = await ToolRunner.start(tmp_path / "tools.yaml")
        loop = ChatLoop(
            engine=running.engine,
            conversation=Conversation(),
            runner=runner,
            options=GenerateOptions(max_tokens=64, tool_choice="required", parallel_tool_calls=False),
            stamp=Stamper("s", time.time),
            limits=Limits(rounds=2),
            keep_image=lambda one: keep_image(tmp_path / "s", one),
        )
        try:
            return [event.body async for event in loop.turn(QUESTION)]
        finally:
            await runner.close()

    bodies = running.loop.run(play())
    result = next(body.result for body in bodies if isinstance(body, events.CallFinished))
    assert (result.name, result.content) == ("draw", "[image 1]")
    (kept,) = (tmp_path / "s").iterdir()
    assert result.images[0].file == str(kept)
    first, second = (body.usage for body in bodies if isinstance(body, events.RoundFinished))
    # Two rows of four patches and their ends, beside the call and the words around the image.
    assert second.prompt_tokens > first.prompt_tokens + first.completion_tokens + 2 * (4 + 1)


def test_ask_sends_an_image_leaves_it_in_the_session_and_leaves_no_process(
    running: Running, model: Path, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "red.jpg").write_bytes(image_bytes(picture("red", kind="JPEG")))
    arguments = ("--no-tools", "--max-tokens", "8", "--model", str(model), "--image", "red.jpg", QUESTION)
    process = start("ask", *arguments, cwd=tmp_path)
    worker = wait_for_worker(process.pid)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, 6), err.decode()
    assert_nothing_left(process.pid, worker)
    assert out
    size = len((tmp_path / "red.jpg").read_bytes())
    assert err.decode().splitlines()[0] == f"[image: JPEG 100×50, {size} bytes; red.jpg]"
    sessions = home / ".local/state/toolchat/sessions"
    assert picture("red", kind="JPEG").data not in str(stored_rows(sessions))
    (kept,) = (sessions / "files").iterdir()
    assert kept.read_bytes() == (tmp_path / "red.jpg").read_bytes()


@pytest.mark.slow
def test_the_oldest_format_that_sees(tmp_path: Path) -> None:
    tiny_pixtral.write(tmp_path / "old", "v3")
    with asyncio.Runner() as loop:
        running = Running(LocalEngine(plan("old", tmp_path / "old", engine_device()), tmp_path), loop)
        try:
            running.start()
            test_what_an_image_shows_decides_the_answer(running)
            test_images_that_a_tool_returned_are_seen(running)
        finally:
            loop.run(running.engine.close())

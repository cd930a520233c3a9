from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from image_files import image

from toolchat.engine.scripted import Answer, call
from toolchat.images.image import image_bytes
from toolchat.store.results import keep_image
from toolchat.wire import events
from toolchat.wire.messages import ToolMessage, UserMessage


def play(harness: Any, *images: Any) -> list[Any]:
    """The bodies of the events of one turn with `images`."""

    async def turn() -> list[Any]:
        async for _ in harness.engine.start():
            pass
        return [event.body async for event in harness.loop.turn("What is it?", images)]

    return asyncio.run(turn())


def test_attached_images_reach_the_engine_and_the_record(make_harness: Callable[..., Any], tmp_path: Path) -> None:
    harness = make_harness(keep_image=lambda one: keep_image(tmp_path, one))
    harness.engine.enqueue("Red and blue.")
    bodies = play(harness, image("red"), image("blue"))
    (asked,) = harness.engine.requests[0].messages
    assert isinstance(asked, UserMessage)
    assert [one.source for one in asked.images] == ["red.png", "blue.png"]
    (said,) = (body for body in bodies if isinstance(body, events.QuestionAsked))
    assert said.images == asked.images
    for kept, given in zip(said.images, (image("red"), image("blue")), strict=True):
        assert Path(kept.file).read_bytes() == image_bytes(given)


def test_images_that_a_tool_returned_are_kept_and_shown_in_the_next_round(
    make_harness: Callable[..., Any], tmp_path: Path
) -> None:
    harness = make_harness(keep_image=lambda one: keep_image(tmp_path, one))
    harness.engine.enqueue(Answer(calls=[call("draw", colors=["red", "blue"]), call("add", a=1, b=2)]), "Done.")
    bodies = play(harness)
    first, second = (body.result for body in bodies if isinstance(body, events.CallFinished))
    drawn, added = (first, second) if first.name == "draw" else (second, first)
    assert drawn.content == "red\n[image 1]\nblue\n[image 2]"
    assert added.images == ()
    assert {Path(one.file) for one in drawn.images} == set(tmp_path.glob("*.png"))
    results = [message for message in harness.engine.requests[1].messages if isinstance(message, ToolMessage)]
    assert [message.images for message in results] == [drawn.images, ()]
    assert [message.content for message in results] == [drawn.content, "3"]

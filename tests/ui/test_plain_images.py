from __future__ import annotations

import io

import pytest
from image_files import image

from toolchat.images.image import description
from toolchat.ui.plain import PlainRenderer
from toolchat.wire import events
from toolchat.wire.events import Stamper
from toolchat.wire.messages import ToolResult


def test_attached_and_returned_images_are_told_of_beside_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    stamp = Stamper("s", lambda: 0.0)
    with PlainRenderer(out) as renderer:
        renderer.show(stamp(events.QuestionAsked("What is it?", (image(), image("blue")))))
        renderer.show(stamp(events.CallFinished(ToolResult("abcdefghi", "draw", "[image 1]", images=(image(),)))))
        renderer.show(stamp(events.TextDelta("Red.")))
    assert out.getvalue() == "Red.\n"
    said = description(image())
    assert capsys.readouterr().err.splitlines() == [
        f"[image: {said}; red.png]",
        f"[image: {description(image('blue'))}; blue.png]",
        "  ✓ [image 1]",
        f"    [image: {said}; not kept]",
    ]

from __future__ import annotations

import io
import re

import pytest
from image_files import image

from toolchat.images.image import description
from toolchat.ui.plain import PlainRenderer
from toolchat.ui.transcript import Transcript
from toolchat.wire import events
from toolchat.wire.events import Stamper
from toolchat.wire.messages import ToolCall, ToolResult


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


def test_the_images_of_a_question_stand_below_it_in_the_chat() -> None:
    printed: list[str] = []
    transcript = Transcript(printed.append, lambda: 30, lambda: 0.0, color=False)
    transcript.show(Stamper("s", lambda: 0.0)(events.QuestionAsked("What is it?", (image(),))))
    first, *below = re.sub("\x1b\\[[0-9;]*m", "", "".join(printed)).splitlines()
    assert first == "› What is it?"
    assert " ".join(row.strip() for row in below) == f"[image: {description(image())}; red.png]"
    assert all(row.startswith("  ") and len(row) <= 30 for row in below)


def test_a_picture_that_is_shown_stands_below_the_result_that_names_its_file() -> None:
    printed: list[str] = []
    transcript = Transcript(printed.append, lambda: 80, lambda: 0.0, color=False, picture=lambda image: "PICTURE\n")
    transcript.show(Stamper("s", lambda: 0.0)(events.CallProposed(ToolCall("abcdefghi", "draw", {}))))
    result = ToolResult("abcdefghi", "draw", "[image 1]", images=(image(), image("blue")))
    transcript.show(Stamper("s", lambda: 0.0)(events.CallFinished(result)))
    assert printed[-2:] == ["PICTURE\n", "PICTURE\n"]
    assert "[image: " in printed[-3]

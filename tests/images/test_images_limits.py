from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest
from image_files import image, image_file

from toolchat.images.image import (
    MAX_BYTES,
    MAX_PIXELS,
    ImageError,
    description,
    file_name,
    image_bytes,
    image_from_bytes,
    size_text,
)
from toolchat.wire import events
from toolchat.wire.codec import decode_message, encode_message, event_line
from toolchat.wire.events import Stamper
from toolchat.wire.messages import ToolMessage, ToolResult, UserMessage


def test_an_image_holds_the_very_bytes_of_its_file() -> None:
    data = image_file("WEBP")
    made = image_from_bytes(data, "x.webp")
    assert (made.media_type, made.width, made.height, made.source) == ("image/webp", 12, 7, "x.webp")
    assert image_bytes(made) == data


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_description_counts_the_bytes_of_the_file(padding: int) -> None:
    data = image_file("PNG")
    data += bytes((padding - len(data)) % 3)
    assert description(image_from_bytes(data)) == f"PNG 12×7, {len(data)} bytes"


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 bytes"), (999, "999 bytes"), (1000, "1 kB"), (12_345, "12 kB"), (999_499, "999 kB"), (999_500, "1 MB")],
)
def test_sizes_are_short(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_file_that_is_too_long_is_refused() -> None:
    data = image_file()
    assert image_from_bytes(data + bytes(MAX_BYTES - len(data)))
    with pytest.raises(ImageError, match=r"an image of 20 MB; at most 20 MB can be sent"):
        image_from_bytes(data + bytes(MAX_BYTES - len(data) + 1))


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    bomb = bytearray(image_file())
    struct.pack_into(">II", bomb, 16, MAX_PIXELS, 1)
    assert image_from_bytes(bytes(bomb)).width == MAX_PIXELS
    struct.pack_into(">II", bomb, 16, 60_000, 60_000)
    with pytest.raises(ImageError, match=r"60000×60000 pixels; at most 67 million"):
        image_from_bytes(bytes(bomb))


def test_the_name_of_a_file_follows_its_content() -> None:
    assert file_name(image("red")) == file_name(replace(image("red"), source="elsewhere"))
    assert file_name(image("red")) != file_name(image("blue"))
    assert file_name(image(kind="JPEG")).endswith(".jpg")


def test_images_cross_to_the_engine_and_back() -> None:
    for message in (
        UserMessage("x", (image(), image(kind="GIF"))),
        ToolMessage("abcdefghi", "f", "x", (replace(image(), file="/f"),)),
    ):
        assert decode_message(json.loads(json.dumps(encode_message(message)))) == message


def test_a_record_names_the_file_of_an_image_and_leaves_its_bytes_out() -> None:
    kept = replace(image(), file="/sessions/s/abc.png")
    stamp = Stamper("s", lambda: 0.0)
    asked = json.loads(event_line(stamp(events.QuestionAsked("x", (kept,)))))["data"]
    result = ToolResult("abcdefghi", "f", "[image 1]", images=(kept,))
    ended = json.loads(event_line(stamp(events.CallFinished(result))))["data"]["result"]
    (row,) = asked["images"]
    assert ended["images"] == [row]
    assert ended["content"] == "[image 1]"
    assert row == {
        "media_type": "image/png",
        "width": 12,
        "height": 7,
        "bytes": len(image_bytes(kept)),
        "sha256": row["sha256"],
        "source": "red.png",
        "file": "/sessions/s/abc.png",
    }
    assert len(row["sha256"]) == 64


def test_a_record_holds_the_bytes_of_an_image_that_no_file_keeps() -> None:
    row = json.loads(event_line(Stamper("s", lambda: 0.0)(events.QuestionAsked("x", (image(),)))))["data"]["images"][0]
    assert row["data"] == image().data
    assert row["file"] == ""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from image_files import image, image_file
from mistral_tokenizers import ALL, PATCH, SEEING, vocabulary_of
from PIL import Image as Pillow

from toolchat.images.image import LARGEST_SIDE, ImageError, decoded, image_from_bytes
from toolchat.mistral.render import Encoded, encode, render
from toolchat.mistral.token_count import count_tokens
from toolchat.wire.messages import (
    AssistantMessage,
    Image,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

RED, BLUE, GREEN = (image(color, size=(PATCH, PATCH)) for color in ("red", "blue", "green"))
BROKEN = Image("image/png", "AAAA", 1, 1, "broken.png")
TOOLS = [ToolSpec("draw", "Draws.", {"type": "object", "properties": {}})]
CALLS = (ToolCall("abcdefghi", "draw", {}), ToolCall("bcdefghij", "plot", {}))
TURN: list[Message] = [
    SystemMessage("Be brief."),
    UserMessage("What is this?", (RED, BLUE)),
    AssistantMessage("Let me see.", CALLS),
    ToolMessage("abcdefghi", "draw", "[image 1]", (GREEN,)),
    ToolMessage("bcdefghij", "plot", "two\n[image 1]\n[image 2]", (RED, GREEN)),
]
LATER: list[Message] = [AssistantMessage("Colors."), UserMessage("Thanks.")]


def encoded(tokenizer: Any, messages: list[Message], *, supports_images: bool) -> Encoded:
    return encode(tokenizer, vocabulary_of(tokenizer).version, messages, TOOLS, supports_images=supports_images)


def colors(prompt: Encoded) -> list[Any]:
    return [picture.getpixel((0, 0)) for picture in prompt.images]


def chunk_of(image: Image) -> dict[str, Any]:
    return {"type": "image", "image": image}


@pytest.mark.parametrize("label", SEEING)
def test_every_version_that_sees_accepts_images_from_users_and_tools(tokenizer_of: Any, label: str) -> None:
    tokenizer = tokenizer_of(label, supports_images=True)
    for messages in (TURN, TURN + LATER):
        prompt = encoded(tokenizer, messages, supports_images=True)
        assert colors(prompt) == [(255, 0, 0), (0, 0, 255), (0, 128, 0), (255, 0, 0), (0, 128, 0)]
        # One patch each, and the end of its only row.
        assert prompt.tokens.count(vocabulary_of(tokenizer).special("[IMG]")) == 5
        assert prompt.tokens.count(vocabulary_of(tokenizer).special("[IMG_END]")) == 5


@pytest.mark.parametrize("label", ALL)
def test_every_version_that_does_not_see_is_told_in_text(tokenizer_of: Any, label: str) -> None:
    tokenizer = tokenizer_of(label)
    for messages in (TURN, TURN + LATER):
        prompt = encoded(tokenizer, messages, supports_images=False)
        assert prompt.images == []
    groups = render(TURN, vocabulary_of(tokenizer).version)
    # v2 is told the second of two calls after the result of the first.
    assert [len(group) for group in groups] == [1, 1, 1, 2 if label == "v2-spm" else 1, 1]
    assert sum(one["role"] == "user" for group in groups for one in group) == 1
    said = f"[image: PNG 16×16, {len(image_file(size=(PATCH, PATCH)))} bytes; this model cannot see it]"
    assert groups[1][0]["content"].splitlines()[:2] == ["What is this?", said]
    assert groups[3][0]["content"].startswith("[image 1]\n[image: PNG 16×16, ")
    assert "base64" not in json.dumps(groups)


@pytest.mark.parametrize("label", SEEING)
def test_without_images_a_model_that_sees_reads_what_another_reads(tokenizer_of: Any, label: str) -> None:
    plain = [replace(message, images=()) if hasattr(message, "images") else message for message in TURN]
    assert encoded(tokenizer_of(label, supports_images=True), plain, supports_images=True) == encoded(
        tokenizer_of(label), plain, supports_images=False
    )


def test_images_of_a_round_follow_all_its_results_before_v15() -> None:
    groups = render(TURN + LATER, 13, show=chunk_of)
    assert [[one["role"] for one in group] for group in groups] == [
        *(["system"], ["user"], ["assistant"]),
        *(["tool"], ["tool", "user"]),
        *(["assistant"], ["user"]),
    ]
    assert groups[3][0]["content"] == "[image 1]"
    added = groups[4][1]["content"]
    assert added[::2] == [{"type": "text", "text": f"[image returned by {name}]"} for name in ("draw", "plot", "plot")]
    assert added[1::2] == [chunk_of(GREEN), chunk_of(RED), chunk_of(GREEN)]


def test_a_round_whose_last_result_has_no_image_still_shows_those_of_the_others() -> None:
    groups = render([*TURN[:4], ToolMessage("bcdefghij", "plot", "none")], 11, show=chunk_of)
    assert [len(group) for group in groups] == [1, 1, 1, 1, 2]


def test_results_hold_their_images_themselves_from_v15_on() -> None:
    groups = render(TURN, 15, show=chunk_of)
    assert [len(group) for group in groups] == [1] * 5
    assert groups[3][0]["content"] == [{"type": "text", "text": "[image 1]"}, chunk_of(GREEN)]


@pytest.mark.parametrize("label", SEEING)
def test_images_count_as_the_message_that_brought_them(tokenizer_of: Any, label: str) -> None:
    tokenizer = tokenizer_of(label, supports_images=True)
    vocabulary = vocabulary_of(tokenizer)

    def tokens(messages: Any, tools: Any) -> list[int]:
        return encode(tokenizer, vocabulary.version, messages, tools, supports_images=True).tokens

    def counted(messages: list[Message]) -> Any:
        return count_tokens(vocabulary, tokens, tokens(messages, TOOLS), messages, TOOLS, supports_images=True)

    count = counted(TURN)
    assert sum(count.messages) + sum(count.tools) + count.format == count.total
    fewer = counted([TURN[0], UserMessage("What is this?", (RED,)), *TURN[2:]])
    assert count.messages[1] - fewer.messages[1] == 2
    assert (count.messages[0], *count.messages[2:]) == (fewer.messages[0], *fewer.messages[2:])
    silent = counted([*TURN[:3], *(replace(message, images=()) for message in TURN[3:])])
    assert count.messages[:3] == silent.messages[:3]
    assert count.total - silent.total == sum(count.messages[3:]) - sum(silent.messages[3:]) >= 3 * 2


@pytest.mark.parametrize("label", SEEING)
def test_a_broken_image_of_a_tool_is_told_and_one_of_the_user_is_refused(tokenizer_of: Any, label: str) -> None:
    tokenizer = tokenizer_of(label, supports_images=True)
    results = [TURN[3], ToolMessage("bcdefghij", "plot", "[image 1]", (BROKEN,))]
    prompt = encoded(tokenizer, [*TURN[:3], *results], supports_images=True)
    assert len(prompt.images) == 3
    assert "broken.png: the image cannot be decoded" in tokenizer.decode(prompt.tokens)
    with pytest.raises(ImageError, match=r"broken\.png: the image cannot be decoded"):
        encoded(tokenizer, [UserMessage("What?", (RED, BROKEN))], supports_images=True)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1")),
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("GIF", mode) for mode in ("RGB", "L", "P", "1")),
    ],
)
def test_every_mode_of_every_format_is_decoded_to_rgb(kind: str, mode: str) -> None:
    picture = decoded(image_from_bytes(image_file(kind, (12, 7), "white", mode)))
    assert (picture.mode, picture.size) == ("RGB", (12, 7))
    assert min(picture.getpixel((5, 5))) >= 254  # type: ignore[arg-type]


def test_sixteen_bits_become_eight() -> None:
    file = io.BytesIO()
    Pillow.new("I;16", (3, 3), 0x8000).save(file, "PNG")
    assert decoded(image_from_bytes(file.getvalue())).getpixel((1, 1)) == (128, 128, 128)


def test_a_photograph_is_turned_upright() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    file = io.BytesIO()
    Pillow.new("RGB", (40, 20), "red").save(file, "JPEG", exif=exif)
    assert decoded(image_from_bytes(file.getvalue())).size == (20, 40)


def test_what_is_transparent_is_white() -> None:
    file = io.BytesIO()
    Pillow.new("RGBA", (3, 3), (255, 0, 0, 0)).save(file, "PNG")
    assert decoded(image_from_bytes(file.getvalue())).getpixel((1, 1)) == (255, 255, 255)


def test_a_very_large_image_is_scaled_and_keeps_its_shape() -> None:
    picture = decoded(image(kind="JPEG", size=(3 * LARGEST_SIDE, LARGEST_SIDE // 2)))
    assert picture.width == LARGEST_SIDE
    assert abs(picture.height - LARGEST_SIDE // 6) <= 1


def test_of_an_animation_the_first_frame_is_shown() -> None:
    file = io.BytesIO()
    frames = [Pillow.new("RGB", (5, 5), color) for color in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decoded(image_from_bytes(file.getvalue())).getpixel((2, 2)) == (255, 0, 0)


def test_an_image_is_decoded_once() -> None:
    assert decoded(replace(RED)) is decoded(RED)


def test_a_format_that_only_pretends_is_not_decoded() -> None:
    # Pillow reads dozens of formats by itself; only the four are let in.
    file = io.BytesIO()
    Pillow.new("RGB", (3, 3)).save(file, "BMP")
    pretender = replace(RED, data=base64.b64encode(file.getvalue()).decode())
    with pytest.raises(ImageError, match="cannot be decoded"):
        decoded(pretender)

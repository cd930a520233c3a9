from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from host_bench import Bench, write_tools
from image_files import image_file
from PIL import Image as Pillow

from toolchat.images.image import MAX_IMAGES, image_bytes
from toolchat.images.returned import PICTURE_BYTES, received
from toolchat.tools.host.channel import MAX_MESSAGE, Assembler, packets
from toolchat.tools.result import MAX_RESULT
from toolchat.wire.messages import ResultStatus

pytestmark = pytest.mark.process

SOURCE = """
from PIL import Image


def draw(color: str) -> Image.Image:
    '''Draw one color.'''
    return Image.new("RGB", (12, 7), color)


def album(count: int, width: int) -> list:
    '''Images that do not compress, each with its number.'''
    images = []
    for number in range(count):
        images += [f"number {number}", Image.effect_noise((width, width), 100).convert("RGB")]
    return images


async def from_file(path: str) -> bytes:
    '''The bytes of a file.'''
    with open(path, "rb") as file:
        return file.read()


def develop(color: str):
    '''Shows an image on the way.'''
    yield Image.new("RGB", (3, 3), color)
    yield "nearly there"
    return {"done": Image.new("RGB", (12, 7), color)}
"""


@pytest.fixture
def painter(start: Callable[..., Bench], tmp_path: Path) -> Bench:
    rows: dict[str, dict[str, Any]] = {f"painter:{name}": {} for name in ("draw", "album", "from_file", "develop")}
    return start(write_tools(tmp_path, rows, painter=SOURCE))


def test_an_image_arrives_with_the_tools_name(painter: Bench) -> None:
    result = painter.call("draw", color="blue").result
    assert (result.content, result.status) == ("[image 1]", ResultStatus.OK)
    (image,) = result.images
    assert (image.media_type, image.width, image.height, image.source) == ("image/png", 12, 7, "draw")
    assert Pillow.open(io.BytesIO(image_bytes(image))).getpixel((0, 0)) == (0, 0, 255)


def test_as_many_images_as_are_allowed_arrive_beside_their_texts(painter: Bench) -> None:
    result = painter.call("album", count=MAX_IMAGES, width=1100).result
    assert result.status is ResultStatus.OK
    assert result.content.startswith("number 0\n[image 1]\nnumber 1\n[image 2]")
    assert len(result.images) == MAX_IMAGES
    assert all(len(image_bytes(image)) > PICTURE_BYTES // 4 for image in result.images)


def test_one_image_too_many_is_the_tools_error(painter: Bench) -> None:
    result = painter.call("album", count=MAX_IMAGES + 1, width=4).result
    assert result.status is ResultStatus.ERROR
    assert result.content == f"Error: ImageError: the tool returned more than {MAX_IMAGES} images"
    assert result.images == ()


def test_bytes_of_a_file_are_an_image_where_they_are_one(painter: Bench, tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(image_file("WEBP"))
    (tmp_path / "b.bin").write_bytes(b"\0\xff\xfe")
    (image,) = painter.call("from_file", path=str(tmp_path / "a.webp")).result.images
    assert image_bytes(image) == image_file("WEBP")
    result = painter.call("from_file", path=str(tmp_path / "b.bin")).result
    assert result.content == "[3 bytes of binary data]"


def test_an_image_that_a_generator_yields_is_only_named(painter: Bench) -> None:
    outcome = painter.call("develop", color="red")
    assert outcome.output == "[image 1]\nnearly there\n"
    assert outcome.result.content == '{"done": "[image 1]"}'
    assert len(outcome.result.images) == 1


def test_the_largest_result_fits_into_one_message() -> None:
    # Six bytes of JSON for each of the text's, as for a control character.
    message = {"op": "result", "content": "\x01" * MAX_RESULT, "images": ["A" * (PICTURE_BYTES * 4 // 3)] * MAX_IMAGES}
    assert len(json.dumps(message)) < MAX_MESSAGE
    assembler = Assembler("token")
    *before, last = packets("token", message)
    assert [assembler.feed(packet) for packet in before] == [None] * len(before)
    assert assembler.feed(last) == message


@pytest.mark.parametrize("files", [None, "AAAA", {"a": 1}, ["A"], ["AAAA"], [1], [None], ["é"], [["x"]], [""] * 9])
def test_what_a_process_claims_to_be_images_is_not_believed(files: Any) -> None:
    assert received(files, "f") is None


def test_a_process_that_lies_about_its_images_has_answered_nothing(start: Callable[..., Bench], tmp_path: Path) -> None:
    source = """
import toolchat.tools.host.executor as executor


def lie() -> str:
    '''Pretend.'''
    executor.b64encode = lambda data: b"AAAA"
    return [b"\\x89PNG\\r\\n\\x1a\\n\\0\\0\\0\\rIHDR\\0\\0\\0\\1\\0\\0\\0\\1IEND"]
"""
    bench = start(write_tools(tmp_path, {"liar:lie": {}}, liar=source))
    result = bench.call("lie").result
    assert (result.status, result.images) == (ResultStatus.ERROR, ())
    assert result.content == "Error: the tool's process answered with what is no answer"

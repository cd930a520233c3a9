from __future__ import annotations

import io
import sys
import types
from collections import namedtuple
from typing import Any

import pytest
from image_files import ACCEPTED, image_file, noise_file
from PIL import Image as Pillow

from toolchat.images import returned
from toolchat.images.image import LARGEST_SIDE, MAX_IMAGES, Header, ImageError, read_header
from toolchat.images.returned import PICTURE_BYTES, without_pictures
from toolchat.tools.values import result_text

PNG = image_file()


def opened(file: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(file))


def only(value: Any) -> bytes:
    text, (file,) = without_pictures(value)
    assert text == "[image 1]"
    return file


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.parametrize("container", [bytes, bytearray])
def test_bytes_that_are_an_image_are_sent_as_they_are(kind: str, container: Any) -> None:
    assert only(container(image_file(kind))) == image_file(kind)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_a_pillow_image_of_any_mode_becomes_a_png_of_its_size(mode: str) -> None:
    assert read_header(only(Pillow.new(mode, (12, 7)))) == Header("image/png", 12, 7)


def test_what_a_pillow_image_shows_stays() -> None:
    image = Pillow.new("RGB", (12, 7), (1, 2, 3))
    assert opened(only(image)).getpixel((0, 0)) == (1, 2, 3)
    assert image.size == (12, 7)


def test_a_photograph_that_was_opened_stays_a_jpeg() -> None:
    assert read_header(only(opened(image_file("JPEG")))).media_type == "image/jpeg"


def test_a_photograph_that_lies_on_its_side_is_turned_upright() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    file = io.BytesIO()
    Pillow.new("RGB", (40, 20)).save(file, "JPEG", exif=exif)
    assert read_header(only(opened(file.getvalue()))) == Header("image/jpeg", 20, 40)


class _Saves:
    def savefig(self, file: Any, format: str) -> None:
        assert format == "png"
        file.write(PNG)


def test_a_figure_is_known_by_its_class_without_importing_matplotlib() -> None:
    figure = type("Figure", (_Saves,), {"__module__": "matplotlib.figure"})
    derived = type("MyFigure", (figure,), {})
    assert only(figure()) == only(derived()) == PNG
    assert "matplotlib" not in sys.modules
    assert without_pictures(stranger := _Saves()) == (stranger, [])


def test_a_real_figure() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(4, 3), dpi=50)
    figure.subplots().plot([1, 2, 3])
    assert read_header(only(figure)) == Header("image/png", 200, 150)


def test_texts_and_images_become_one_text_and_the_images_in_order() -> None:
    jpeg = image_file("JPEG")
    for value in (["Before", PNG, "between", jpeg], ("Before", PNG, "between", jpeg)):
        assert without_pictures(value) == ("Before\n[image 1]\nbetween\n[image 2]", [PNG, jpeg])


def test_images_within_data_leave_their_number_there() -> None:
    value = {"title": "Sales", "plots": [PNG, PNG], "rows": [[1, {"icon": PNG}]]}
    text, files = without_pictures(value)
    assert result_text(text) == (
        '{"title": "Sales", "plots": ["[image 1]", "[image 2]"], "rows": [[1, {"icon": "[image 3]"}]]}'
    )
    assert files == [PNG] * 3
    assert value["plots"] == [PNG, PNG]


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    "value", [None, "text", 1, 1.5, True, b"bytes", b"", ["a", "b"], [], {}, {"a": [1]}, Point(1, 2), {1, 2}, object()]
)
def test_what_holds_no_image_is_left_alone(value: Any) -> None:
    assert without_pictures(value) == (value, [])
    assert without_pictures(value)[0] is value


def test_a_list_that_holds_itself_is_left_to_the_writer() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert without_pictures(loop)[0] is loop


def test_bytes_that_are_no_image_are_named_by_their_number() -> None:
    value, files = without_pictures(b"\x00\xff")
    assert files == []
    assert result_text(value) == "[2 bytes of binary data]"


def test_a_damaged_image_is_said_to_be_one() -> None:
    with pytest.raises(ImageError, match="bytes that are not a whole image: begins as a PNG image, but is damaged"):
        without_pictures(PNG[:-20])


def test_too_many_images_are_refused() -> None:
    assert len(without_pictures([PNG] * MAX_IMAGES)[1]) == MAX_IMAGES
    with pytest.raises(ImageError, match="more than 8 images"):
        without_pictures([PNG] * (MAX_IMAGES + 1))


@pytest.mark.long
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_bytes_that_are_too_many_are_scaled_down_and_that_is_said(kind: str) -> None:
    large = noise_file(kind, (3000, 1500))
    assert len(large) > PICTURE_BYTES
    text, (file,) = without_pictures(large)
    assert text == "[image 1, scaled down from 3000×1500]"
    assert len(file) <= PICTURE_BYTES
    header = read_header(file)
    assert header.width <= LARGEST_SIDE
    assert header.width == 2 * header.height


@pytest.mark.long
def test_an_image_that_is_too_large_as_png_is_sent_as_a_photograph_first() -> None:
    image = opened(noise_file("PNG", (1600, 1200)))
    text, (file,) = without_pictures(image)
    assert text == "[image 1]"
    assert read_header(file) == Header("image/jpeg", 1600, 1200)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["I;16", "I", "F", "CMYK", "LA"])
def test_an_image_of_any_mode_can_be_made_smaller(mode: str) -> None:
    image = opened(noise_file("PNG", (1600, 1200)))
    if mode == "I;16":
        image = image.convert("I").point(lambda value: value * 256).convert("I;16")
    _, (file,) = without_pictures(image.convert(mode))
    assert read_header(file) == Header("image/jpeg", 1600, 1200)
    # The noise is gray on average; cut off instead of scaled, sixteen bits would be white.
    assert 100 < opened(file).convert("L").resize((1, 1)).getpixel((0, 0)) < 156  # type: ignore[operator]


@pytest.mark.long
def test_transparent_parts_of_a_large_image_become_white() -> None:
    image = opened(noise_file("PNG", (1600, 1200))).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 100, 100))
    _, (file,) = without_pictures(image)
    assert min(opened(file).getpixel((50, 50))) > 250  # type: ignore[arg-type]


def test_a_large_figure_is_scaled_down() -> None:
    wide = image_file("PNG", (LARGEST_SIDE + 1, 10))
    assert only(wide) == wide
    text, (file,) = without_pictures(opened(wide))
    assert text == f"[image 1, scaled down from {LARGEST_SIDE + 1}×10]"
    assert read_header(file).width == LARGEST_SIDE


@pytest.mark.long
def test_without_pillow_a_large_image_is_an_error_that_names_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    large = noise_file("PNG", (3000, 1500))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImageError, match=r"3000×1500, [\d.]+ MB; at most 1\.5 MB and 67 million pixels can be sent"):
        without_pictures(large)


def test_finding_an_image_imports_no_imaging_library() -> None:
    names = {name for name, value in vars(returned).items() if isinstance(value, types.ModuleType)}
    assert names == {"base64", "io"}

from __future__ import annotations

import io
import struct
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from image_files import ACCEPTED, image_file
from PIL import Image as Pillow

from toolchat.images.image import Header, ImageError, format_of, name_of, read_header

SIZES = [(1, 1), (12, 7), (300, 5), (5, 70_000), (16_000, 3)]


def written(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Pillow.new(mode, size).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ACCEPTED)
def test_format_and_size_are_read_from_the_file_itself(kind: str, size: tuple[int, int]) -> None:
    if kind in ("JPEG", "WEBP", "GIF"):
        size = (min(size[0], 16_000), min(size[1], 16_000))
    assert read_header(image_file(kind, size)) == Header(f"image/{kind.lower()}", *size)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 5}, {"lossless": True, "exif": b"Exif\0\0II*\0"}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_kind_of_webp(mode: str, options: dict[str, object]) -> None:
    assert read_header(written("WEBP", (33, 44), mode, **options)) == Header("image/webp", 33, 44)


@pytest.mark.parametrize("options", [{"progressive": True}, {"exif": b"Exif\0\0" + bytes(60_000)}, {"comment": b"hi"}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_kind_of_jpeg(mode: str, options: dict[str, object]) -> None:
    assert read_header(written("JPEG", (33, 44), mode, **options)) == Header("image/jpeg", 33, 44)


def test_fill_bytes_and_markers_without_a_length_before_a_jpegs_frame_are_passed_over() -> None:
    whole = image_file("JPEG", (33, 44))
    assert read_header(whole[:2] + b"\xff\x01\xff\xff\xff" + whole[3:]) == Header("image/jpeg", 33, 44)


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_file_that_is_cut_off_is_refused(kind: str) -> None:
    whole = image_file(kind, (64, 64))
    for length in range(1, min(len(whole), 30)):
        with pytest.raises(ImageError):
            read_header(whole[:length])
    if kind != "GIF":
        with pytest.raises(ImageError, match="is damaged or cut off"):
            read_header(whole[:-20])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\0\0\x18ftypheic", "a HEIC image"),
        (b"\0\0\0\x18ftypmp42", "something else"),
        (b"hello", "something else"),
    ],
)
def test_what_it_is_instead_is_said(data: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=f"not a PNG, JPEG, WebP or GIF image but {said}"):
        read_header(data)


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_formats_that_models_are_not_given_are_named(kind: str) -> None:
    with pytest.raises(ImageError, match=f"but a {kind} image"):
        read_header(image_file(kind))


def test_an_image_without_pixels_is_damaged() -> None:
    whole = bytearray(image_file("PNG"))
    struct.pack_into(">II", whole, 16, 0, 7)
    with pytest.raises(ImageError, match="begins as a PNG image, but is damaged"):
        read_header(bytes(whole))


def header_or_none(data: bytes) -> Header | None:
    with suppress(ImageError):
        return read_header(data)
    return None


@cache
def sound(kind: str) -> bytes:
    return image_file(kind, (40, 30))


@given(
    kind=st.sampled_from(ACCEPTED),
    end=st.integers(0, 200),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    kind: str, end: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(sound(kind))
    for at, byte in changes:
        data[at] = byte
    for damaged in (bytes(data), bytes(data[:end])):
        header = header_or_none(damaged)
        assert header is None or header.width > 0 < header.height


@given(
    begin=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP"]),
    rest=st.binary(),
)
@example(b"\xff\xd8\xff", b"\xff\xd9" + b"\xff" * 100)
@example(b"RIFF\0\0\0\0WEBP", b"VP8X")
def test_whatever_the_bytes_nothing_but_an_image_error_is_raised(begin: bytes, rest: bytes) -> None:
    header = header_or_none(begin + rest)
    assert header is None or header.media_type == format_of(begin + rest)


def test_names_are_those_that_people_use() -> None:
    assert [name_of(f"image/{kind}") for kind in ("png", "jpeg", "webp", "gif")] == ["PNG", "JPEG", "WebP", "GIF"]

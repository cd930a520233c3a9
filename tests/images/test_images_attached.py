from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_files import ACCEPTED, image_file, noise_file

from toolchat.images.attached import read_image, read_images, refuse_unseen
from toolchat.images.image import MAX_BYTES, MAX_IMAGES, image_bytes
from toolchat.wire.errors import ExitCode, UsageError


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_file_is_read_by_its_bytes_and_not_by_its_name(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "picture.txt"
    file.write_bytes(image_file(kind))
    image = read_image(str(file))
    assert image.media_type == f"image/{kind.lower()}"
    assert (image.width, image.height, image.source) == (12, 7, str(file))
    assert image_bytes(image) == file.read_bytes()


def test_the_users_home_is_written_as_a_tilde(home: Path) -> None:
    (home / "cat.png").write_bytes(image_file())
    assert read_image("~/cat.png").source == "~/cat.png"


def refused(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_images([name])
    assert caught.value.exit_code is ExitCode.USAGE
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{name}: ")
    return line.removeprefix(f"{name}: ")


def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_text("<!doctype html><title>Not found</title>")
    (tmp_path / "cut.png").write_bytes(image_file()[:-20])
    (tmp_path / "empty.png").touch()
    said = "not a PNG, JPEG, WebP or GIF image but an HTML page; expected a PNG, JPEG, WebP or GIF image"
    assert refused(str(tmp_path / "cat.png")) == said
    assert refused(str(tmp_path / "cut.png")).startswith("begins as a PNG image, but is damaged or cut off")
    assert "an empty file" in refused(str(tmp_path / "empty.png"))


def test_an_image_that_is_broken_behind_its_header_is_refused_in_one_line(tmp_path: Path) -> None:
    data = bytearray(noise_file("PNG", (64, 64)))
    for at in range(len(data) // 3, len(data) - 40):
        data[at] ^= 0xA5
    (tmp_path / "broken").write_bytes(data)
    assert refused(str(tmp_path / "broken")).startswith("the image cannot be decoded (")


def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(str(tmp_path / "none.png")).startswith("no such file")
    assert refused(str(tmp_path)).startswith(("a folder", "not a file"))
    assert refused(str(tmp_path / "pipe")).startswith("not a file")
    assert refused("/dev/zero").startswith("not a file")
    assert refused("a\0b").startswith("cannot be read: embedded null byte")
    assert refused("~nobody-of-this-name/x.png").startswith(("cannot be read", "no such file"))
    assert refused("").startswith(("a folder", "no such file", "not a file"))


@pytest.mark.parametrize("name", ["ftp://host/cat.png", "file:///etc/passwd", "s3://bucket/cat.png"])
def test_only_http_and_https_are_addresses(name: str) -> None:
    assert "http:// or https://" in refused(name)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.png"
    with file.open("wb") as stream:
        stream.write(image_file())
        stream.truncate(MAX_BYTES + 1)
    assert refused(str(file)) == "20 MB; at most 20 MB can be sent"


def test_several_images_keep_their_order(tmp_path: Path) -> None:
    names = []
    for width in (3, 1, 2):
        names.append(str(tmp_path / f"{width}.png"))
        Path(names[-1]).write_bytes(image_file(size=(width, 1)))
    assert [image.width for image in read_images(names)] == [3, 1, 2]


def test_too_many_images_are_refused_before_any_is_read() -> None:
    with pytest.raises(UsageError, match=f"9 images: at most {MAX_IMAGES}"):
        read_images(["none.png"] * 9)


def test_a_photograph_of_ordinary_size_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(noise_file("JPEG", (3000, 2000)))
    assert read_image(str(file)).width == 3000


def test_the_model_that_does_not_see_is_named_and_what_to_do() -> None:
    line = str(refuse_unseen("demo"))
    assert line.startswith("--image: the model demo cannot see images; ")

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import pyte
import pytest
from image_files import image, noise_file
from PIL import Image as Pillow

from toolchat.images.image import image_bytes, image_from_bytes
from toolchat.ui.pictures import MOST_ROWS, Room, cells, inline_picture

ROOM = Room(80, 24)


def kitty_parts(shown: str) -> list[tuple[str, str]]:
    return re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", shown)


def test_kitty_gets_the_file_in_pieces_that_make_it_whole() -> None:
    picture = image_from_bytes(noise_file("PNG", (90, 60)))
    shown = inline_picture(picture, "kitty", ROOM)
    assert shown is not None
    parts = kitty_parts(shown)
    assert base64.b64decode("".join(data for _, data in parts)) == image_bytes(picture)
    assert parts[0][0].startswith("a=T,f=100,q=2,C=1,c=11,r=4,m=")
    assert len(parts) > 2
    assert [keys[-1] for keys, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
    assert all(len(data) <= 4096 for _, data in parts)


def test_kitty_gets_other_formats_as_png() -> None:
    shown = inline_picture(image(kind="JPEG"), "kitty", ROOM)
    assert shown is not None
    data = base64.b64decode("".join(data for _, data in kitty_parts(shown)))
    with Pillow.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == ("PNG", (12, 7))


def test_iterm_gets_the_file_as_it_is() -> None:
    picture = image(kind="GIF", size=(160, 160))
    shown = inline_picture(picture, "iterm", ROOM)
    assert shown is not None
    match = re.fullmatch(r"  \x1b\]1337;File=([^:]*):([^\x07]*)\x07\n", shown)
    assert match is not None
    assert "width=20;height=10" in match[1]
    assert base64.b64decode(match[2]) == image_bytes(picture)


def test_what_cannot_be_shown_is_none() -> None:
    assert inline_picture(image(), "", ROOM) is None
    broken = replace(image(kind="JPEG"), data=base64.b64encode(b"\xff\xd8\xff no image").decode())
    assert inline_picture(broken, "kitty", ROOM) is None


@pytest.mark.parametrize("protocol", ["kitty", "iterm"])
def test_no_data_ends_the_sequence(protocol: str) -> None:
    evil = replace(image(), data=image().data + "\x1b\\\x07\x1b]52;c;eA==\x07")
    shown = inline_picture(evil, protocol, ROOM) or ""
    assert "52;c" not in shown


@pytest.mark.parametrize(
    ("size", "room", "expected"),
    [
        ((80, 32), ROOM, (10, 2)),
        ((4000, 100), ROOM, (60, 1)),
        ((100, 8000), ROOM, (1, 12)),
        ((1, 1), ROOM, (1, 1)),
        ((4000, 4000), Room(200, 100), (32, MOST_ROWS)),
        ((400, 400), Room(20, 6), (6, 3)),
        ((90, 90), Room(80, 24, (9, 18)), (10, 5)),
    ],
)
def test_a_picture_has_its_own_size_or_what_there_is_room_for(
    size: tuple[int, int], room: Room, expected: tuple[int, int]
) -> None:
    assert cells(image(size=size), room) == expected


def test_what_is_printed_next_stands_below_the_picture() -> None:
    picture = image(size=(80, 32))
    shown = inline_picture(picture, "kitty", ROOM)
    assert shown is not None
    # pyte knows no APC: what is left when it is out of the way moves the cursor.
    moves = re.sub(r"\x1b_G[^\x1b]*\x1b\\", "", shown)
    for rows in (24, 4):
        screen = pyte.Screen(80, rows)
        pyte.Stream(screen).feed(("above\n" * 2 + moves + "below").replace("\n", "\r\n"))
        lines = [line.rstrip() for line in screen.display]
        assert lines.index("below") - (len(lines) - 1 - lines[::-1].index("above")) == 3

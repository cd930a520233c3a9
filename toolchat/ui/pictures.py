"""Shows a picture among the rows of a terminal, by the protocol of kitty or that of iTerm2.

https://sw.kovidgoyal.net/kitty/graphics-protocol/ and https://iterm2.com/documentation-images.html
"""

from __future__ import annotations

import base64
import fcntl
import io
import struct
import termios
from contextlib import suppress
from dataclasses import dataclass

from toolchat.images.image import PNG, image_bytes
from toolchat.wire.messages import Image

CELL = (8, 16)
"""Pixels of a cell where the terminal does not say."""
MOST_ROWS = 16
MOST_COLUMNS = 60
_PIECE = 4096
"""Characters of base64 in one sequence of kitty's protocol."""


@dataclass(frozen=True, slots=True)
class Room:
    """Of a terminal."""

    columns: int
    rows: int
    cell: tuple[int, int] = CELL
    """Pixels of a cell: width and height."""


def room_of(descriptor: int, columns: int, rows: int) -> Room:
    """The room of a terminal of that size, with the pixels of its cells where it says them."""
    with suppress(OSError):
        high, wide, x, y = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, b"\0" * 8))
        if high and wide and x >= wide and y >= high:
            return Room(columns, rows, (x // wide, y // high))
    return Room(columns, rows)


def inline_picture(image: Image, protocol: str, room: Room) -> str | None:
    """What shows `image` from the beginning of a row on, with the end of its last row; None where it cannot be shown.

    Nothing of the image but its base64 is in it, so that no file can end the sequence.
    """
    columns, rows = cells(image, room)
    match protocol:
        case "kitty":
            data = image.data if image.media_type == PNG else _as_png(image)
            return _kitty(data, columns, rows) if data is not None else None
        case "iterm":
            size = len(image_bytes(image))
            how = f"inline=1;size={size};width={columns};height={rows};preserveAspectRatio=1"
            return f"  \x1b]1337;File={how}:{_checked(image.data)}\x07\n"
    return None


def cells(image: Image, room: Room) -> tuple[int, int]:
    """How many columns and rows the image is shown in: its own size, or what there is room for."""
    width, height = room.cell
    most_columns = max(min(room.columns - 4, MOST_COLUMNS), 1)
    most_rows = max(min(room.rows // 2, MOST_ROWS), 1)
    scale = min(1.0, most_columns * width / image.width, most_rows * height / image.height)
    columns = max(round(image.width * scale / width), 1)
    rows = max(round(image.height * scale / height), 1)
    return min(columns, most_columns), min(rows, most_rows)


def _kitty(data: str, columns: int, rows: int) -> str:
    data = _checked(data)
    pieces = [data[at : at + _PIECE] for at in range(0, len(data), _PIECE)]
    # q=2: no answer, which would stand among the keys. C=1: the cursor stays, and goes down by newlines, which scroll.
    out = []
    for number, piece in enumerate(pieces):
        more = int(number < len(pieces) - 1)
        keys = f"a=T,f=100,q=2,C=1,c={columns},r={rows},m={more}" if number == 0 else f"q=2,m={more}"
        out.append(f"\x1b_G{keys};{piece}\x1b\\")
    # The rows are made before the picture stands in them: one that reaches beyond the screen's end is not scrolled.
    return "\n" * rows + f"\x1b[{rows}A  " + "".join(out) + "\n" * rows


def _as_png(image: Image) -> str | None:
    """The file as PNG, the one format of kitty's protocol; None without Pillow, and where it cannot be decoded."""
    try:
        import PIL  # noqa: F401

        from toolchat.images.image import ImageError, decoded
    except ImportError:
        return None
    try:
        file = io.BytesIO()
        decoded(image).save(file, format="PNG")
    except (ImageError, OSError, ValueError):
        return None
    return base64.b64encode(file.getvalue()).decode()


def _checked(data: str) -> str:
    """The base64 itself, made anew: what comes out of a stored session may be anything."""
    return base64.b64encode(base64.b64decode(data)).decode()

"""Images in what a function returned: found and made small enough in the tool's process, checked anew in the chat's.

Finding them imports no imaging library. Pillow is used where it is installed: a tool that made one has it, mostly.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from toolchat.images.image import (
    LARGEST_SIDE,
    MAX_IMAGES,
    MAX_PIXELS,
    ImageError,
    format_of,
    image_from_bytes,
    in_eight_bits,
    on_white,
    read_header,
    size_text,
)
from toolchat.wire.messages import Image

PICTURE_BYTES = 1_500_000
"""Of one picture's file: eight of them, in base64, and a whole result beside them fit into one message of the pipe."""

_DEPTH = 4
"""How deep a result is searched. Deeper down, a picture is an object like any other."""

_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


@dataclass(frozen=True, slots=True)
class Picture:
    file: bytes
    note: str = ""
    """What was done to it: ", scaled down from 5000×4000"."""


def without_pictures(value: Any) -> tuple[Any, list[bytes]]:
    """`value` with "[image 1]" where its first picture was, and so on, and the pictures' files.

    A picture is a Pillow image, a matplotlib figure, or bytes that begin as an image does, by itself or in a list, a
    tuple or a dict. A list of texts and pictures becomes one text, a line for each.

    Raises ImageError for a picture that is damaged or too large, and for too many.
    """
    pictures: list[bytes] = []
    return _replaced(value, pictures, _DEPTH), pictures


def received(files: Any, tool: str) -> tuple[Image, ...] | None:
    """The images whose files came in base64; None for anything but a list of such, not too long."""
    if not isinstance(files, list) or len(files) > MAX_IMAGES:
        return None
    try:
        return tuple(image_from_bytes(base64.b64decode(file, validate=True), tool) for file in files)
    except (TypeError, ValueError):
        return None


def _replaced(value: Any, pictures: list[bytes], depth: int) -> Any:
    if (picture := _file(value)) is not None:
        if len(pictures) == MAX_IMAGES:
            raise ImageError(f"the tool returned more than {MAX_IMAGES} images")
        pictures.append(picture.file)
        return f"[image {len(pictures)}{picture.note}]"
    if depth == 0 or not isinstance(value, list | tuple | dict):
        return value
    before = len(pictures)
    if isinstance(value, dict):
        replaced: Any = {key: _replaced(item, pictures, depth - 1) for key, item in value.items()}
    else:
        replaced = [_replaced(item, pictures, depth - 1) for item in value]
    if len(pictures) == before:
        # As it was: a subclass may be written in its own way.
        return value
    if depth == _DEPTH and isinstance(replaced, list) and all(isinstance(item, str) for item in replaced):
        return "\n".join(replaced)
    return replaced


def _file(value: Any) -> Picture | None:
    """The picture that `value` is, if it is one."""
    if value is None or isinstance(value, str | int | float):
        return None
    if isinstance(value, bytes | bytearray):
        return _of_bytes(bytes(value)) if format_of(bytes(value[:16])) is not None else None
    names = {(kind.__module__, kind.__name__) for kind in type(value).__mro__}
    if ("PIL.Image", "Image") in names:
        return _of_pillow(value)
    if ("matplotlib.figure", "Figure") in names:
        file = io.BytesIO()
        value.savefig(file, format="png")
        return _of_bytes(file.getvalue())
    return None


def _of_bytes(data: bytes) -> Picture:
    try:
        header = read_header(data)
    except ImageError as error:
        raise ImageError(f"the tool returned bytes that are not a whole image: {error}") from None
    size = f"{header.width}×{header.height}, {size_text(len(data))}"
    if len(data) <= PICTURE_BYTES and header.width * header.height <= MAX_PIXELS:
        return Picture(data)
    try:
        from PIL import Image as Pillow
    except ImportError:
        raise ImageError(
            f"the tool returned an image of {size}; at most {size_text(PICTURE_BYTES)} and "
            f"{MAX_PIXELS // 10**6} million pixels can be sent (where Pillow is installed, a larger one is scaled down)"
        ) from None
    try:
        opened = Pillow.open(io.BytesIO(data))
    except Exception:  # one that says to have billions of pixels, among others
        raise ImageError(f"the tool returned an image of {size} that Pillow does not open") from None
    return _of_pillow(opened)


def _of_pillow(picture: Any) -> Picture:
    """A file of a Pillow image, upright, and scaled down where it is too large."""
    from PIL import ImageOps

    kind = "JPEG" if picture.format == "JPEG" else "PNG"
    # Which way is up is written beside the pixels, and would not be written again.
    picture = ImageOps.exif_transpose(picture)
    width, height = picture.size
    side = LARGEST_SIDE
    scaled = max(picture.size) > side
    data = _written(_within(picture, side) if scaled else picture, kind)
    while len(data) > PICTURE_BYTES:
        # First without what PNG keeps and a photograph does not need, then smaller and smaller.
        if kind == "JPEG":
            side //= 2
            scaled = True
        kind = "JPEG"
        data = _written(_within(picture, side), kind)
    return Picture(data, f", scaled down from {width}×{height}" if scaled else "")


def _within(picture: Any, side: int) -> Any:
    if max(picture.size) <= side:
        return picture
    smaller = picture.copy() if picture.mode not in ("1", "P") else picture.convert("RGBA")
    smaller.thumbnail((side, side))
    return smaller


def _written(picture: Any, kind: str) -> bytes:
    if kind == "JPEG" and picture.mode not in ("L", "RGB"):
        picture = on_white(in_eight_bits(picture) if picture.mode == "I;16" else picture)
    elif picture.mode not in _PNG_MODES and kind == "PNG":
        picture = picture.convert("RGB")
    file = io.BytesIO()
    picture.save(file, format=kind)
    return file.getvalue()

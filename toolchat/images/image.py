"""An image as messages carry it: told by the bytes of its file, never by a name; within limits; described; decoded.

Only `decoded`, the pixels that a model is given, needs an imaging library: it imports Pillow, which mistral_common
brings, when it is first called.
"""

from __future__ import annotations

import base64
import hashlib
import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_BYTES = 20_000_000
"""Of one image's file: more than a phone's photograph takes. It crosses to the engine in base64 with every request."""

MAX_PIXELS = 64 * 1024**2
"""A photograph of 50 megapixels fits. Decoded it takes four bytes a pixel; models look at some two million at most."""

MAX_IMAGES = 8
"""In one message. A model reads up to 4,096 tokens an image (1024 × 1024 pixels in patches of 16)."""

LARGEST_SIDE = 2048
"""Pixels. Mistral's models scale to 1,540 or fewer by themselves, over an array of 12 bytes a pixel: of a photograph
of 50 megapixels that array alone would take 600 MB."""

_KEPT = 16
"""Decoded images that are remembered, at most 12 MB each: every round of a turn shows all of them again."""

ACCEPTED = "PNG, JPEG, WebP or GIF"
"""Of an animated one models see the first frame."""

PNG, JPEG, WEBP, GIF = "image/png", "image/jpeg", "image/webp", "image/gif"
_SUFFIXES = {PNG: ".png", JPEG: ".jpg", WEBP: ".webp", GIF: ".gif"}

_FOREIGN = (
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"%PDF-", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
)
_BRANDS = {b"heic": "a HEIC image", b"heix": "a HEIC image", b"mif1": "a HEIF image", b"avif": "an AVIF image"}

# Start of frame, baseline to lossless: C4, C8 and CC among them are other things.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""


class ImageError(ValueError):
    """Not an image that toolchat takes; the message says what it is instead, and needs the source's name before it."""


@dataclass(frozen=True, slots=True)
class Header:
    media_type: str
    width: int
    """Pixels, as stored; a photograph may be meant to be turned."""
    height: int


def format_of(data: bytes) -> str | None:
    """The media type that the first bytes stand for; None for what is not PNG, JPEG, WebP or GIF."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return None


def read_header(data: bytes) -> Header:
    """Format and size of the image whose file is `data`. Raises ImageError, and nothing else."""
    media_type = format_of(data)
    if media_type is None:
        raise ImageError(f"not a PNG, JPEG, WebP or GIF image but {_foreign(data)}")
    try:
        match media_type:
            case "image/png":
                size = _png(data)
            case "image/jpeg":
                size = _jpeg(data)
            case "image/gif":
                size = _gif(data)
            case _:
                size = _webp(data)
    except (struct.error, IndexError):
        size = None
    if size is None or min(size) < 1:
        raise ImageError(f"begins as a {name_of(media_type)} image, but is damaged or cut off")
    return Header(media_type, *size)


def name_of(media_type: str) -> str:
    """ "JPEG" for "image/jpeg"."""
    return {WEBP: "WebP"}.get(media_type, media_type.removeprefix("image/").upper())


def image_from_bytes(data: bytes, source: str = "") -> Image:
    """The image whose file is `data`; `source` says for people where it came from.

    Raises ImageError for what is no accepted image, or too large; the message does not name the source.
    """
    header = read_header(data)
    if len(data) > MAX_BYTES:
        raise ImageError(f"an image of {size_text(len(data))}; at most {size_text(MAX_BYTES)} can be sent")
    if header.width * header.height > MAX_PIXELS:
        raise ImageError(
            f"an image of {header.width}×{header.height} pixels; at most {MAX_PIXELS // 10**6} million can be sent"
        )
    return Image(header.media_type, base64.b64encode(data).decode(), header.width, header.height, source)


def image_bytes(image: Image) -> bytes:
    """The image's file."""
    return base64.b64decode(image.data)


def digest(image: Image) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    return hashlib.sha256(image_bytes(image)).hexdigest()


def file_name(image: Image) -> str:
    """A name by content: the same image has the same name, and no two images share one."""
    return f"{digest(image)[:24]}{_SUFFIXES.get(image.media_type, '')}"


def description(image: Image) -> str:
    """ "PNG 640×480, 12 kB"."""
    return f"{name_of(image.media_type)} {image.width}×{image.height}, {size_text(_size(image))}"


def size_text(size: int) -> str:
    """ "800 bytes", "12 kB", "1.5 MB", "14.5 GB"."""
    if size < 1000:
        return f"{size} bytes"
    if size < 999_500:
        return f"{size / 1000:.0f} kB"
    unit, scale = ("MB", 10**6) if size < 999_950_000 else ("GB", 10**9)
    return f"{size / scale:.1f} {unit}".replace(f".0 {unit}", f" {unit}")


def _size(image: Image) -> int:
    return len(image.data) * 3 // 4 - image.data.count("=", -2)


def _png(data: bytes) -> tuple[int, int] | None:
    if data[12:16] != b"IHDR" or b"IEND" not in data:
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _jpeg(data: bytes) -> tuple[int, int] | None:
    if b"\xff\xd9" not in data:
        return None
    at = 2
    while True:
        if data[at] != 0xFF:
            return None
        while data[at] == 0xFF:  # fill bytes
            at += 1
        marker = data[at]
        at += 1
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        if marker not in _JPEG_BARE:
            (length,) = struct.unpack_from(">H", data, at)
            if length < 2:
                return None
            at += length


def _gif(data: bytes) -> tuple[int, int] | None:
    if b";" not in data[13:]:  # the trailer
        return None
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _webp(data: bytes) -> tuple[int, int] | None:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        return None
    match data[12:16]:
        case b"VP8 ":  # lossy: after the frame's tag and its start code
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":  # lossless: 14 bits each, after a signature byte
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":  # extended: 24 bits each
            canvas = struct.unpack_from("<6B", data, 24)
            return int.from_bytes(canvas[:3], "little") + 1, int.from_bytes(canvas[3:], "little") + 1
    return None


def _foreign(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS:
        return _BRANDS[data[8:12]]
    beginning = data[:256].lstrip().lower()
    for magic, what in _FOREIGN:
        if data.startswith(magic) or beginning.startswith(magic):
            return what
    return "something else"


@lru_cache(maxsize=_KEPT)
def decoded(image: Image) -> Picture:
    """The image upright, in RGB on white, its sides at most LARGEST_SIDE; of an animated one the first frame.

    Raises ImageError where it cannot be decoded.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(io.BytesIO(image_bytes(image)), formats=("PNG", "JPEG", "WEBP", "GIF", "MPO")) as opened:
            opened.draft("RGB", (LARGEST_SIDE, LARGEST_SIDE))
            picture = on_white(in_eight_bits(ImageOps.exif_transpose(opened)))
            picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    except Exception as error:  # Pillow raises OSError, ValueError, SyntaxError, struct.error and more, by format
        where = image.source or "an image"
        raise ImageError(f"{where}: the image cannot be decoded ({error})") from error
    return picture


def on_white(picture: Picture) -> Picture:
    """A copy in RGB, white where it is transparent."""
    from PIL import Image as Pillow

    if picture.mode == "RGB":
        return picture.copy()
    layer = picture.convert("RGBA")
    white = Pillow.new("RGB", layer.size, "white")
    white.paste(layer, mask=layer)
    return white


def in_eight_bits(picture: Picture) -> Picture:
    """`picture`, or a copy of one of sixteen bits a pixel: Pillow by itself would cut them off, not scale them."""
    if not picture.mode.startswith("I"):
        return picture
    return picture.point(lambda value: value * (1 / 256)).convert("L")

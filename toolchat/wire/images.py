"""Images as messages carry them: made from a file's bytes, within limits, and described for people and models."""

from __future__ import annotations

import base64
import hashlib

from toolchat.wire.image_header import GIF, JPEG, PNG, WEBP, ImageError, name_of, read_header
from toolchat.wire.messages import Image

MAX_BYTES = 20_000_000
"""Of one image's file: more than a phone's photograph takes. It crosses to the engine in base64 with every request."""

MAX_PIXELS = 64 * 1024**2
"""A photograph of 50 megapixels fits. Decoded it takes four bytes a pixel; models look at some two million at most."""

MAX_IMAGES = 8
"""In one message. A model reads up to 4,096 tokens an image (1024 × 1024 pixels in patches of 16)."""

ACCEPTED = "PNG, JPEG, WebP or GIF"
"""Of an animated one models see the first frame."""

_SUFFIXES = {PNG: ".png", JPEG: ".jpg", WEBP: ".webp", GIF: ".gif"}


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

"""Files of images for tests, made by Pillow: in every format that is accepted, and in some that are not."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image as Pillow

from toolchat.images.image import image_from_bytes
from toolchat.wire.messages import Image

ACCEPTED = ("PNG", "JPEG", "WEBP", "GIF")


def image_file(kind: str = "PNG", size: tuple[int, int] = (12, 7), color: str = "red", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Pillow.new("RGB", size, color).convert(mode).save(file, kind)
    return file.getvalue()


@cache
def noise_file(kind: str, size: tuple[int, int]) -> bytes:
    """An image that does not compress."""
    file = io.BytesIO()
    Pillow.effect_noise(size, 100).convert("RGB").save(file, kind)
    return file.getvalue()


def image(color: str = "red", kind: str = "PNG", size: tuple[int, int] = (12, 7)) -> Image:
    return image_from_bytes(image_file(kind, size, color), f"{color}.{kind.lower()}")

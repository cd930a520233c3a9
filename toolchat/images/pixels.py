"""Decodes an image's file into the pixels that a model is given. Imports Pillow, which mistral_common needs, late."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

from toolchat.images.image import ImageError, image_bytes
from toolchat.wire.messages import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

LARGEST_SIDE = 2048
"""Pixels. Mistral's models scale to 1,540 or fewer by themselves, over an array of 12 bytes a pixel: of a photograph
of 50 megapixels that array alone would take 600 MB."""

_KEPT = 16
"""Decoded images that are remembered, at most 12 MB each: every round of a turn shows all of them again."""


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

"""Images that a user attaches: read from files and addresses, and refused before anything is sent if they will not do.

What an image is, is told by its bytes: neither a file's name nor a server's header is believed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from toolchat.images.image import ACCEPTED, MAX_BYTES, MAX_IMAGES, ImageError, decoded, image_from_bytes, size_text
from toolchat.wire.errors import UsageError
from toolchat.wire.messages import Image


def read_images(names: Sequence[str]) -> tuple[Image, ...]:
    """The images at `names`, each a file's path or an http(s) address; read whole, in their order.

    Raises UsageError, one line that names the image, where one of them is missing, too large or no image, or where
    there are too many.
    """
    if len(names) > MAX_IMAGES:
        raise UsageError(f"{len(names)} images: at most {MAX_IMAGES} can be sent with one question")
    return tuple(map(read_image, names))


def read_image(name: str) -> Image:
    """The image at one of the `names` of `read_images`."""
    data = _fetched(name) if "://" in name else _file(name)
    try:
        image = image_from_bytes(data, name)
    except ImageError as error:
        raise UsageError(f"{name}: {error}; expected a {ACCEPTED} image") from None
    _check_whole(image)
    return image


def _check_whole(image: Image) -> None:
    """Raise UsageError for one that is broken behind its header."""
    # Without an engine there is no Pillow, and nobody to be shown the image.
    with contextlib.suppress(ImportError):
        try:
            decoded(image)
        except ImageError as error:
            raise UsageError(f"{error}; expected a whole {ACCEPTED} image") from None


def refuse_unseen(model: str) -> UsageError:
    """What a user is told who attached an image for a model that sees none."""
    return UsageError(
        f"--image: the model {model} cannot see images; leave them out, or choose a model that sees, "
        "such as mistralai/Ministral-3-3B-Instruct-2512"
    )


def _fetched(name: str) -> bytes:
    # Imported only here: urllib and ssl would cost every chat some 30 ms at its start.
    from toolchat.images.download import download, is_address

    if not is_address(name):
        raise UsageError(f"{name}: expected an image's file, or its address beginning with http:// or https://")
    return download(name, MAX_BYTES)


def _file(name: str) -> bytes:
    try:
        # Not blocking: a named pipe without a writer would hold the program here.
        file = os.open(Path(name).expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{name}: not a file; expected an image's file or address")
            if found.st_size > MAX_BYTES:
                raise UsageError(f"{name}: {size_text(found.st_size)}; at most {size_text(MAX_BYTES)} can be sent")
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{name}: no such file; expected an image's file or address") from None
    except IsADirectoryError:
        raise UsageError(f"{name}: a folder; expected an image's file or address") from None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, a home that there is not
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"{name}: cannot be read: {reason}") from None

"""What a session keeps beside its record, one private file each: whole results that the model saw a part of, images."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from toolchat.images.image import file_name, image_bytes
from toolchat.private_file import open_private, private_folder
from toolchat.wire.messages import Image, ToolResult


def keep_result(folder: Path, result: ToolResult) -> str | None:
    """Write a result's content to `folder`; the file's path, or None where it cannot be written."""
    return _keep(folder / f"{result.call_id}.txt", result.content.encode("utf-8", "backslashreplace"))


def keep_image(folder: Path, image: Image) -> Image:
    """Write an image to `folder`, once however often it comes; the image with its file, or as it is without one."""
    path = folder / file_name(image)
    if path.is_file():
        return replace(image, file=str(path))
    # Under its name only once it is whole: the name says what is in it.
    part = path.with_suffix(".part")
    if _keep(part, image_bytes(image)) is None:
        return image
    try:
        part.replace(path)
    except OSError:
        return image
    return replace(image, file=str(path))


def _keep(path: Path, content: bytes) -> str | None:
    try:
        private_folder(path.parent)
        file = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
    except OSError:
        return None
    return str(path)

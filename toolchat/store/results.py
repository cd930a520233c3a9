"""Stores long results and images of a session beside its record, one private file each."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from toolchat.images.image import file_name, image_bytes
from toolchat.private_file import open_private, private_folder
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import CutResult, Image, ToolResult


class KeptResults:
    """The results of one session that the model is shown a part of, one file each in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: dict[str, int] = {}
        """Characters of the results that come in parts, by call."""
        self._failed: set[str] = set()

    def add(self, call_id: str, text: str) -> None:
        """Write another part of a result that is longer than the chat takes at once."""
        first = call_id not in self._written
        written = self._written.setdefault(call_id, 0)
        # Behind a part that could not be written nothing more is: the file has a beginning of the result, and no holes.
        if call_id not in self._failed and _keep(self._file(call_id), _bytes(text), append=not first):
            self._written[call_id] = written + len(text)
        else:
            self._failed.add(call_id)

    def keep(self, result: ToolResult) -> Kept | None:
        """The file with this result, as far as it is there; None where nothing could be written."""
        path = self._file(result.call_id)
        if isinstance(result, CutResult):
            characters = self._written.pop(result.call_id, 0)
            self._failed.discard(result.call_id)
            return Kept(str(path), characters) if characters else None
        kept = _keep(path, _bytes(result.content))
        return Kept(kept, len(result.content)) if kept else None

    def _file(self, call_id: str) -> Path:
        return self._folder / f"{call_id}.txt"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


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


def _keep(path: Path, content: bytes, *, append: bool = False) -> str | None:
    try:
        private_folder(path.parent)
        file = open_private(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC))
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
    except OSError:
        return None
    return str(path)

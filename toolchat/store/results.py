"""Stores long results and images of sessions beside the database: private files, each named by what is in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from toolchat.images.image import file_name, image_bytes
from toolchat.private_file import open_private, private_folder
from toolchat.wire.excerpt import Kept
from toolchat.wire.messages import CutResult, Image, ToolResult

Note = Callable[[str], bool]
"""Notes that the session needs the file of that name, before it is there; False where it cannot be kept."""


def always(_: str) -> bool:
    return True


class KeptResults:
    """The results of one session that the model is shown a part of, one file each in `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None, note: Note = always) -> None:
        self._folder = folder
        self._note = note
        self._parts: dict[str, _Part] = {}
        """The results that come in parts, by call."""

    def add(self, call_id: str, text: str) -> None:
        """Write another part of a result that is longer than the chat takes at once."""
        if self._folder is None:
            return
        part = self._parts.get(call_id)
        if part is None:
            # Under the name of its content only once that is known; until then nobody else knows it.
            name = f"{os.getpid()}-{call_id}.part"
            part = self._parts[call_id] = _Part(self._folder / name, failed=not self._note(name))
        part.add(text)

    def keep(self, result: ToolResult) -> Kept | None:
        """The file with this result, as far as it is there; None where nothing could be written."""
        if self._folder is None:
            return None
        if isinstance(result, CutResult):
            part = self._parts.pop(result.call_id, None)
            if part is None or not part.characters:
                return None
            name = f"{part.digest.hexdigest()[:24]}.txt"
            path = self._folder / name
            if self._note(name):
                with suppress(OSError):
                    part.path.replace(path)
                    return Kept(str(path), part.characters)
            return Kept(str(part.path), part.characters)
        content = _bytes(result.content)
        name = f"{hashlib.sha256(content).hexdigest()[:24]}.txt"
        kept = _put(self._folder / name, content) if self._note(name) else None
        return Kept(str(kept), len(result.content)) if kept else None


class _Part:
    """A file that grows: what could be written of it is a beginning, without holes."""

    def __init__(self, path: Path, *, failed: bool) -> None:
        self.path = path
        self.characters = 0
        self.digest = hashlib.sha256()
        self._failed = failed

    def add(self, text: str) -> None:
        content = _bytes(text)
        # Behind a part that could not be written nothing more is.
        if self._failed or _write(self.path, content, append=self.characters > 0) is None:
            self._failed = True
            return
        self.characters += len(text)
        self.digest.update(content)


def keep_image(folder: Path | None, image: Image, note: Note = always) -> Image:
    """Write an image to `folder`, once however often it comes; the image with its file, or as it is without one."""
    if folder is None or not note(file_name(image)):
        return replace(image, file="")
    kept = _put(folder / file_name(image), image_bytes(image))
    return replace(image, file=str(kept)) if kept else replace(image, file="")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _put(path: Path, content: bytes) -> Path | None:
    """Write a file that is named by its content; there is nothing to do where it is there."""
    if path.is_file():
        return path
    # Under its name only once it is whole: the name says what is in it.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    if _write(part, content) is None:
        return None
    try:
        part.replace(path)
    except OSError:
        return None
    return path


def _write(path: Path, content: bytes, *, append: bool = False) -> Path | None:
    try:
        private_folder(path.parent)
        file = open_private(path, os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC))
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
    except OSError:
        return None
    return path

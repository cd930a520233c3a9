"""Writes what a server's tool, prompt or resource returned as text for the model, with pictures and files beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchat.images.image import MAX_IMAGES, ImageError, size_text
from toolchat.images.returned import without_pictures
from toolchat.private_file import private_folder, write_whole
from toolchat.tools.result import NO_RESULT, clean

KEPT_DAYS = 7
"""So long a file that a server sent stays."""
MAX_FILES = 64
"""Of one result, how many of what is no picture are kept as files."""
_SUFFIXES = {
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "application/pdf": ".pdf",
    "application/json": ".json",
    "application/zip": ".zip",
    "application/gzip": ".gz",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/plain": ".txt",
    "video/mp4": ".mp4",
    "image/svg+xml": ".svg",
}


@dataclass(frozen=True, slots=True)
class Written:
    """A result."""

    text: str
    ok: bool = True
    pictures: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Beside:
    """What one result has beside its text."""

    pictures: list[bytes] = field(default_factory=list)
    files: int = 0


class Writer:
    """Writes results; bytes that are no picture go into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def result(self, result: dict[str, Any]) -> Written:
        """A CallToolResult, as the wire has it."""
        blocks = result.get("content") or []
        beside = _Beside()
        texts = [self._block(block, beside) for block in blocks]
        structured = result.get("structuredContent")
        if structured is not None and not _says(texts, structured):
            # Servers that send both say the same twice; of those that do not, nothing is to be lost.
            texts.append(json.dumps(structured, ensure_ascii=False))
        ok = not result.get("isError")
        text = clean("\n".join(texts)) or (NO_RESULT if ok else "the server gives no reason")
        return Written(text if ok else f"Error: {text}", ok, beside.pictures)

    def _block(self, block: dict[str, Any], beside: _Beside) -> str:
        """One piece of content as text; a picture is added to those beside it."""
        match block:
            case {"type": "text", "text": str(text)}:
                return text
            case {"type": "image", "data": str(data), **rest}:
                return self._picture(data, rest.get("mimeType"), beside)
            case {"type": "audio", "data": str(data), **rest}:
                return self._kept(data, rest.get("mimeType"), "audio", beside)
            case {"type": "resource_link", "uri": uri, **rest}:
                about = [rest.get("title") or rest.get("name"), rest.get("mimeType"), rest.get("description")]
                told = ", ".join(str(part) for part in about if part)
                return f"[a resource: {uri}{f' ({told})' if told else ''}]"
            case {"type": "resource", "resource": dict(resource)}:
                return self._resource(resource, beside)
        return json.dumps(block, ensure_ascii=False)

    def prompt(self, result: dict[str, Any]) -> dict[str, Any]:
        """A GetPromptResult as one text, with the files of its pictures in base64."""
        beside = _Beside()
        texts = []
        for message in result.get("messages") or []:
            text = self._block(message.get("content") or {}, beside)
            # What the assistant is to have said is told as such: it has not said it here.
            texts.append(text if message.get("role") == "user" else f"(Assistant: {text})")
        return {
            "text": clean("\n\n".join(texts)),
            "images": [base64.b64encode(picture).decode() for picture in beside.pictures],
        }

    def resources(self, read: dict[str, Any]) -> str:
        """A ReadResourceResult as one text."""
        beside = _Beside()
        return "\n".join(self._resource(one, beside) for one in read.get("contents") or [])

    def _resource(self, resource: dict[str, Any], beside: _Beside) -> str:
        """An embedded resource, or one that was read."""
        uri = resource.get("uri", "")
        match resource:
            case {"text": str(text)}:
                return f"[resource {uri}]\n{text}"
            case {"blob": str(blob), **rest}:
                kind = str(rest.get("mimeType") or "")
                if kind.startswith("image/") and kind != "image/svg+xml":
                    return f"[resource {uri}]\n{self._picture(blob, kind, beside)}"
                return f"[resource {uri}]\n{self._kept(blob, kind, 'a file', beside)}"
        return f"[resource {uri}]"

    def _picture(self, data: str, kind: Any, beside: _Beside) -> str:
        try:
            file = base64.b64decode(data, validate=True)
        except ValueError:
            return "[an image whose base64 is broken]"
        if len(beside.pictures) == MAX_IMAGES:
            return f"[an image more than the {MAX_IMAGES} that a result may have]"
        try:
            text, found = without_pictures(file)
        except ImageError as error:
            return f"[an image that cannot be shown: {error}]"
        if not found:
            return self._kept(data, kind, "an image of a kind that is not shown", beside)
        beside.pictures += found
        return str(text).replace("[image 1", f"[image {len(beside.pictures)}", 1)

    def _kept(self, data: str, kind: Any, what: str, beside: _Beside) -> str:
        kind = str(kind or "unknown type")
        if beside.files == MAX_FILES:
            return f"[{what} ({kind}), more than the {MAX_FILES} files that a result may have]"
        try:
            file = base64.b64decode(data, validate=True)
        except ValueError:
            return f"[{what} ({kind}) whose base64 is broken]"
        path = self._folder / f"{hashlib.sha256(file).hexdigest()[:16]}{_SUFFIXES.get(kind, '.bin')}"
        beside.files += 1
        try:
            private_folder(self._folder, doubtful="*")
            if beside.files == 1:
                self._forget_old()
            write_whole(path, file)
        except OSError as error:
            return f"[{what} ({kind}, {size_text(len(file))}), which could not be kept: {error.strerror}]"
        return f"[{what} ({kind}, {size_text(len(file))}), kept in {path}]"

    def _forget_old(self) -> None:
        oldest = time.time() - KEPT_DAYS * 24 * 3600
        for path in self._folder.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _says(texts: Iterable[str], structured: Any) -> bool:
    """Whether one of the texts says this value: as JSON, or, of an object with one field, as that field's value."""
    known = [structured]
    if isinstance(structured, dict) and len(structured) == 1:
        known += structured.values()
    for text in texts:
        if text in known or text.strip() in (one.strip() for one in known if isinstance(one, str)):
            return True
        with suppress(ValueError, RecursionError):
            if json.loads(text) in known:
                return True
    return False

"""The images of a result, as the chat takes them from a tool's process: each is looked at anew."""

from __future__ import annotations

import base64
from typing import Any

from toolchat.wire.images import MAX_IMAGES, image_from_bytes
from toolchat.wire.messages import Image


def received(files: Any, tool: str) -> tuple[Image, ...] | None:
    """The images whose files came in base64; None for anything but a list of such, not too long."""
    if not isinstance(files, list) or len(files) > MAX_IMAGES:
        return None
    try:
        return tuple(image_from_bytes(base64.b64decode(file, validate=True), tool) for file in files)
    except (TypeError, ValueError):
        return None

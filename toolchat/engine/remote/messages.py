"""What a chat completion is asked with: messages and tools in OpenAI's form, for any server's template. Pure."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolchat.images.image import JPEG, image_bytes
from toolchat.mistral.render import render
from toolchat.wire.messages import Image, Message, ToolMessage, ToolSpec, UserMessage

_AS = 13
"""The version whose rules of history are kept to: text may stand beside calls, results hold no images."""

_NAMES = (
    "ARGS|AVAILABLE_TOOLS|BEGIN_AUDIO|CALL_ID|IMG|IMG_BREAK|IMG_END|INST|MIDDLE|MODEL_SETTINGS|PREFIX|SUFFIX|"
    "SYSTEM_PROMPT|THINK|TOOL_CALLS|TOOL_CONTENT|TOOL_RESULTS"
)
MARKER = re.compile(
    rf"""
    (?P<open> \[ | < )
    (?P<rest>
        (?<=\[) /? (?: {_NAMES} ) \]                      # Mistral's
      | (?<=<) [|｜] [^<>|｜\s]{{1,40}} [|｜] >                        # <|im_start|> and its like; DeepSeek's
      | (?<=<) /? (?: s | bos | eos | pad | unk | tool_call | tool_response | tools | function_call ) >
      | (?<=<) (?: start_of_turn | end_of_turn | function= ) >?
    )
    """,
    re.VERBOSE,
)
"""Texts that templates and tokenizers of the common families of models take for control tokens."""


class Written:
    """Messages and tools as a server gets them."""

    def __init__(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, strict: bool) -> None:
        self._broken_up = False
        groups = render(messages, _AS, show=_shown)
        self.messages = [self._message(one) for group in groups for one in group]
        self.tools = [self._tool(tool, strict=strict) for tool in tools]

    @property
    def broken_up(self) -> bool:
        """Whether a control marker stood in a text, and now has a space within it."""
        return self._broken_up

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        written = dict(message)
        # Only Mistral's own API knows it there; others refuse it.
        if written["role"] == "tool":
            written.pop("name", None)
        match written["content"]:
            case str(text):
                written["content"] = self._text(text)
            case list(chunks):
                written["content"] = [
                    {**chunk, "text": self._text(chunk["text"])} if chunk.get("type") == "text" else chunk
                    for chunk in chunks
                ]
        if "tool_calls" in written:
            written["tool_calls"] = [
                {**call, "function": {**call["function"], "arguments": self._text(call["function"]["arguments"])}}
                for call in written["tool_calls"]
            ]
        return written

    def _tool(self, tool: ToolSpec, *, strict: bool) -> dict[str, Any]:
        function: dict[str, Any] = {
            "name": tool.name,
            "description": self._text(tool.description),
            "parameters": self._described(tool.parameters),
        }
        if strict:
            function["strict"] = True
        return {"type": "function", "function": function}

    def _described(self, schema: Any) -> Any:
        """A schema whose descriptions hold no markers; its other texts are what arguments must be, and stay."""
        match schema:
            case Mapping():
                return {
                    key: self._text(value)
                    if key in ("description", "title") and isinstance(value, str)
                    else self._described(value)
                    for key, value in schema.items()
                }
            case list():
                return [self._described(value) for value in schema]
            case _:
                return schema

    def _text(self, text: str) -> str:
        broken = MARKER.sub(r"\g<open> \g<rest>", text)
        self._broken_up = self._broken_up or broken != text
        return broken


def estimate(text: str) -> int:
    """About how many tokens a text takes: one for each four bytes of UTF-8."""
    return (len(text.encode("utf-8", "replace")) + 3) // 4


_MESSAGE = 6
"""Tokens of the format around a message, about."""
_IMAGE = 1500
"""Of an image, about; models scale to some 1,000 to 3,000."""


def estimates(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[list[int], list[int]]:
    """About how many tokens each message and each tool takes."""
    groups = render(messages, _AS)
    sizes = [
        sum(estimate(json.dumps(one, ensure_ascii=False)) for one in group) + _MESSAGE + _IMAGE * len(_images(message))
        for message, group in zip(messages, groups, strict=True)
    ]
    return sizes, [estimate(json.dumps([tool.name, tool.description, tool.parameters])) + _MESSAGE for tool in tools]


def _images(message: Message) -> Sequence[Image]:
    return message.images if isinstance(message, UserMessage | ToolMessage) else ()


def _shown(image: Image) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{_upright(image)}"}}


_ORIENTATION = 0x0112
"""The EXIF tag."""


def _upright(image: Image) -> str:
    """The image's file in base64; a photograph that lies on its side is turned, since servers do not."""
    if image.media_type != JPEG:
        return image.data
    try:
        from PIL import Image as Pillow
        from PIL import ImageOps

        with Pillow.open(io.BytesIO(image_bytes(image)), formats=("JPEG", "MPO")) as opened:
            if opened.getexif().get(_ORIENTATION, 1) == 1:
                return image.data
            out = io.BytesIO()
            ImageOps.exif_transpose(opened).convert("RGB").save(out, "JPEG", quality=92)
    except Exception:  # Pillow may be missing, and raises many kinds: the server says what is wrong with the file
        return image.data
    return base64.b64encode(out.getvalue()).decode()

"""The format of chat completions: messages and tools as OpenAI has them, and the stream of an answer, in any dialect.

Pure. Reading a stream never raises.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolchat.images.image import JPEG, image_bytes
from toolchat.mistral.ids import is_legal_name, new_call_id
from toolchat.mistral.json_scan import BadJsonError, load_object
from toolchat.mistral.render import render
from toolchat.mistral.segments import CUT_OFF, NAME_RULE, CallSink, TaggedProse
from toolchat.wire.deltas import Delta, FinishReason, Thinking
from toolchat.wire.messages import CallOrigin, Image, Message, ToolMessage, ToolSpec, UserMessage

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
REASONING = ("reasoning_content", "reasoning", "thinking")
"""Where servers put what a model thought: vLLM, llama.cpp and DeepSeek; Ollama, OpenRouter and newer vLLM; others."""
_MESSAGE = 6
"""Tokens of the format around a message, about."""
_IMAGE = 1500
"""Of an image, about; models scale to some 1,000 to 3,000."""
_ORIENTATION = 0x0112
"""The EXIF tag."""


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


@dataclass(slots=True)
class _Call:
    """A call as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    shown: int = 0
    """Pieces of the arguments that were shown."""
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """What the server says that a generation took, in tokens."""

    prompt: int
    completion: int
    cached: int


class ChatStream:
    """One generation.

    - Text and thinking come as they arrive. Thinking between `<think>` tags at the very beginning is thinking.
    - The first call is shown as it is written; a further one when it is whole, since deltas may be interleaved.
    - Every call comes to one CallEnded: a ToolCall where its arguments are a JSON object (none at all are an empty
      one), else a FailedCall with the text as it came and the reason.
    - Ids are kept where they are nine letters and digits and not yet used; others are replaced.
    - Of several choices the first is read, what comes behind its end is ignored.
    """

    def __init__(self, *, new_id: Callable[[], str] = new_call_id) -> None:
        self._sink = CallSink(new_id, lambda _: CallOrigin.PARSED)
        self._prose = TaggedProse(self._sink)
        self._calls: dict[int, _Call] = {}
        self.reason = ""
        """Why the server says that it ended; empty until then."""
        self.usage: Counted | None = None
        self.begun = False
        """Whether anything of an answer has come."""

    @property
    def calls(self) -> int:
        """How many have begun."""
        return len(self._calls)

    def feed(self, event: dict[str, Any]) -> list[Delta]:
        """The deltas that are certain after this event."""
        if (usage := _usage(event.get("usage"))) is not None:
            self.usage = usage
        choice = _first_choice(event)
        if choice is None or self.reason:
            return self._sink.take()
        # A server that does not stream sends a message.
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self._delta(delta)
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self.reason = reason
        deltas = self._sink.take()
        self.begun = self.begun or bool(deltas) or bool(self._calls)
        return deltas

    def finish(self) -> tuple[list[Delta], FinishReason]:
        """The deltas of what was still open, and how the generation ended. Called once, after a whole stream."""
        truncated = self.reason in ("length", "max_tokens", "model_length")
        self._prose.end(truncated=truncated)
        numbers = sorted(self._calls)
        for number in numbers:
            # Calls are written one after the other: a limit can cut off the last one alone.
            self._end(self._calls[number], cut_off=truncated and number == numbers[-1])
        return self._sink.take(), FinishReason.LENGTH if truncated else FinishReason.STOP

    def _delta(self, delta: dict[str, Any]) -> None:
        thought = next((text for name in REASONING if isinstance(text := delta.get(name), str) and text), "")
        if thought:
            self._sink.emit(Thinking(thought))
        for text, thinking in _pieces(delta.get("content")):
            if not text:
                continue
            if thinking:
                self._sink.emit(Thinking(text))
            else:
                self._prose.text(text)
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else []:
            if isinstance(call, dict):
                self._call(call)

    def _call(self, piece: dict[str, Any]) -> None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        call_id = piece["id"] if isinstance(piece.get("id"), str) else ""
        name = function["name"] if isinstance(function.get("name"), str) else ""
        call = self._calls.setdefault(self._number(piece.get("index"), call_id, name), _Call())
        call.id = call.id or call_id
        if name and name != call.name:
            # Some repeat the name with every piece, and some send it in pieces.
            call.name += name
        match function.get("arguments"):
            case str(text) if text:
                call.arguments.append(text)
            case dict(whole):
                call.arguments = [json.dumps(whole, ensure_ascii=False)]
        if call is self._calls[min(self._calls)]:
            self._show(call)

    def _number(self, index: Any, call_id: str, name: str) -> int:
        """Which call a piece belongs to, also where the server does not say."""
        if isinstance(index, int) and not isinstance(index, bool):
            here = self._calls.get(index)
            # Servers that number every call 0 tell them apart by their ids.
            if here is None or not call_id or not here.id or here.id == call_id or not name:
                return index
        known = next((number for number, call in self._calls.items() if call_id and call.id == call_id), None)
        if known is not None:
            return known
        last = max(self._calls, default=-1)
        return last + 1 if call_id or name or last < 0 else last

    def _show(self, call: _Call) -> None:
        if not call.begun and is_legal_name(call.name) and call.arguments:
            call.begun = True
            self._sink.started(call.name)
        if call.begun:
            for text in call.arguments[call.shown :]:
                self._sink.arguments(text)
            call.shown = len(call.arguments)

    def _end(self, call: _Call, *, cut_off: bool) -> None:
        text = "".join(call.arguments)
        if is_legal_name(call.name):
            if not call.begun:
                self._sink.started(call.name)
            call.begun = True
            self._show(call)
        raw = f"{call.name}{text}"
        if not call.name:
            self._sink.failed("", raw, "the call names no tool", wanted_id=call.id, truncated=cut_off)
            return
        if not is_legal_name(call.name):
            self._sink.failed("", raw, f"{call.name[:80]!r} {NAME_RULE}", wanted_id=call.id, illegal_name=call.name)
            return
        try:
            arguments = load_object(text) if text.strip() else {}
        except BadJsonError as error:
            reason = CUT_OFF if cut_off else f"the arguments are {error}"
            self._sink.failed(call.name, raw, reason, wanted_id=call.id, truncated=cut_off)
            return
        if cut_off and not text.strip():
            self._sink.failed(call.name, raw, CUT_OFF, wanted_id=call.id, truncated=True)
            return
        self._sink.whole(call.name, arguments, call.id)


def _first_choice(event: dict[str, Any]) -> dict[str, Any] | None:
    choices = event.get("choices")
    if not isinstance(choices, list):
        return None
    return next((one for one in choices if isinstance(one, dict) and one.get("index", 0) in (0, None)), None)


def _pieces(content: Any) -> Iterator[tuple[str, bool]]:
    """The texts of a content, each with whether it is thinking: a text, or Mistral's list of chunks."""
    match content:
        case str():
            yield content, False
        case {"type": "text", "text": str(text)}:
            yield text, False
        case {"type": "thinking", "thinking": thinking}:
            yield from ((text, True) for text, _ in _pieces(thinking))
        case list():
            for chunk in content:
                yield from _pieces(chunk)


def _usage(usage: Any) -> Counted | None:
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if not prompt or completion is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Counted(prompt, completion, min(cached or 0, prompt))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

"""Renders messages and tools as the prompt's token ids, through mistral_common's own validator and encoder.

mistral_common is imported inside functions: it costs half a second, and only the engine's worker needs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from toolchat.images.image import ImageError, decoded, description
from toolchat.mistral.json_scan import nests_too_deep
from toolchat.wire.messages import (
    AssistantMessage,
    Image,
    Message,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from PIL.Image import Image as Picture

_FIRST_SEVERAL = 3
"""From this version on an assistant message may hold several calls: mistral_common 1.13 refuses the results of v2's."""
_FIRST_BOTH = 7
"""From this version on text may stand beside calls."""
_FIRST_THINKING = 13
"""From this version on an assistant message may hold what the model thought, where the tokenizer has the tokens."""
_THINKING_SYSTEM = 13
"""The one version whose system prompt may hold thinking, too: mistral_common refuses it for v15."""
_FIRST_PICTURED = 15
"""From this version on a tool's result may hold images."""

_THOUGHT = re.compile(r"\[THINK\]((?:(?!\[/?THINK\]).)*)\[/THINK\]", re.DOTALL)
"""A whole span of thinking, written out, with no marker within."""

Show = Callable[[Image], dict[str, Any]]
"""Returns the content chunk of an image. May raise ImageError."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as an engine takes it."""

    tokens: list[int]
    """An image stands in them as [IMG] tokens, one for each patch, with the ends of its rows."""
    images: list[Picture]
    """In the order of their tokens."""


def render(
    messages: Sequence[Message], version: int, *, supports_reasoning: bool = False, show: Show | None = None
) -> list[list[dict[str, Any]]]:
    """Convert each message to OpenAI's form: a list of one message, or of two.

    The second is a user message with the images that tools returned, after the last result of a round: before version
    15 results hold no images. Before version 3 the second is an assistant message with the next call of the round:
    there an assistant message holds one call, so parallel calls are sent one after the other. See `to_openai` for the
    rest. Raises ImageError if `show` does for a user's image.
    """
    groups: list[list[dict[str, Any]]] = []
    returned: list[dict[str, Any]] = []
    delayed: list[ToolCall] = []
    for index, message in enumerate(messages):
        if version < _FIRST_SEVERAL and isinstance(message, AssistantMessage):
            delayed = list(message.calls[1:])
            message = replace(message, calls=message.calls[:1])
        groups.append([to_openai(message, version, supports_reasoning=supports_reasoning, show=show)])
        if delayed and isinstance(message, ToolMessage):
            groups[-1].append(to_openai(AssistantMessage("", (delayed.pop(0),)), version))
        if show is None or version >= _FIRST_PICTURED or not isinstance(message, ToolMessage):
            continue
        for chunk in _shown(message.images, show):
            returned += [_text(f"[image returned by {message.name}]"), chunk]
        last = index + 1 == len(messages) or not isinstance(messages[index + 1], ToolMessage)
        if returned and last:
            groups[-1].append({"role": "user", "content": returned})
            returned = []
    return groups


def parts(messages: Sequence[Message], version: int, *, supports_images: bool) -> list[list[str]]:
    """The roles of the messages that `render` returns for each message; decodes no image."""
    groups = render(messages, version, show=(lambda _: {}) if supports_images else None)
    return [[str(one["role"]) for one in group] for group in groups]


def to_openai(
    message: Message, version: int, *, supports_reasoning: bool = False, show: Show | None = None
) -> dict[str, Any]:
    """Convert one message to OpenAI's form, legal for a tokenizer of `version`.

    `show` is None for a model that does not see: images are then described in text.

    Versions before 7 have no place for text beside tool calls, those before 13 (and tokenizers that do not think)
    none for thinking: there it is left out. Whole spans `[THINK]…[/THINK]` of a system prompt become thinking where
    the version allows it (Magistral's own prompt shows the model in this way how to think); else they stay text.
    Halves of surrogate pairs, which no tokenizer can encode, become U+FFFD.
    """
    match message:
        case SystemMessage(content):
            text = _encodable(content)
            chunks = _system_chunks(text) if supports_reasoning and version == _THINKING_SYSTEM else []
            return {"role": "system", "content": chunks or text}
        case UserMessage(content, images):
            if images and show is not None:
                return {"role": "user", "content": [*map(show, images), _text(content)]}
            return {"role": "user", "content": _encodable(_unseen(content, images))}
        case ToolMessage(call_id, name, content, images):
            answer: str | list[dict[str, Any]] = _result(content if show is not None else _unseen(content, images))
            if images and show is not None and version >= _FIRST_PICTURED:
                answer = [_text(content), *_shown(images, show)]
            return {"role": "tool", "tool_call_id": call_id, "name": name, "content": answer}
        case AssistantMessage(content, calls, thinking, parts):
            keeps = supports_reasoning and version >= _FIRST_THINKING
            said: str | list[dict[str, Any]]
            if keeps and parts:
                said = [_thinking(part.text) if part.thinking else _text(part.text) for part in parts]
            else:
                said = _said(_encodable(content), thinking if keeps else "")
            if not calls:
                return {"role": "assistant", "content": said}
            return {
                "role": "assistant",
                "content": said if version >= _FIRST_BOTH else "",
                "tool_calls": [
                    {
                        "id": call.id,
                        "type": "function",
                        "function": {
                            "name": call.name,
                            "arguments": json.dumps(call.arguments, ensure_ascii=False),
                        },
                    }
                    for call in calls
                ],
            }


def _system_chunks(text: str) -> list[dict[str, Any]]:
    """A system prompt in chunks of text and of thinking; empty where it holds no whole span of thinking."""
    # Around and within each span: text, thought, text, thought, …, text.
    pieces = _THOUGHT.split(text)
    if len(pieces) == 1:
        return []
    chunks = (_thinking(piece) if index % 2 else _text(piece) for index, piece in enumerate(pieces))
    return [chunk for chunk in chunks if chunk != _text("")]


def _said(text: str, thinking: str) -> str | list[dict[str, Any]]:
    if not thinking.strip():
        return text
    return [_thinking(thinking), _text(text)] if text else [_thinking(thinking)]


def _thinking(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": _encodable(text), "closed": True}


def _encodable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _all_encodable(value: Any) -> Any:
    """A JSON value with all its texts and keys made encodable."""
    match value:
        case str():
            return _encodable(value)
        case Mapping():
            return {_encodable(key): _all_encodable(one) for key, one in value.items()}
        case list():
            return [_all_encodable(one) for one in value]
        case _:
            return value


def _result(text: str) -> str:
    """Return a tool's result in a form that mistral_common can encode.

    mistral_common loads a result that looks like JSON and dumps it again. Where that raises (a number of thousands of
    digits, nesting beyond Python's recursion limit, half a surrogate pair in an escape), the result is sent as one JSON
    string. The limit is bound to be met earlier there than here: so it is one for any result of more than MAX_DEPTH.
    """
    text = _encodable(text)
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if nests_too_deep(text) else text


def _shown(images: Sequence[Image], show: Show) -> list[dict[str, Any]]:
    chunks = []
    for image in images:
        try:
            chunks.append(show(image))
        except ImageError as error:
            # A tool's mistake must not end the turn.
            chunks.append(_text(f"[{error}]"))
    return chunks


def _unseen(text: str, images: Sequence[Image]) -> str:
    return "\n".join([text, *(f"[image: {description(image)}; this model cannot see it]" for image in images)])


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": _encodable(text)}


def encode(
    tokenizer: MistralTokenizer,
    version: int,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    supports_reasoning: bool = False,
    supports_images: bool = False,
    reasoning_effort: str | None = None,
    response_schema: dict[str, Any] | None = None,
) -> Encoded:
    """Encode a prompt: its token ids, and the images among them.

    In tools, too, half a surrogate pair becomes U+FFFD: SentencePiece raises for it, at every request.
    `supports_reasoning` says whether the tokenizer has tokens for thinking,
    `supports_images` whether both it and the model support images;
    `reasoning_effort` is for v15 and later. The model is told of `response_schema`, which the answer will be held to,
    if its settings can hold it. Raises mistral_common's exceptions if the history is not legal, ImageError if a user's
    image cannot be decoded.
    """
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    images: list[Picture] = []

    def show(image: Image) -> dict[str, Any]:
        # Decoded here and not by mistral_common, which leaves photographs lying on their side.
        picture = decoded(image)
        images.append(picture)
        return {"type": "image", "image": picture}

    rendered = render(messages, version, supports_reasoning=supports_reasoning, show=show if supports_images else None)
    answer: dict[str, Any] = {}
    if response_schema is not None and takes_schema(tokenizer):
        answer["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": _all_encodable(response_schema), "strict": True},
        }
    request: ChatCompletionRequest[Any] = ChatCompletionRequest(
        **answer,
        messages=[one for group in rendered for one in group],
        reasoning_effort=reasoning_effort,
        tools=[
            {
                "type": "function",
                "function": {
                    "name": _encodable(tool.name),
                    "description": _encodable(tool.description),
                    "parameters": _all_encodable(tool.parameters),
                },
            }
            for tool in tools
        ]
        or None,
    )
    return Encoded(list(tokenizer.encode_chat_completion(request).tokens), images)


def takes_schema(tokenizer: MistralTokenizer) -> bool:
    """Whether the model's settings can hold the answer's schema: in some v15 files, from mistral_common 1.13 on."""
    builder = tokenizer.instruct_tokenizer.tokenizer.model_settings_builder
    return builder is not None and dict(builder).get("json_schema") is not None


def reasoning_efforts(tokenizer: MistralTokenizer) -> list[str]:
    """The values of `reasoning_effort` that the tokenizer's own file allows; none before v15."""
    builder = tokenizer.instruct_tokenizer.tokenizer.model_settings_builder
    effort = builder.reasoning_effort if builder is not None else None
    return [str(value) for value in effort.values] if effort is not None else []

"""From our messages to the prompt's token ids, through mistral_common's own validator and encoder.

mistral_common is imported inside functions: it costs half a second, and only the engine's worker needs it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolchat.wire.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    ToolMessage,
    ToolSpec,
    UserMessage,
)

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

_FIRST_BOTH = 7
"""From this version on text may stand beside calls."""
_FIRST_THINKING = 13
"""From this version on an assistant message may hold what the model thought, where the tokenizer has the tokens."""


def to_openai(message: Message, version: int, *, thinks: bool = False) -> dict[str, Any]:
    """One message in OpenAI's form, legal for a tokenizer of `version`.

    Versions before 7 have no place for text beside tool calls, those before 13 (and tokenizers that do not think)
    none for thinking: there it is left out. Halves of surrogate pairs, which no tokenizer can encode, become U+FFFD.
    """
    match message:
        case SystemMessage(content):
            return {"role": "system", "content": _encodable(content)}
        case UserMessage(content):
            return {"role": "user", "content": _encodable(content)}
        case ToolMessage(call_id, name, content):
            return {"role": "tool", "tool_call_id": call_id, "name": name, "content": _result(content)}
        case AssistantMessage(content, calls, thinking):
            kept = thinking if thinks and version >= _FIRST_THINKING else ""
            said = _said(_encodable(content), _encodable(kept))
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


def _said(text: str, thinking: str) -> str | list[dict[str, Any]]:
    if not thinking.strip():
        return text
    chunks: list[dict[str, Any]] = [{"type": "thinking", "thinking": thinking, "closed": True}]
    return [*chunks, {"type": "text", "text": text}] if text else chunks


def _encodable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _result(text: str) -> str:
    """A tool's result that mistral_common can encode.

    It loads what looks like JSON and writes it anew; where that raises (a number of thousands of digits, nesting
    beyond Python's recursion, half a surrogate pair behind an escape), the whole text goes in as one JSON string.
    """
    text = _encodable(text)
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text


def encode(
    tokenizer: MistralTokenizer,
    version: int,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    thinks: bool = False,
    reasoning_effort: str | None = None,
) -> list[int]:
    """The prompt's token ids.

    `thinks` says whether the tokenizer has the tokens for thinking; `reasoning_effort` is for v15 and later.
    Raises mistral_common's exceptions where the history is not legal.
    """
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    request: ChatCompletionRequest[Any] = ChatCompletionRequest(
        messages=[to_openai(message, version, thinks=thinks) for message in messages],
        reasoning_effort=reasoning_effort,
        tools=[
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in tools
        ]
        or None,
    )
    return list(tokenizer.encode_chat_completion(request).tokens)


def reasoning_efforts(tokenizer: MistralTokenizer) -> list[str]:
    """What `reasoning_effort` may be with this tokenizer, by its own file; empty before v15."""
    builder = tokenizer.instruct_tokenizer.tokenizer.model_settings_builder
    effort = builder.reasoning_effort if builder is not None else None
    return [str(value) for value in effort.values] if effort is not None else []

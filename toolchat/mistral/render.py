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


def to_openai(message: Message, version: int) -> dict[str, Any]:
    """One message in OpenAI's form, legal for a tokenizer of `version`.

    Versions before 7 have no place for text beside tool calls: there the text is left out.
    """
    match message:
        case SystemMessage(content):
            return {"role": "system", "content": content}
        case UserMessage(content):
            return {"role": "user", "content": content}
        case ToolMessage(call_id, name, content):
            return {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}
        case AssistantMessage(content, calls):
            if not calls:
                return {"role": "assistant", "content": content}
            return {
                "role": "assistant",
                "content": content if version >= 7 else "",
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


def encode(
    tokenizer: MistralTokenizer, version: int, messages: Sequence[Message], tools: Sequence[ToolSpec]
) -> list[int]:
    """The prompt's token ids. Raises mistral_common's exceptions where the history is not legal."""
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    request: ChatCompletionRequest[Any] = ChatCompletionRequest(
        messages=[to_openai(message, version) for message in messages],
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

"""Counts the tokens of a prompt by part: each message, each tool, and the format around them.

Reads the encoded prompt itself: control tokens mark where a message begins and ends, and no text can imitate them.
Source of the layout: mistral_common's tokens/tokenizers/instruct.py, all versions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from toolchat.mistral.render import parts
from toolchat.mistral.vocabulary import FIRST_SYSTEM_AHEAD, Vocabulary
from toolchat.wire.deltas import TokenCount
from toolchat.wire.messages import AssistantMessage, Message, SystemMessage, ToolMessage, ToolSpec, UserMessage

Encode = Callable[[Sequence[Message], Sequence[ToolSpec]], Sequence[int]]
"""From messages and tools to the prompt's token ids."""

_FIRST_KEPT = 3
"""From this version on the calls and results of earlier turns are sent again."""


def count_tokens(
    vocabulary: Vocabulary,
    encode: Encode,
    prompt: Sequence[int],
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    supports_images: bool = False,
) -> TokenCount:
    """Count the parts of `prompt`, which `encode` made of `messages` and `tools`.

    `supports_images` is that of `render.encode`.

    Images that a round of tools returned count as its last result's. Encodes again what the prompt does not tell: the
    tools one by one, and a system prompt that stands within a user message.
    """
    whole_tools, sizes = _read(vocabulary, prompt)
    counts = [0] * len(messages)
    roles = parts(messages, vocabulary.version, supports_images=supports_images)
    system = next((index for index, message in enumerate(messages) if isinstance(message, SystemMessage)), None)
    sent = [index for index in _sent(vocabulary.version, messages) if index != system]
    if system is not None and vocabulary.version >= FIRST_SYSTEM_AHEAD:
        sent.insert(0, system)
    sent = [index for index in sent for _ in roles[index]]
    if len(sizes) != len(sent):
        raise ValueError(f"a prompt of {len(sizes)} messages was read where {len(sent)} were sent")
    for index, size in zip(sent, sizes, strict=True):
        counts[index] += size
    if system is not None and vocabulary.version < FIRST_SYSTEM_AHEAD:
        rest = [message for index, message in enumerate(messages) if index != system]
        counts[system] = len(prompt) - len(encode(rest, tools))
        counts[max(index for index, names in enumerate(roles) if "user" in names)] -= counts[system]
    by_tool = _tools(vocabulary, encode, whole_tools, tools)
    return TokenCount(len(prompt), by_tool, tuple(counts), len(prompt) - sum(counts) - sum(by_tool))


def count_conversation(
    vocabulary: Vocabulary,
    encode: Encode,
    messages: Sequence[Message],
    tools: Sequence[ToolSpec],
    *,
    supports_images: bool = False,
) -> TokenCount:
    """Count the parts of the prompt of `messages` and `tools`, also between turns.

    mistral_common encodes only requests that end with a question or a result. Between turns a question is added, and
    left out of the count.
    """
    is_open = bool(messages) and isinstance(messages[-1], UserMessage | ToolMessage)
    asked = messages if is_open else [*messages, UserMessage("x")]
    count = count_tokens(vocabulary, encode, encode(asked, tools), asked, tools, supports_images=supports_images)
    if is_open:
        return count
    return TokenCount(count.total - count.messages[-1], count.tools, count.messages[:-1], count.format)


def _read(vocabulary: Vocabulary, prompt: Sequence[int]) -> tuple[int, list[int]]:
    """Tokens of the tools' block, and of every message, in the prompt's order."""
    ends = {vocabulary.special(name) for name in ("[/SYSTEM_PROMPT]", "[/INST]", "[/TOOL_RESULTS]", "</s>")} - {None}
    aside = {
        vocabulary.special(begin): vocabulary.special(end)
        for begin, end in (
            ("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
            ("[MODEL_SETTINGS]", "[/MODEL_SETTINGS]"),
        )
    }
    aside.pop(None, None)
    tools_begin = vocabulary.special("[AVAILABLE_TOOLS]")
    tools, sizes, at, begin = 0, [], 1, 1  # the first token begins the sequence
    while at < len(prompt):
        token = prompt[at]
        at += 1
        if (end := aside.get(token)) is not None:
            first = at - 1
            while prompt[at - 1] != end:
                at += 1
            tools += at - first if token == tools_begin else 0
            begin = at
        elif token in ends:
            sizes.append(at - begin)
            begin = at
    return tools, sizes


def _sent(version: int, messages: Sequence[Message]) -> list[int]:
    """Which messages are encoded: v2 leaves out the calls and results before the last question."""
    if version >= _FIRST_KEPT:
        return list(range(len(messages)))
    last = _last_user(messages)
    return [
        index
        for index, message in enumerate(messages)
        if index > last
        or not (isinstance(message, ToolMessage) or (isinstance(message, AssistantMessage) and message.calls))
    ]


def _last_user(messages: Sequence[Message]) -> int:
    return max(index for index, message in enumerate(messages) if isinstance(message, UserMessage))


def _tools(vocabulary: Vocabulary, encode: Encode, whole: int, tools: Sequence[ToolSpec]) -> tuple[int, ...]:
    """Of each tool, by what it adds behind the one before it; the brackets of the block are the format's.

    What stands further before does not matter to its tokens: so it is left out, and each tool is encoded three times
    and not as often as there are tools.
    """
    if not whole:
        return (0,) * len(tools)

    def block(*some: ToolSpec) -> int:
        return _read(vocabulary, encode([UserMessage("x")], some))[0]

    added = [block(before, tool) - block(before) for before, tool in pairwise(tools)]
    return (whole - 2 - sum(added), *added)

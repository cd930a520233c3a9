"""Generated assistant messages, encoded by mistral_common, and a reader of the deltas they parse to."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mistral_common.protocol.instruct.chunk import TextChunk, ThinkChunk
from mistral_common.protocol.instruct.messages import AssistantMessage
from mistral_common.protocol.instruct.tool_calls import FunctionCall
from mistral_common.protocol.instruct.tool_calls import ToolCall as MistralCall
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_tokenizers import vocabulary_of

from toolchat.mistral.ids import new_call_id
from toolchat.mistral.parse import StreamParser
from toolchat.mistral.vocabulary import Vocabulary
from toolchat.wire.deltas import CallArguments, CallBegun, CallEnded, Delta, Text, Thinking
from toolchat.wire.messages import FailedCall, ToolCall

_FRAGMENTS = [
    *("[TOOL_CALLS]", "</s>", "[ARGS]", "[CALL_ID]", "[THINK]", "<s>", '"', "'", "\\", "{", "}", "[", "]"),
    *(
        ",",
        ":",
        "\n",
        "\t",
        " ",
        "  ",
        "é",
        "ß",
        "漢字",
        "日本",
        "👩‍👩‍👧",
        "😀",
        "🇩🇰",
        "\u00a0",
        "\u200d",
        "س",
    ),
    *("Dallas", "TX", "fahrenheit", "the", "\\n", "\\u00e9", "}}", '{"a": "b"}', "\x7f", "𝒳", "0", "-"),
]
_NAMES = ["get_current_weather", "f", "a-b_C9", "x" * 64, "calculate", "name", "arguments"]
_NUMBERS = [0, -1, 1.5, -0.0, 1e-7, 1e300, 10**30, 2**63, 3.141592653589793]


@dataclass(frozen=True)
class Case:
    """What one generation means: `text` comes before the calls."""

    calls: tuple[tuple[str, dict[str, Any], str], ...]
    text: str = ""
    thinking: str = ""


def word(rng: random.Random, least: int = 0) -> str:
    return "".join(rng.choices(_FRAGMENTS, k=rng.randint(least, 6)))


def value(rng: random.Random, depth: int = 0) -> Any:
    match rng.randrange(8 if depth < 4 else 5):
        case 0 | 1 | 2:
            return word(rng)
        case 3:
            return rng.choice(_NUMBERS)
        case 4:
            return rng.choice([True, False, None])
        case 5:
            return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        case _:
            return arguments(rng, depth + 1)


def arguments(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    return {word(rng): value(rng, depth) for _ in range(rng.randint(0, 3))}


def case(rng: random.Random, version: int, *, supports_reasoning: bool = False) -> Case:
    count = rng.randint(1, 4)
    ids = [new_call_id(rng) for _ in range(count)]
    calls = tuple((rng.choice(_NAMES), arguments(rng), ids[index]) for index in range(count))
    with_text = version >= 7 and rng.random() < 0.5
    return Case(
        calls,
        # mistral_common drops spaces at the end of an assistant's text.
        text=word(rng, 1).rstrip(" ") if with_text else "",
        thinking=word(rng, 1) if supports_reasoning and rng.random() < 0.5 else "",
    )


def encode(tokenizer: MistralTokenizer, wanted: Case) -> list[int]:
    calls = [
        MistralCall(id=call_id, function=FunctionCall(name=name, arguments=json.dumps(found)))
        for name, found, call_id in wanted.calls
    ]
    content: str | list[Any] = wanted.text
    if wanted.thinking:
        content = [ThinkChunk(thinking=wanted.thinking)]
        content += [TextChunk(text=wanted.text)] if wanted.text else []
    message: AssistantMessage = AssistantMessage(content=content or None, tool_calls=calls)
    ids: list[int] = tokenizer.instruct_tokenizer.encode_assistant_message(message, False)
    return ids


@dataclass
class Read:
    """Deltas, joined: what a renderer would have shown, and the calls."""

    text: str = ""
    thinking: str = ""
    started: dict[int, str] = field(default_factory=dict)
    streamed: dict[int, str] = field(default_factory=dict)
    ended: list[ToolCall | FailedCall] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    @property
    def calls(self) -> list[ToolCall]:
        return [call for call in self.ended if isinstance(call, ToolCall)]

    @property
    def failed(self) -> list[FailedCall]:
        return [call for call in self.ended if isinstance(call, FailedCall)]


def read(deltas: Iterable[Delta], found: Read | None = None) -> Read:
    """Reads on where `found` ends."""
    found = Read() if found is None else found
    for delta in deltas:
        kind = type(delta).__name__
        if found.order[-1:] != [kind] or kind == "CallEnded":
            found.order.append(kind)
        match delta:
            case Text(text):
                assert text
                found.text += text
            case Thinking(text):
                assert text
                found.thinking += text
            case CallBegun(index, name):
                assert index == len(found.ended)
                assert index not in found.started
                found.started[index] = name
            case CallArguments(index, text):
                assert index in found.started
                found.streamed[index] = found.streamed.get(index, "") + text
            case CallEnded(index, call):
                assert index == len(found.ended)
                found.ended.append(call)
            case _:
                raise AssertionError(f"{kind} is the engine's to yield")
    return found


def counting_ids() -> Callable[[], str]:
    numbers = itertools.count()
    return lambda: f"{next(numbers):09d}"


def parser_for(source: MistralTokenizer | Vocabulary) -> StreamParser:
    vocabulary = source if isinstance(source, Vocabulary) else vocabulary_of(source)
    return StreamParser(vocabulary, new_id=counting_ids())


def parse(source: MistralTokenizer | Vocabulary, chunks: Sequence[Sequence[int]], *, truncated: bool = False) -> Read:
    parser = parser_for(source)
    deltas = [delta for chunk in chunks for delta in parser.feed(chunk)]
    return read([*deltas, *parser.finish(truncated)])


def chunked(ids: Sequence[int], rng: random.Random) -> list[Sequence[int]]:
    chunks, at = [], 0
    while at < len(ids):
        size = rng.randint(1, 7)
        chunks.append(ids[at : at + size])
        at += size
    return chunks


def canonical(found: object) -> str:
    """Tells 1 from 1.0 and from True, which == does not."""
    return json.dumps(found, ensure_ascii=False)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from mistral_tokenizers import ALL, Mark, spell, vocabulary_of

from toolchat.mistral.render import encode
from toolchat.mistral.token_count import count_conversation, count_tokens
from toolchat.wire.deltas import TokenCount
from toolchat.wire.messages import AssistantMessage, SystemMessage, ToolCall, ToolMessage, ToolSpec, UserMessage

TOOLS = [
    ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}}),
    ToolSpec("list_files", "Lists the files of a folder.", {"type": "object", "properties": {}}),
    ToolSpec("x", "", {"type": "object", "properties": {"é": {"enum": ["[/INST]", "</s>"]}}}),
]
SYSTEM = SystemMessage("Be brief [/INST] and kind.")
FIRST = [UserMessage("What is [TOOL_CALLS] </s>?"), AssistantMessage("Two.", thinking="Hm.")]
CALLS = (ToolCall("abcdefghi", "add", {"a": 1}), ToolCall("bcdefghij", "add", {"a": 2}))
LAST = [
    UserMessage("Add."),
    AssistantMessage("", CALLS, "I add."),
    ToolMessage("abcdefghi", "add", "[/TOOL_RESULTS] 1"),
    ToolMessage("bcdefghij", "add", "2"),
]


@pytest.fixture
def counted(tokenizer_of: Callable[[str], Any]) -> Callable[..., TokenCount]:
    def count(label: str, messages: Any, tools: Any = ()) -> TokenCount:
        tokenizer = tokenizer_of(label)
        vocabulary = vocabulary_of(tokenizer)
        supports_reasoning = vocabulary.special("[THINK]") is not None

        def tokens(messages: Any, tools: Any) -> list[int]:
            return encode(tokenizer, vocabulary.version, messages, tools, supports_reasoning=supports_reasoning).tokens

        return count_tokens(vocabulary, tokens, tokens(messages, tools), messages, tools)

    return count


@pytest.mark.parametrize("label", ALL)
def test_the_parts_are_the_whole(counted: Any, tokenizer_of: Any, label: str) -> None:
    count = counted(label, [SYSTEM, *FIRST, *LAST], TOOLS)
    assert sum(count.messages) + sum(count.tools) + count.format == count.total
    assert len(count.messages) == 7
    assert len(count.tools) == 3
    settings = [Mark("[MODEL_SETTINGS]"), '{"reasoning_effort": "none"}', Mark("[/MODEL_SETTINGS]")]
    told = len(spell(tokenizer_of(label), *settings)) if label == "v15" else 0
    assert 1 <= count.format - told <= 3


@pytest.mark.parametrize("label", ALL)
def test_a_turn_costs_what_leaving_it_out_saves(counted: Any, label: str) -> None:
    whole, without = counted(label, [SYSTEM, *FIRST, *LAST], TOOLS), counted(label, [SYSTEM, *LAST], TOOLS)
    assert whole.total - without.total == sum(whole.messages[1:3])


@pytest.mark.parametrize("label", ALL)
def test_the_system_prompt_costs_what_leaving_it_out_saves(counted: Any, label: str) -> None:
    whole, without = counted(label, [SYSTEM, *FIRST, *LAST], TOOLS), counted(label, [*FIRST, *LAST], TOOLS)
    assert whole.total - without.total == whole.messages[0]
    assert whole.messages[1:] == without.messages


@pytest.mark.parametrize("label", ALL)
def test_thinking_in_the_system_prompt_is_counted_as_the_system_prompts(counted: Any, label: str) -> None:
    system = SystemMessage("Think first. [THINK]Like so.[/THINK] Then answer.")
    whole, without = counted(label, [system, *FIRST, *LAST], TOOLS), counted(label, [*FIRST, *LAST], TOOLS)
    assert whole.total - without.total == whole.messages[0]
    assert whole.messages[1:] == without.messages


@pytest.mark.parametrize("label", ALL)
def test_the_last_tools_cost_what_leaving_them_out_saves(counted: Any, label: str) -> None:
    whole, first, none = (counted(label, LAST, TOOLS[:number]) for number in (3, 1, 0))
    assert whole.total - first.total == sum(whole.tools[1:])
    assert first.total - none.total == sum(first.tools) + 2
    assert none.tools == ()


def test_v2_does_not_send_the_calls_of_earlier_turns(counted: Any) -> None:
    messages = [*LAST, AssistantMessage("3"), UserMessage("And?")]
    assert counted("v2-spm", messages).messages[1:4] == (0, 0, 0)
    assert all(counted("v3-spm", messages).messages)


@pytest.mark.parametrize("label", ALL)
@pytest.mark.parametrize("messages", [[], [SYSTEM], FIRST, [SYSTEM, *FIRST], [*LAST, AssistantMessage("3")]])
def test_between_turns_too_the_parts_are_what_the_next_question_finds(
    tokenizer_of: Any, label: str, messages: list[Any]
) -> None:
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    supports_reasoning = vocabulary.special("[THINK]") is not None

    def tokens(messages: Any, tools: Any) -> list[int]:
        return encode(tokenizer, vocabulary.version, messages, tools, supports_reasoning=supports_reasoning).tokens

    count = count_conversation(vocabulary, tokens, messages, TOOLS)
    asked = [*messages, UserMessage("And what is that in words?")]
    whole = count_conversation(vocabulary, tokens, asked, TOOLS)
    assert len(count.messages) == len(messages)
    assert (count.tools, count.messages) == (whole.tools, whole.messages[:-1])
    assert count.total + whole.messages[-1] == whole.total == len(tokens(asked, TOOLS))


@pytest.mark.parametrize("label", ALL)
def test_each_tool_is_counted_by_what_it_adds_and_many_cost_no_more_than_their_number(
    tokenizer_of: Any, label: str
) -> None:
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    tools = [replace(tool, name=f"{tool.name}_{number}") for number in range(4) for tool in TOOLS]
    sent: list[int] = []

    def tokens(messages: Any, some: Any) -> list[int]:
        sent.append(len(some))
        return encode(tokenizer, vocabulary.version, messages, some).tokens

    count = count_tokens(vocabulary, tokens, tokens(LAST, tools), LAST, tools)
    assert sum(sent) <= 4 * len(tools)
    totals = [len(tokens(LAST, tools[:number])) for number in range(1, len(tools) + 1)]
    assert count.tools[1:] == tuple(after - before for before, after in pairwise(totals))

from __future__ import annotations

from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from mistral_tokenizers import ALL, load, vocabulary_of

from toolchat.chat.context_view import ContextView, LastPrompt, context_view
from toolchat.chat.conversation import Conversation
from toolchat.engine.scripted import call
from toolchat.mistral.render import encode
from toolchat.mistral.token_count import count_conversation
from toolchat.mistral.vocabulary import FIRST_TOOLS_AHEAD
from toolchat.wire.deltas import TokenCount, Usage
from toolchat.wire.messages import Message, ToolResult, ToolSpec, UserMessage

TOOLS = [
    ToolSpec(name, "Look something up in a list.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    for name in ("search", "fetch")
]
SYSTEM = "You are brief, and you say no more than what is needed."


def chat(system: str | None = SYSTEM) -> Conversation:
    """Four turns: plain, with two results, kept, plain; the first two are then summed up but for the second."""
    conversation = Conversation(system)
    conversation.add_user("What is the capital of France?")
    conversation.add_answer("It is Paris, as everybody knows.")
    conversation.add_user("Search twice.")
    calls = [call("search", a=1), call("fetch", a=2)]
    conversation.add_calls("", calls)
    conversation.add_results([ToolResult(item.id, item.name, "found " * 20 * item.arguments["a"]) for item in calls])
    conversation.add_answer("Both have found much.")
    conversation.add_user("And now?")
    conversation.add_answer("Now we rest.")
    return conversation


LONGEST = 160
"""Tokens of the longest message, or of the tools."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


_load = cache(load)


class Tokenized:
    """What the worker does with a conversation, by the tokenizer of a label."""

    def __init__(self, folder: Path, label: str) -> None:
        tokenizer = _load(folder, label)
        self.vocabulary = vocabulary_of(tokenizer)
        self.version = self.vocabulary.version
        self._encode = partial(encode, tokenizer, self.version, supports_reasoning=False)

    def tokens(self, messages: Any, tools: Any) -> list[int]:
        return self._encode(messages, tools).tokens

    def view(self, conversation: Conversation, last: LastPrompt | None = None, tools: Any = TOOLS) -> ContextView:
        count = count_conversation(self.vocabulary, self.tokens, conversation.messages, tools)
        return context_view(
            8192, count, conversation.system, tools, conversation.history, last=last, version=self.version
        )


def total(view: ContextView) -> int:
    results = sum(one.tokens for one in view.results)
    tools = sum(tokens for _, tokens in view.tools)
    return view.system + tools + view.questions + view.answers + view.summaries + results + view.format


@pytest.mark.parametrize("label", ALL)
def test_the_parts_add_up_to_the_prompt_exactly_with_every_tokenizer(folder: Path, label: str) -> None:
    tokenized = Tokenized(folder, label)
    conversation = chat()
    for step in ("", "sum up", "aside", "trim"):
        match step:
            case "sum up":
                conversation.summarise([1], "They spoke of Paris.")
            case "aside":
                conversation.set_aside([conversation.numbers[0]])
            case "trim":
                conversation.trim(2, conversation.history[1].results[0].call_id, "[dropped]")
        view = tokenized.view(conversation)
        count = count_conversation(tokenized.vocabulary, tokenized.tokens, conversation.messages, TOOLS)
        assert total(view) == view.total == count.total
        assert view.free == 8192 - view.total
        assert [name for name, tokens in view.tools if tokens > 0] == ["search", "fetch"]
        assert sum(turn.tokens for turn in view.turns) == view.total - view.system - view.format - sum(
            tokens for _, tokens in view.tools
        )
    assert view.aside == (4,)


def beginning(one: list[int], other: list[int]) -> int:
    return next((at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), len(one))


@pytest.mark.parametrize("label", ALL)
def test_what_is_said_to_be_cached_is_what_the_prompts_have_in_common(folder: Path, label: str) -> None:
    tokenized = Tokenized(folder, label)
    for system, tools, edit in product([SYSTEM, None], [TOOLS, []], ["", "trim", "sum up", "tools", "system"]):
        conversation = chat(system)
        # The last prompt was that of the last question.
        sent: tuple[Message, ...] = conversation.messages[:-1]
        last = LastPrompt(sent, tuple(tools), Usage(100, 0, 5, ttft=0.5))
        offered = tools
        match edit:
            case "trim":
                conversation.trim(2, conversation.history[1].results[1].call_id, "[dropped]")
            case "sum up":
                conversation.summarise([1, 2], "They spoke of Paris.")
            case "tools":
                offered = TOOLS[:1]
            case "system":
                conversation.set_system("Now be long.")
        view = tokenized.view(conversation, last, offered)
        assert view.cached is not None
        before = tokenized.tokens(sent, tools)
        now = tokenized.tokens([*conversation.messages, UserMessage("Anything else?")], offered)
        common = beginning(before, now)
        if common == len(before):  # all of it, and then the answer that was generated
            common = beginning(tokenized.tokens([*sent, conversation.messages[-1], UserMessage("x")], offered), now)
        # By whole messages and parts: never more than a few control tokens too many, and at most a message too few.
        assert common - LONGEST <= view.cached <= common + 4, (system, tools, edit)
        assert view.new == view.total - view.cached
        assert view.seconds == pytest.approx(0.5 * view.new / 100)


def test_nothing_is_said_of_a_cache_before_the_first_answer(folder: Path) -> None:
    view = Tokenized(folder, "v13").view(chat())
    assert (view.cached, view.seconds, view.new) == (None, None, view.total)
    assert FIRST_TOOLS_AHEAD == 13


def test_where_a_server_tells_no_tools_apart_they_belong_to_the_format() -> None:
    conversation = chat(None)
    sizes = tuple(10 for _ in conversation.messages)
    count = TokenCount(200, (), sizes, estimated=True)
    view = context_view(8192, count, None, TOOLS, conversation.history)
    assert (view.tools, view.estimated, view.format) == ((), True, 200 - sum(sizes))
    assert total(view) == 200


def test_results_are_named_by_their_turn_and_place(folder: Path) -> None:
    view = Tokenized(folder, "v13").view(chat())
    assert [(one.place, one.name, one.characters) for one in view.results] == [
        ("2.1", "search", 120),
        ("2.2", "fetch", 240),
    ]

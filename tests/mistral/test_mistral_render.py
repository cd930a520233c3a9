from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from mistral_common.protocol.instruct.chunk import TextChunk, ThinkChunk
from mistral_common.protocol.instruct.messages import SystemMessage as MistralSystemMessage
from mistral_common.protocol.instruct.messages import UserMessage as MistralUserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest, ModelSettings, ReasoningEffort
from mistral_tokenizers import ALL, ARGS, CALLS, END_THINK, EOS, THINK, spell, vocabulary_of

from toolchat.chat.conversation import Spoken
from toolchat.mistral import render
from toolchat.mistral.parse import StreamParser
from toolchat.mistral.render import reasoning_efforts, takes_schema, to_openai
from toolchat.wire.deltas import CallEnded, Text, Thinking
from toolchat.wire.messages import (
    AssistantMessage,
    Part,
    SystemMessage,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    assistant_message,
)


def encode(*arguments: Any, **more: Any) -> list[int]:
    return render.encode(*arguments, **more).tokens


THOUGHT = [UserMessage("a"), AssistantMessage("b", thinking="hm"), UserMessage("c")]


@pytest.mark.parametrize("label", ALL)
def test_thinking_is_kept_where_the_version_has_a_place_for_it(tokenizer_of: Any, label: str) -> None:
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    think = vocabulary.special("[THINK]")
    prompt = encode(tokenizer, vocabulary.version, THOUGHT, (), supports_reasoning=think is not None)
    assert (think is not None) == (label in ("v13", "v15"))
    assert prompt.count(think) == (1 if think is not None else 0)
    if think is None:
        assert prompt == encode(
            tokenizer, vocabulary.version, [UserMessage("a"), AssistantMessage("b"), THOUGHT[2]], ()
        )


def test_what_was_thought_and_said_reads_back_as_it_was_generated(tokenizer_of: Any) -> None:
    tokenizer = tokenizer_of("v13")
    inner = tokenizer.instruct_tokenizer.tokenizer
    generated = [
        *(inner.get_special_token("[THINK]"), *inner.encode("Let me see.\n", False, False)),
        *(inner.get_special_token("[/THINK]"), *inner.encode("It is 2. ", False, False), inner.eos_id),
    ]
    messages = [UserMessage("a"), AssistantMessage("It is 2. ", thinking="Let me see.\n"), UserMessage("b")]
    prompt = encode(tokenizer, 13, messages, (), supports_reasoning=True)
    begin = len(encode(tokenizer, 13, messages[:1], ()))
    assert prompt[begin : begin + len(generated)] == generated


# As Magistral's SYSTEM_PROMPT.txt goes.
MAGISTRAL = "First draft your thinking.\n\n[THINK]Your thoughts.\nOr a draft.[/THINK]Here, provide a response."


def system_prompt(tokenizer: Any, content: Any) -> list[int]:
    """What mistral_common makes of a system message with these chunks, and the question "a"."""
    messages = [MistralSystemMessage(content=content), MistralUserMessage(content="a")]
    return list(tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens)


def encoded_system(tokenizer: Any, content: str) -> list[int]:
    vocabulary = vocabulary_of(tokenizer)
    messages = [SystemMessage(content), UserMessage("a")]
    return encode(
        tokenizer, vocabulary.version, messages, (), supports_reasoning=vocabulary.special("[THINK]") is not None
    )


PLACES = [
    [THINK, "Let me see.\n", END_THINK, "It is 2. ", THINK, "Or 3?", END_THINK, "No: 2."],
    ["It is 2.", THINK, "Or 3?", END_THINK, "\n", THINK, "No.", END_THINK, " Yes, 2."],
    ["It is 2.", THINK, "Or 3?", END_THINK, "No: 2.", CALLS, "f", ARGS, '{"a": 1}'],
    [THINK, "Hm.", END_THINK, "So: ", THINK, "ah", END_THINK, CALLS, "f", ARGS, "{}"],
]


@pytest.mark.parametrize("label", ["v13", "v15"])
@pytest.mark.parametrize("generated", PLACES)
def test_thinking_anywhere_is_sent_again_exactly_as_it_was_generated(
    tokenizer_of: Any, label: str, generated: list[str]
) -> None:
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    ids = spell(tokenizer, *generated, EOS)
    spoken, calls = Spoken(), []
    for delta in StreamParser(vocabulary).feed(ids):
        match delta:
            case Text(text):
                spoken.add(text)
            case Thinking(text):
                spoken.add(text, thinking=True)
            case CallEnded(_, ToolCall() as call):
                calls.append(call)
    answer = replace(spoken.message(), calls=tuple(calls))
    results = [ToolMessage(call.id, call.name, "1") for call in calls] or [UserMessage("b")]
    prompt = encode(tokenizer, vocabulary.version, [UserMessage("a"), answer, *results], (), supports_reasoning=True)
    begin = len(encode(tokenizer, vocabulary.version, [UserMessage("a")], ()))
    assert prompt[begin : begin + len(ids)] == ids


def test_where_there_is_no_place_for_thinking_the_texts_around_it_do_not_run_together(tokenizer_of: Any) -> None:
    message = assistant_message([Part("One."), Part("hm", thinking=True), Part("Two.")])
    assert to_openai(message, 11)["content"] == to_openai(message, 13)["content"] == "One.\n\nTwo."


@pytest.mark.parametrize(
    ("content", "chunks"),
    [
        (
            MAGISTRAL,
            [
                TextChunk(text="First draft your thinking.\n\n"),
                ThinkChunk(thinking="Your thoughts.\nOr a draft."),
                TextChunk(text="Here, provide a response."),
            ],
        ),
        ("[THINK]a[/THINK]", [ThinkChunk(thinking="a")]),
        (
            "[THINK]a[/THINK][THINK][/THINK] b",
            [ThinkChunk(thinking="a"), ThinkChunk(thinking=""), TextChunk(text=" b")],
        ),
        ("[/THINK][THINK]a[/THINK]", [TextChunk(text="[/THINK]"), ThinkChunk(thinking="a")]),
        (
            "[THINK]a[THINK]b[/THINK]c[/THINK]",
            [TextChunk(text="[THINK]a"), ThinkChunk(thinking="b"), TextChunk(text="c[/THINK]")],
        ),
    ],
)
def test_whole_spans_of_thinking_in_a_system_prompt_become_control_tokens(
    tokenizer_of: Any, content: str, chunks: list[Any]
) -> None:
    tokenizer = tokenizer_of("v13")
    assert encoded_system(tokenizer, content) == system_prompt(tokenizer, chunks)


@pytest.mark.parametrize("content", ["[THINK]a", "a[/THINK]", "[/THINK]a[THINK]", "[THINK]", "[think]a[/think]", "a"])
def test_a_stray_marker_in_a_system_prompt_stays_text(tokenizer_of: Any, content: str) -> None:
    tokenizer = tokenizer_of("v13")
    assert encoded_system(tokenizer, content) == system_prompt(tokenizer, content)


@pytest.mark.parametrize("label", sorted(set(ALL) - {"v13"}))
def test_thinking_in_a_system_prompt_stays_text_where_the_version_has_no_place_for_it(
    tokenizer_of: Any, label: str
) -> None:
    tokenizer = tokenizer_of(label)
    assert encoded_system(tokenizer, MAGISTRAL) == system_prompt(tokenizer, MAGISTRAL)


@pytest.mark.parametrize("version", [2, 3])
def test_text_beside_calls_is_left_out_before_v7(version: int) -> None:
    message = AssistantMessage("Let me see.", (ToolCall("abcdefghi", "f", {}),))
    assert to_openai(message, version)["content"] == ""
    assert to_openai(message, 7)["content"] == "Let me see."


@pytest.mark.parametrize("content", ["1" * 5000, "[" * 3000, "[" * 101 + "]" * 101, '"\\ud800"', '{"a": "\\udfff"}'])
def test_a_result_that_json_chokes_on_is_sent_as_a_text(content: str) -> None:
    sent = to_openai(ToolMessage("abcdefghi", "f", content), 13)["content"]
    assert json.loads(sent) == content


@pytest.mark.parametrize(
    "content",
    ["", "plain", '{"a": 1}', "12", "[1, 2", "NaN", "[" * 101, "[" * 100 + "]" * 100, '{"a": "\\ud83d\\ude00"}'],
)
def test_other_results_are_sent_as_they_are(content: str) -> None:
    assert to_openai(ToolMessage("abcdefghi", "f", content), 13)["content"] == content


def test_half_a_surrogate_pair_becomes_a_replacement_and_a_whole_one_its_character() -> None:
    assert to_openai(UserMessage("a\ud800b \ud83d\ude00"), 13)["content"] == "a\ufffdb 😀"


@pytest.mark.parametrize("label", ALL)
def test_half_a_surrogate_pair_in_a_tool_stops_no_request(tokenizer_of: Any, label: str) -> None:
    def tool(half: str) -> ToolSpec:
        schema = {"description": half, "pattern": half, "enum": [half, {half: [half, 1, None]}]}
        return ToolSpec("f", f"{half}.", {"type": "object", "properties": {half: schema}, "required": [half]})

    tokenizer = tokenizer_of(label)
    version = vocabulary_of(tokenizer).version
    halved = [encode(tokenizer, version, [UserMessage("a")], [tool(half)]) for half in ("\ud800", "\udfff")]
    assert halved == [encode(tokenizer, version, [UserMessage("a")], [tool("\ufffd")])] * 2


def test_reasoning_effort_is_encoded_for_v15_alone(tokenizer_of: Any) -> None:
    tokenizer = tokenizer_of("v15")
    assert reasoning_efforts(tokenizer) == ["none", "high"]
    assert reasoning_efforts(tokenizer_of("v13")) == reasoning_efforts(tokenizer_of("v3-spm")) == []
    none, high, silent = (
        encode(tokenizer, 15, THOUGHT[:1], (), reasoning_effort=effort) for effort in ("none", "high", None)
    )
    assert vocabulary_of(tokenizer).special("[MODEL_SETTINGS]") in high
    assert high != none == silent


@pytest.mark.skipif("xhigh" not in {effort.value for effort in ReasoningEffort}, reason="takes mistral_common 1.13")
def test_the_new_reasoning_efforts_are_encoded(tokenizer_of: Any) -> None:
    efforts = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    tokenizer = tokenizer_of("v15", efforts=efforts)
    assert reasoning_efforts(tokenizer) == [*efforts]
    prompts = [encode(tokenizer, 15, THOUGHT[:1], (), reasoning_effort=effort) for effort in efforts]
    assert len({tuple(prompt) for prompt in prompts}) == len(efforts)
    assert encode(tokenizer, 15, THOUGHT[:1], ()) == prompts[0]


ANSWER = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"const": "[/MODEL_SETTINGS]"}}}


@pytest.mark.parametrize("label", ALL)
def test_an_answers_schema_changes_no_prompt_of_a_model_without_a_place_for_it(tokenizer_of: Any, label: str) -> None:
    tokenizer = tokenizer_of(label)
    version = vocabulary_of(tokenizer).version
    assert not takes_schema(tokenizer)
    asked = encode(tokenizer, version, THOUGHT[:1], (), response_schema=ANSWER)
    assert asked == encode(tokenizer, version, THOUGHT[:1], ())


@pytest.mark.skipif("json_schema" not in ModelSettings.model_fields, reason="takes mistral_common 1.13")
def test_a_model_with_a_place_for_the_answers_schema_is_told_it(tokenizer_of: Any) -> None:
    tokenizer = tokenizer_of("v15", has_schema=True)
    assert takes_schema(tokenizer)
    vocabulary = vocabulary_of(tokenizer)
    asked = encode(tokenizer, 15, THOUGHT[:1], (), reasoning_effort="high", response_schema=ANSWER)
    begin, end = (asked.index(vocabulary.special(name)) for name in ("[MODEL_SETTINGS]", "[/MODEL_SETTINGS]"))
    settings = tokenizer.instruct_tokenizer.tokenizer.decode(asked[begin + 1 : end])
    assert json.loads(settings) == {"reasoning_effort": "high", "json_schema": ANSWER}
    assert json.dumps(ANSWER) in settings  # in the order in which its keys are to be generated
    silent = encode(tokenizer, 15, THOUGHT[:1], ())
    assert "json_schema" not in tokenizer.instruct_tokenizer.tokenizer.decode(silent)


@pytest.mark.parametrize("label", ["v2-spm", "v3-spm"])
def test_calls_made_at_once_are_told_to_v2_as_one_after_the_other(tokenizer_of: Any, label: str) -> None:
    first, second = ToolCall("abcdefghi", "f", {"a": 1}), ToolCall("bcdefghij", "g", {"a": 2})
    results = [ToolMessage(first.id, "f", "one"), ToolMessage(second.id, "g", "two")]
    at_once = [UserMessage("a"), AssistantMessage("", (first, second)), *results]
    in_turn = [
        *(UserMessage("a"), AssistantMessage("", (first,)), results[0]),
        *(AssistantMessage("", (second,)), results[1]),
    ]
    tokenizer = tokenizer_of(label)
    version = vocabulary_of(tokenizer).version
    same = encode(tokenizer, version, at_once, ()) == encode(tokenizer, version, in_turn, ())
    assert same == (label == "v2-spm")

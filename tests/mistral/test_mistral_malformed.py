from __future__ import annotations

import json

import pytest
from mistral_cases import parse
from mistral_tokenizers import (
    ARGS,
    CALL_ID,
    CALLS,
    EOS,
    INST,
    LISTS,
    NAMED,
    PAD,
    spell,
)

from toolchat.mistral.ids import is_legal_name
from toolchat.wire.messages import FailedCall, ToolCall


def one(tokenizer, *parts, truncated=False):
    found = parse(tokenizer, [spell(tokenizer, *parts)], truncated=truncated)
    assert len(found.ended) == 1, found
    return found.ended[0]


def named(tokenizer, arguments):
    return one(tokenizer, CALLS, "f", ARGS, arguments, EOS)


def listed(tokenizer, text):
    return one(tokenizer, CALLS, text, EOS)


BAD_ARGUMENTS = [
    ('{"a": 1,}', "not valid JSON"),
    ('{"a": 1 "b": 2}', "expecting ',' delimiter at character 8 of 15"),
    ('{"a": 1', "expecting ',' delimiter at character 7 of 7"),
    ('{"a": "unterminated}', "unterminated string starting at character 6 of 20"),
    ('{"a": "he said "hi""}', "expecting ',' delimiter at character 16"),
    ('{"a": [1, 2}', "expecting ',' delimiter at character 11"),
    ("{'a': 1}", "expecting property name enclosed in double quotes at character 1 of 8"),
    ('{"a": NaN}', "NaN is not a JSON value"),
    ('{"a": -Infinity}', "-Infinity is not a JSON value"),
    ('{"a": 1e999}', "the number 1e999 is too large"),
    ('{"a": ' + "1" * 5000 + "}", "too many digits"),
    ('{"a": 1, "a": 2}', 'the key "a" is given twice'),
    ('{"a": {"b": 1, "b": 1}}', 'the key "b" is given twice'),
    ('{"a": "\\ud83d"}', "half of a surrogate pair"),
    ('{"a": "line\nbreak"}', "invalid control character at character 11"),
    ('{"a": ' * 101 + "1" + "}" * 101, "nested deeper than 100 levels"),
    ('{"a": ' + "[" * 5000, "nested deeper than 100 levels"),
    ('{"a": "\\x41"}', "invalid \\escape at character 7 of 13"),
    ("[1, 2]", "a list, not an object"),
    ('"text"', "a string, not an object"),
    ("null", "null, not an object"),
    ("12", "a number, not an object"),
    ("true", "a boolean, not an object"),
    ("Dallas", "expecting value at character 0 of 6"),
    ("", "the arguments are missing"),
    (" \n", "the arguments are missing"),
]


@pytest.mark.parametrize(("arguments", "reason"), BAD_ARGUMENTS)
@pytest.mark.parametrize("label", ["v11", "v13"])
def test_malformed_arguments_fail_with_the_exact_reason_and_text(tokenizer_of, label, arguments, reason):
    call = named(tokenizer_of(label), arguments)
    assert isinstance(call, FailedCall)
    assert reason in call.reason
    assert call.reason.startswith("the arguments are ")
    assert call.name == "f"
    assert call.raw == f"[TOOL_CALLS]f[ARGS]{arguments}"
    assert not call.truncated


@pytest.mark.parametrize(("arguments", "reason"), BAD_ARGUMENTS[:18])
@pytest.mark.parametrize("label", ["v3-spm", "v7-tekken"])
def test_malformed_calls_of_a_list_fail_with_the_reason_and_text(tokenizer_of, label, arguments, reason):
    text = f'[{{"name": "f", "arguments": {arguments}}}]'
    call = listed(tokenizer_of(label), text)
    assert isinstance(call, FailedCall)
    assert reason.split(" at character")[0] in call.reason
    assert call.name == "f"
    assert arguments in call.raw
    assert not call.truncated


@pytest.mark.parametrize("arguments", ["[1]", "null", "3", '"[1]"', '"not json"', '"{\\"a\\": NaN}"', '""'])
@pytest.mark.parametrize("label", LISTS)
def test_arguments_of_a_list_that_are_no_object_fail_alone(tokenizer_of, label, arguments):
    tokenizer = tokenizer_of(label)
    text = f'[{{"name": "f", "arguments": {arguments}}}, {{"name": "g", "arguments": {{"b": 2}}}}]'
    found = parse(tokenizer, [spell(tokenizer, CALLS, text, EOS)])
    failed, good = found.ended
    assert isinstance(failed, FailedCall)
    assert failed.name == "f"
    assert "the arguments are" in failed.reason
    assert (good.name, good.arguments) == ("g", {"b": 2})


@pytest.mark.parametrize("label", LISTS)
def test_a_string_that_holds_an_object_is_its_arguments(tokenizer_of, label):
    text = json.dumps([{"name": "f", "arguments": json.dumps({"a": '"[TOOL_CALLS]"'})}])
    assert listed(tokenizer_of(label), text).arguments == {"a": '"[TOOL_CALLS]"'}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "f", "arguments": {}}', "a list of calls was expected after [TOOL_CALLS], not '{'"),
        ("get_weather", "a list of calls was expected"),
        ("", "a list of calls was expected"),
        ("[", "a list of calls was expected"),
        ("[]", "the list of calls is empty"),
        ("[ ]", "the list of calls is empty"),
        ("[1]", "a call in braces was expected, not '1'"),
        ('[{"arguments": {}}]', "the name is missing"),
        ('[{"name": null, "arguments": {}}]', "the name is missing"),
        ('[{"name": 3, "arguments": {}}]', "3 cannot name a tool"),
        ('[{"name": "get weather", "arguments": {}}]', '"get weather" cannot name a tool'),
        ('[{"name": "", "arguments": {}}]', '"" cannot name a tool'),
        ('[{"name": "f\\n", "arguments": {}}]', '"f\\n" cannot name a tool'),
        ('[{"name": "f"}]', "the arguments are missing"),
        ('[{"name": "f", "arguments": {}', "expecting ',' delimiter"),
        ('[{"name": "f", "name": "g", "arguments": {}}]', 'the key "name" is given twice'),
    ],
)
@pytest.mark.parametrize("label", LISTS)
def test_a_list_that_is_none_fails_once(tokenizer_of, label, text, reason):
    call = listed(tokenizer_of(label), text)
    assert isinstance(call, FailedCall)
    assert reason in call.reason
    assert call.raw.startswith("[TOOL_CALLS]")
    assert is_legal_name(call.name)


@pytest.mark.parametrize("label", LISTS)
def test_what_is_whole_in_a_broken_list_is_kept_and_the_rest_fails(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    good = '{"name": "f", "arguments": {}}'
    found = parse(tokenizer, [spell(tokenizer, CALLS, f"[{good} oops {good}]", EOS)])
    assert [call.name for call in found.calls] == ["f"]
    assert "a comma or ] was expected after a call, not 'o'" in found.failed[0].reason
    assert "oops" in found.failed[0].raw
    assert found.text == ""


@pytest.mark.parametrize("ending", ["", ",", ",]", " ]", "\n"])
@pytest.mark.parametrize("label", LISTS)
def test_how_a_list_ends_after_its_last_call_is_forgiven(tokenizer_of, label, ending):
    call = listed(tokenizer_of(label), '[{"name": "f", "arguments": {"a": 1}}' + ending)
    assert isinstance(call, ToolCall)


@pytest.mark.parametrize("label", ["v3-spm", "v3-tekken", "v7-spm"])
def test_text_after_a_list_of_calls_is_text(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    text = ' [ {"name" :"f","arguments":\n{}} ] \n Here [TOOL_CALLS] it } is.'
    found = parse(tokenizer, [spell(tokenizer, CALLS, text, EOS)])
    assert [call.name for call in found.calls] == ["f"]
    assert found.text == "Here [TOOL_CALLS] it } is."
    assert found.order == ["CallBegun", "CallArguments", "CallEnded", "Text"]


@pytest.mark.parametrize("label", NAMED)
def test_text_and_whitespace_around_named_calls(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    parts = ["One.", CALLS, " f ", ARGS, ' {"a": {}} \n', CALLS, "g", ARGS, "{}", " Two } more."]
    found = parse(tokenizer, [spell(tokenizer, *parts)])
    assert [(call.name, call.arguments) for call in found.calls] == [("f", {"a": {}}), ("g", {})]
    assert found.streamed == {0: '{"a": {}}', 1: "{}"}
    assert found.text == "One.Two } more."


@pytest.mark.parametrize(
    ("parts", "reason", "name"),
    [
        ([CALLS, EOS], "no [ARGS] follows the name", "invalid_tool_call"),
        ([CALLS, 'f{"a": 1}', EOS], "no [ARGS] follows the name", "invalid_tool_call"),
        ([CALLS, ARGS, "{}", EOS], "the name is missing", "invalid_tool_call"),
        ([CALLS, "get weather!", ARGS, "{}", EOS], "'get weather!' cannot name a tool", "invalid_tool_call"),
        ([CALLS, "x" * 65, ARGS, "{}", EOS], "cannot name a tool", "invalid_tool_call"),
        ([CALLS, "f", CALL_ID, "abcdefghi", EOS], "no [ARGS] follows the name", "f"),
        ([CALLS, "f", CALL_ID, "abc", CALL_ID, "d", ARGS, "{}"], "[CALL_ID] stands within the call", "f"),
        ([CALLS, "f", ARGS, '{"a": "x', INST, 'y"}', EOS], "[INST] stands within the call", "f"),
        ([CALLS, "f", ARGS, '{"a": ', ARGS, "1}", EOS], "[ARGS] stands within the call", "f"),
        ([CALLS, "f", PAD, "g", ARGS, "{}", EOS], "<pad> stands within the call", "invalid_tool_call"),
    ],
)
@pytest.mark.parametrize("label", NAMED)
def test_a_named_call_that_is_none_fails_once(tokenizer_of, label, parts, reason, name):
    call = one(tokenizer_of(label), *parts)
    assert isinstance(call, FailedCall)
    assert reason in call.reason
    assert call.name == name
    assert call.raw == "".join(part for part in parts if part != EOS)


def test_what_follows_malformed_arguments_is_not_shown_as_text(tokenizer_of):
    tokenizer = tokenizer_of("v13")
    ids = spell(tokenizer, CALLS, "f", ARGS, '{"a": "say "{hi}" now"}', CALLS, "g", ARGS, "{}", EOS)
    found = parse(tokenizer, [ids])
    assert found.text == ""
    assert found.failed[0].raw == '[TOOL_CALLS]f[ARGS]{"a": "say "{hi}" now"}'
    assert [call.name for call in found.calls] == ["g"]


def test_a_call_that_another_call_interrupts_is_not_run(tokenizer_of):
    tokenizer = tokenizer_of("v11")
    found = parse(tokenizer, [spell(tokenizer, CALLS, "f", ARGS, '{"a": 1', CALLS, "g", ARGS, "{}", EOS)])
    assert [type(call) for call in found.ended] == [FailedCall, ToolCall]


def test_malformed_before_the_cut_is_malformed_and_not_truncated(tokenizer_of):
    call = one(tokenizer_of("v13"), CALLS, "no name!", ARGS, '{"a": 1', truncated=True)
    assert not call.truncated
    assert "cannot name a tool" in call.reason
    list_call = one(tokenizer_of("v13"), CALLS, "f", ARGS, "[1, 2", truncated=True)
    assert not list_call.truncated


@pytest.mark.parametrize("label", LISTS + NAMED)
def test_a_name_that_no_tool_can_have_is_kept_for_whoever_answers(tokenizer_of, label):
    if label in NAMED:
        call = one(tokenizer_of(label), CALLS, "math.fact", ARGS, "{}", EOS)
    else:
        call = listed(tokenizer_of(label), '[{"name": "math.fact", "arguments": {}}]')
    assert isinstance(call, FailedCall)
    assert (call.name, call.illegal_name) == ("invalid_tool_call", "math.fact")

from __future__ import annotations

import copy
import random

import pytest
from mistral_cases import Case, Read, canonical, case, chunked, encode, parse, parser_for, read
from mistral_tokenizers import ALL, CALLS, EOS, LISTS, NAMED, spell, vocabulary_of

from toolchat.mistral.ids import is_legal_call_id
from toolchat.mistral.json_scan import ObjectScanner
from toolchat.mistral.segments import Prose
from toolchat.wire.messages import FailedCall, ToolCall

CASES = 100


def check_round_trip(tokenizer, label, count, seed):
    vocabulary = vocabulary_of(tokenizer)
    rng = random.Random(seed)
    for _ in range(count):
        wanted = case(rng, vocabulary.version, supports_reasoning=vocabulary.special("[THINK]") is not None)
        ids = encode(tokenizer, wanted)
        whole = parse(vocabulary, [ids])
        assert parse(vocabulary, [[token] for token in ids]) == whole
        assert parse(vocabulary, chunked(ids, rng)) == whole
        check(whole, wanted, label, vocabulary.version)


def check(found, wanted: Case, label, version):
    assert found.failed == []
    assert (found.text, found.thinking) == (wanted.text, wanted.thinking)
    assert [(call.name, canonical(call.arguments)) for call in found.calls] == [
        (name, canonical(arguments)) for name, arguments, _ in wanted.calls
    ]
    if version in (3, 7, 11):
        assert [call.id for call in found.calls] == [call_id for _, _, call_id in wanted.calls]
    assert len({call.id for call in found.calls}) == len(found.calls)
    assert all(is_legal_call_id(call.id) for call in found.calls)
    assert list(found.started.values()) == [name for name, _, _ in wanted.calls]
    assert list(found.streamed.values()) == [canonical(arguments) for _, arguments, _ in wanted.calls]


@pytest.mark.long
@pytest.mark.parametrize("label", ALL)
def test_what_mistral_common_encodes_comes_back_under_every_split(tokenizer_of, label):
    check_round_trip(tokenizer_of(label), label, CASES, seed=label)


@pytest.mark.slow
@pytest.mark.parametrize("label", ALL)
def test_ten_thousand_generations_come_back(tokenizer_of, label):
    check_round_trip(tokenizer_of(label), label, 10_000, seed=f"{label} slow")


@pytest.mark.long
@pytest.mark.parametrize("label", ALL)
def test_cut_anywhere_only_whole_calls_come_back(tokenizer_of, label):
    check_cuts(tokenizer_of(label), label, CASES, seed=f"{label} cut")


@pytest.mark.slow
@pytest.mark.parametrize("label", ALL)
def test_two_thousand_generations_cut_anywhere_too(tokenizer_of, label):
    check_cuts(tokenizer_of(label), label, 2_000, seed=f"{label} cut slow")


def check_cuts(tokenizer, label, count, seed):
    vocabulary = vocabulary_of(tokenizer)
    rng = random.Random(seed)
    marker = vocabulary.special("[TOOL_CALLS]")
    for _ in range(count):
        wanted = case(rng, vocabulary.version, supports_reasoning=vocabulary.special("[THINK]") is not None)
        expected = [(name, canonical(arguments)) for name, arguments, _ in wanted.calls]
        begun, found, parser = 0, Read(), parser_for(vocabulary)
        for token in encode(tokenizer, wanted)[:-1]:
            begun += token == marker
            read(parser.feed([token]), found)
            tail = read(snapshot(parser).finish(truncated=True), Read(started=found.started, ended=[*found.ended]))
            assert wanted.text.startswith((found.text + tail.text).rstrip("\ufffd"))
            assert wanted.thinking.startswith((found.thinking + tail.thinking).rstrip("\ufffd"))
            cut = tail.ended[len(found.ended) :]
            assert [(type(call), call.truncated) for call in cut] in ([], [(FailedCall, True)])
            if label in NAMED:
                assert len(tail.ended) == begun
        assert found.failed == []
        calls = [(call.name, canonical(call.arguments)) for call in found.calls]
        # Of a list the last call ends before the list does.
        assert calls == expected[: len(calls)]
        assert len(calls) == len(expected)


def snapshot(parser):
    """A copy of a parser that can be finished while the parser goes on; deepcopy would take ten times as long."""
    copied, sink = copy.copy(parser), copy.copy(parser._sink)
    sink._ids, sink._deltas = {*sink._ids}, []
    copied._sink = sink
    pending = parser._decoder.getstate()
    if pending[0]:
        copied._decoder = type(parser._decoder)(errors="replace")
        copied._decoder.setstate(pending)
    copied._segment = own(parser._segment, sink, deep=bool(pending[0]))
    return copied


def own(part, sink, *, deep):
    """A copy of a part of a parser; `deep` where it will be fed more, and not only finished."""
    copied = copy.copy(part)
    for name, value in vars(part).items() if deep else ():
        if isinstance(value, list):
            setattr(copied, name, [*value])
        elif isinstance(value, ObjectScanner | Prose):
            setattr(copied, name, own(value, sink, deep=True))
    if hasattr(part, "_sink"):
        copied._sink = sink
    return copied


@pytest.mark.parametrize("label", ALL)
def test_a_cut_call_is_told_from_a_call_the_model_left_unfinished(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    ids = encode(tokenizer, Case((("f", {"city": "Dallas"}, "abcdefghi"),)))[:-3]
    (cut,) = parse(tokenizer, [ids], truncated=True).ended
    (left,) = parse(tokenizer, [ids], truncated=False).ended
    assert cut.truncated
    assert not left.truncated
    assert cut.name == left.name == "f"
    assert cut.raw == left.raw
    assert cut.raw.startswith("[TOOL_CALLS]")
    assert "Dallas" in cut.raw
    assert "not valid JSON" in left.reason


@pytest.mark.parametrize("label", ALL)
def test_of_two_calls_the_one_that_was_cut_is_not_lost(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    ids = encode(tokenizer, Case((("f", {"city": "Dallas"}, "abcdefghi"), ("g", {"city": "Oslo"}, "bcdefghij"))))[:-3]
    first, second = parse(tokenizer, [ids], truncated=True).ended
    assert isinstance(first, ToolCall)
    assert isinstance(second, FailedCall)
    assert (second.name, second.truncated) == ("g", True)


@pytest.mark.parametrize("label", NAMED)
def test_parts_of_a_call_arrive_as_soon_as_they_are_certain(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    ids = encode(tokenizer, Case((("f", {"a": 1}, "abcdefghi"), ("g", {}, "bcdefghij"))))
    parser = parser_for(vocabulary)
    at = {}
    for index, token in enumerate(ids):
        for delta in parser.feed([token]):
            at.setdefault((type(delta).__name__, delta.index), index)
    markers = [index for index, token in enumerate(ids) if token == vocabulary.special("[TOOL_CALLS]")]
    named = vocabulary.special("[CALL_ID]") if label == "v11" else vocabulary.special("[ARGS]")
    assert at["CallBegun", 0] == ids.index(named)
    assert at["CallArguments", 0] == ids.index(vocabulary.special("[ARGS]")) + 1
    assert at["CallEnded", 0] == markers[1] - 1
    assert at["CallEnded", 1] == len(ids) - 2


@pytest.mark.parametrize("label", LISTS[1:])
def test_a_call_of_a_list_arrives_with_its_closing_brace(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    ids = encode(tokenizer, Case((("f", {"a": 1}, "abcdefghi"), ("g", {"b": 2}, "bcdefghij"))))
    parser = parser_for(tokenizer)
    at: dict[str, int] = {}
    for index, token in enumerate(ids):
        for delta in parser.feed([token]):
            at.setdefault(type(delta).__name__, index)
    inner = tokenizer.instruct_tokenizer.tokenizer
    assert '"abcdefghi"}' in inner.decode(ids[: at["CallEnded"] + 1])
    assert '"abcdefghi"}' not in inner.decode(ids[: at["CallEnded"]])
    # Its name and the size of its arguments are told long before.
    begun = inner.decode(ids[: at["CallBegun"] + 1]).removeprefix("[TOOL_CALLS]").strip()
    assert '[{"name": "f", "arguments": {"a": 1'.startswith(begun)
    assert at["CallArguments"] < at["CallEnded"]


@pytest.mark.parametrize("label", LISTS)
@pytest.mark.parametrize(
    ("text", "streamed"),
    [
        ('[{"arguments": {"a": 1}, "name": "f"}]', '{"a": 1}'),
        ('[{"name": "f", "arguments": "{\\"a\\": 1}"}]', '{"a": 1}'),
        ('[{"name" :"f" ,"arguments":\n{"a":\t1}, "id": "abcdefghi"}]', '{"a":\t1}'),
        ('[{"name": "f", "id": "abcdefghi", "arguments": {"a": 1}}]', '{"a": 1}'),
    ],
)
def test_a_call_that_begins_otherwise_is_shown_when_it_is_whole(tokenizer_of, label, text, streamed):
    found = parse(tokenizer_of(label), [[token] for token in spell(tokenizer_of(label), CALLS, text, EOS)])
    assert (found.started, found.streamed) == ({0: "f"}, {0: streamed})
    assert [(call.name, call.arguments) for call in found.calls] == [("f", {"a": 1})]


def test_text_arrives_token_by_token(tokenizer_of):
    tokenizer = tokenizer_of("v13")
    parser = parser_for(tokenizer)
    ids = tokenizer.instruct_tokenizer.tokenizer.encode("The weather in Dallas is fine.", bos=False, eos=False)
    assert all(parser.feed([token]) for token in ids)

from __future__ import annotations

import json
import random

import pytest
from mistral_cases import case, chunked, encode, parse, parser_for
from mistral_tokenizers import (
    ALL,
    ARGS,
    CALL_ID,
    CALLS,
    END_THINK,
    EOS,
    INST,
    PAD,
    THINK,
    Mark,
    spell,
    vocabulary_of,
)

from toolchat.mistral import json_scan
from toolchat.mistral.ids import is_legal_call_id, is_legal_name
from toolchat.wire.messages import FailedCall, ToolCall

SOUPS = 250


@pytest.mark.parametrize("label", ALL)
def test_nothing_follows_the_end_of_sequence(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    found = parse(tokenizer, [spell(tokenizer, "done", EOS, "more", CALLS, "f")])
    assert found.text == "done"
    assert found.ended == []


@pytest.mark.parametrize("label", ALL)
def test_control_tokens_in_text_vanish_and_literal_ones_stay(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    first = spell(tokenizer, "a [TOOL_CALLS] </s> b")
    found = parse(tokenizer, [[*first, *spell(tokenizer, PAD if label not in ("v2-spm",) else INST), *first]])
    assert found.text.replace(" ", "") == "a[TOOL_CALLS]</s>b" * 2
    assert found.ended == []


@pytest.mark.parametrize("label", ["v13", "v15"])
def test_thinking_may_stand_anywhere(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    parts = [THINK, "hm [/THINK]", END_THINK, "Text.", THINK, "again", END_THINK, CALLS, "f", ARGS, "{}"]
    found = parse(tokenizer, [spell(tokenizer, *parts, THINK, "over", EOS)])
    assert found.thinking == "hm [/THINK]againover"
    assert found.text == "Text."
    assert [call.name for call in found.calls] == ["f"]
    assert found.order[:4] == ["Thinking", "Text", "Thinking", "CallBegun"]


@pytest.mark.parametrize(
    ("parts", "text", "thinking"),
    [
        (["One.", END_THINK, "Two."], "One.\n\nTwo.", ""),
        (["One.\n", END_THINK, "Two."], "One.\nTwo.", ""),
        (["One.", END_THINK, " Two."], "One. Two.", ""),
        ([END_THINK, "Two."], "Two.", ""),
        (["One.", END_THINK], "One.", ""),
        (["One.", END_THINK, END_THINK, "Two."], "One.\n\nTwo.", ""),
        (["One.", THINK, END_THINK, "Two."], "One.\n\nTwo.", ""),
        (["One.", THINK, "hm", END_THINK, "Two."], "One.Two.", "hm"),  # apart by what came between
        ([THINK, "hm", THINK, "ah", END_THINK, "Two."], "Two.", "hm\n\nah"),
        ([THINK, "hm", END_THINK, THINK, "ah", END_THINK, "Two."], "Two.", "hm\n\nah"),
        ([THINK, "hm", END_THINK, END_THINK, "Two."], "Two.", "hm"),
        (["One", INST, "Two."], "One Two.", ""),
        ([CALLS, "f", ARGS, "{}", "One.", END_THINK, "Two."], "One.\n\nTwo.", ""),
        (["One.", CALLS, "f", ARGS, "{}", END_THINK, "Two."], "One.Two.", ""),
    ],
)
def test_a_marker_that_stands_alone_does_not_fuse_the_words_around_it(tokenizer_of, parts, text, thinking):
    tokenizer = tokenizer_of("v13")
    ids = spell(tokenizer, *parts, EOS)
    for chunks in ([ids], [[token] for token in ids]):
        found = parse(tokenizer, chunks)
        assert (found.text, found.thinking) == (text, thinking)


def test_a_call_ends_thinking_that_was_left_open(tokenizer_of):
    tokenizer = tokenizer_of("v13")
    found = parse(tokenizer, [spell(tokenizer, THINK, "so", CALLS, "f", ARGS, "{}", EOS)])
    assert (found.thinking, len(found.calls)) == ("so", 1)


def test_thinking_within_arguments_fails_the_call(tokenizer_of):
    tokenizer = tokenizer_of("v13")
    ids = spell(tokenizer, CALLS, "f", ARGS, '{"a": ', THINK, "hm", END_THINK, "1}", EOS)
    found = parse(tokenizer, [ids])
    assert (len(found.failed), found.calls, found.thinking) == (1, [], "hm")


def test_ids_that_are_illegal_or_given_twice_are_replaced(tokenizer_of):
    tokenizer = tokenizer_of("v11")
    wanted = ["abcdefghi", "abcdefghi", "call_1", "null", "abcdefgh\n", " bcdefghij "]
    parts = [part for call_id in wanted for part in (CALLS, "f", CALL_ID, call_id, ARGS, "{}")]
    found = parse(tokenizer, [spell(tokenizer, *parts, EOS)])
    ids = [call.id for call in found.calls]
    assert len(set(ids)) == len(wanted)
    assert all(is_legal_call_id(call_id) for call_id in ids)
    assert ids[0] == "abcdefghi"
    assert ids[5] == "bcdefghij"


def test_a_list_keeps_the_ids_of_failed_calls_too(tokenizer_of):
    text = '[{"name": "f", "arguments": [], "id": "abcdefghi"}, {"name": "g", "arguments": {}, "id": 7}]'
    tokenizer = tokenizer_of("v3-spm")
    found = parse(tokenizer, [spell(tokenizer, CALLS, text, EOS)])
    assert found.ended[0].id == "abcdefghi"
    assert is_legal_call_id(found.ended[1].id)


@pytest.mark.parametrize("label", ["v3-spm", "v13"])
def test_never_half_a_character(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    ids = [
        token
        for byte in "🦊é".encode()
        for token in range(2000)
        if not vocabulary.is_special(token) and vocabulary.piece(token) == bytes([byte])
    ]
    assert parse(vocabulary, [[token] for token in ids]).text == "🦊é"
    assert parse(vocabulary, [ids[:-1]]).text == "🦊\ufffd"
    assert parse(vocabulary, [[*ids[:2], *spell(tokenizer, INST), *ids]]).text == "\ufffd 🦊é"


@pytest.mark.parametrize("label", ALL)
def test_no_soup_of_tokens_raises_or_makes_a_call_up(tokenizer_of, label):
    tokenizer = tokenizer_of(label)
    vocabulary = vocabulary_of(tokenizer)
    inner = tokenizer.instruct_tokenizer.tokenizer
    rng = random.Random(f"{label} soup")
    names = ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]", "[INST]"]
    marks = [vocabulary.special(name) for name in names if vocabulary.special(name) is not None]
    texts = [
        '[{"name": "f", "arguments": {"',
        '": 1}}',
        "]",
        ", ",
        '"',
        "{",
        "}",
        "f",
        "\\",
        "{}",
        "NaN",
        "é",
        " ",
    ]
    bits = [spell(tokenizer, text) for text in texts] + [[mark] for mark in marks] * 2
    for _ in range(SOUPS):
        match rng.randrange(3):
            case 0:
                ids = rng.choices(range(inner.n_words + 9), k=rng.randint(0, 40))
            case 1:
                ids = [token for _ in range(rng.randint(1, 25)) for token in rng.choice(bits)]
            case _:
                ids = encode(tokenizer, case(rng, vocabulary.version))
                for _ in range(rng.randint(1, 4)):
                    at = rng.randrange(len(ids))
                    ids[at : at + rng.randint(0, 2)] = rng.choice(bits) if rng.random() < 0.7 else []
        truncated = rng.random() < 0.5
        whole = parse(vocabulary, [ids], truncated=truncated)
        assert parse(vocabulary, chunked(ids, rng), truncated=truncated) == whole
        assert len({call.id for call in whole.ended}) == len(whole.ended)
        for call in whole.ended:
            assert is_legal_call_id(call.id)
            assert is_legal_name(call.name)
            match call:
                case ToolCall():
                    assert json.loads(json.dumps(call.arguments, allow_nan=False)) == call.arguments
                    json.dumps(call.arguments, ensure_ascii=False).encode()
                case FailedCall():
                    assert call.reason
        assert (vocabulary.special("[TOOL_CALLS]") in ids) >= bool(whole.ended)


def test_ids_beyond_the_vocabulary_are_no_text(tokenizer_of):
    for label in ALL:
        assert parse(tokenizer_of(label), [[-1, 10**9]]).order == []


def test_arguments_are_scanned_once_and_loaded_once(tokenizer_of, monkeypatch):
    tokenizer = tokenizer_of("v13")
    arguments = json.dumps({"lines": ["abc {} \\ [TOOL_CALLS] " * 5] * 200})
    scanned, loaded = [], []
    feed, load = json_scan.ObjectScanner.feed, json_scan._DECODER.decode

    def count_feed(self, text):
        scanned.append(len(text))
        return feed(self, text)

    def count_load(text):
        loaded.append(len(text))
        return load(text)

    monkeypatch.setattr(json_scan.ObjectScanner, "feed", count_feed)
    monkeypatch.setattr(json_scan._DECODER, "decode", count_load)
    ids = spell(tokenizer, CALLS, "f", ARGS, arguments, EOS)
    assert len(parse(tokenizer, [[token] for token in ids]).calls) == 1
    # One more scan, of the whole, is load_object's check of the depth.
    assert sum(scanned) <= 2 * len(arguments)
    assert loaded == [len(arguments)]


def test_finish_twice_and_feeding_on_yield_nothing(tokenizer_of):
    tokenizer = tokenizer_of("v13")
    parser = parser_for(tokenizer)
    assert parser.feed(spell(tokenizer, CALLS, Mark("[ARGS]"))) == []
    assert len(parser.finish(truncated=True)) == 1
    assert parser.finish(truncated=True) == []
    assert parser.feed(spell(tokenizer, "more")) == []

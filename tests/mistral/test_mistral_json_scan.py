from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.mistral.json_scan import BadJsonError, ObjectScanner, flaw, load_object

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(['"', "\\", '\\"', "{", "]}"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=12,
)
_objects = st.dictionaries(_text, _json, max_size=4)


@pytest.mark.long
@settings(max_examples=200, deadline=None)
@given(_objects, st.booleans(), st.integers(1, 9), st.text(max_size=5))
def test_the_end_is_found_wherever_the_text_is_split(wanted, ascii_only, size, tail):
    written = json.dumps(wanted, ensure_ascii=ascii_only)
    text = written + tail
    scanner = ObjectScanner()
    for at in range(0, len(text), size):
        end = scanner.feed(text[at : at + size])
        if end is not None:
            break
    assert at + end == len(written)
    assert json.dumps(load_object(written)) == json.dumps(wanted)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('{}[]",:\\a1 nul.eE-u\ud800'), max_size=30))
def test_a_loader_that_refuses_says_why_and_never_raises_anything_else(text):
    if reason := flaw(text):
        with pytest.raises(BadJsonError) as caught:
            load_object(text)
        assert str(caught.value) == reason
    else:
        assert load_object(text) == json.loads(text)


@pytest.mark.parametrize("text", ['{"a": 1}}', "]", '{"a": ]'])
def test_brackets_that_contradict_each_other_break_the_scan(text):
    scanner = ObjectScanner()
    end = scanner.feed(text)
    if end is not None:
        assert scanner.feed(text[end:]) is None
    assert scanner.broken
    assert not scanner.too_deep


def test_a_hundred_levels_are_allowed_and_one_more_is_not():
    nested = '{"a": ' * 100 + "1" + "}" * 100
    assert ObjectScanner().feed(nested) == len(nested)
    assert load_object(nested)["a"]
    scanner = ObjectScanner()
    assert scanner.feed('{"a": ' + nested + "}") is None
    assert scanner.too_deep


def test_brackets_within_strings_do_not_count_as_depth():
    assert load_object(json.dumps({"a": "{[" * 5000})) == {"a": "{[" * 5000}

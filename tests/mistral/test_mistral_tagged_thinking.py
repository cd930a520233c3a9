from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_cases import counting_ids, parse, read
from mistral_tokenizers import ARGS, CALLS, EOS, spell

from toolchat.mistral.segments import CallSink, TaggedProse
from toolchat.wire.messages import CallOrigin

PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<", "</", "think>", "hm", " ", "\n", "é"]), max_size=12)


def tagged(*chunks: str) -> tuple[str, str]:
    sink = CallSink(counting_ids(), CallOrigin.PARSED)
    prose = TaggedProse(sink)
    for chunk in chunks:
        prose.text(chunk)
    prose.end(truncated=False)
    found = read(sink.take())
    return found.thinking, found.text


@pytest.mark.parametrize(
    ("written", "thinking", "text"),
    [
        ("<think>hm</think>Two.", "hm", "Two."),
        ("\n<think>\nhm\n</think>\n\nTwo.", "\nhm\n", "Two."),
        ("<think>hm < 3 </thin", "hm < 3 </thin", ""),
        ("<think></think>", "", ""),
        ("<thin", "", "<thin"),
        ("Two. <think>hm</think>", "", "Two. <think>hm</think>"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        (" Two.", "", " Two."),
    ],
)
def test_thinking_between_tags_is_told_from_the_answer(written: str, thinking: str, text: str) -> None:
    assert tagged(written) == tagged(*written) == (thinking, text)


@settings(deadline=None)
@given(pieces=PIECES)
def test_no_split_changes_what_is_read(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert tagged(*filter(None, pieces)) == tagged(*whole) == (tagged(whole) if whole else ("", ""))


def test_a_call_may_follow(tokenizer_of) -> None:
    tokenizer = tokenizer_of("v11")
    found = parse(tokenizer, [spell(tokenizer, "<think>so</think>\n", CALLS, "f", ARGS, "{}", EOS)])
    assert (found.thinking, found.text, [call.name for call in found.calls]) == ("so", "", ["f"])


@pytest.mark.parametrize("label", ["v3-spm", "v7-tekken", "v13", "v13-plain"])
def test_for_other_versions_the_tags_are_text(tokenizer_of, label: str) -> None:
    tokenizer = tokenizer_of(label)
    found = parse(tokenizer, [spell(tokenizer, "<think>so</think>", EOS)])
    assert (found.thinking, found.text) == ("", "<think>so</think>")

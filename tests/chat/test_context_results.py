from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from chat_harness import Harness
from hypothesis import given
from hypothesis import strategies as st
from mistral_tokenizers import load, vocabulary_of

from toolchat.chat.context_window import RESULT_SHARE, cut_to_budget
from toolchat.engine.scripted import Answer, call
from toolchat.mistral.render import encode
from toolchat.mistral.token_count import count_conversation
from toolchat.wire.deltas import TokenCount
from toolchat.wire.excerpt import Excerpt, Kept
from toolchat.wire.messages import Message, ToolSpec


async def by_words(text: str) -> int:
    return len(text.split()) + text.count("\n")


async def by_bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


@pytest.mark.long
@given(st.text(min_size=0, max_size=3000), st.integers(120, 1000))
def test_never_over_budget_and_head_and_tail_stay(text: str, budget: int) -> None:
    kept, left_out = asyncio.run(cut_to_budget(text, budget, by_bytes, lambda: Kept("/f", len(text))))
    assert asyncio.run(by_bytes(kept)) <= budget
    if asyncio.run(by_bytes(text)) <= budget:
        assert (kept, left_out) == (text, 0)
    else:
        assert "characters are left out here; the whole is in /f" in kept
        head, _, tail = kept.partition("\n[… ")
        assert text.startswith(head)
        assert text.endswith(tail.partition("…]\n")[2])
        assert tail.startswith(f"{left_out:,} of {len(text):,} characters")
        assert left_out == len(text) - len(head) - len(tail.partition("…]\n")[2])


@pytest.mark.parametrize(("extra", "whole"), [(0, True), (1, False)])
def test_a_text_of_exactly_the_budget_stays_whole(extra: int, whole: bool) -> None:
    text = "é" * 500 + "x" * extra
    kept, left_out = asyncio.run(cut_to_budget(text, 1000, by_bytes, lambda: None))
    assert (kept == text, left_out == 0) == (whole, whole)


@given(st.text("a𝄞é ", min_size=300, max_size=900), st.integers(0, 5000), st.integers(120, 700), st.booleans())
def test_an_excerpt_is_cut_further_with_the_numbers_of_its_whole(
    text: str, between: int, budget: int, is_file_whole: bool
) -> None:
    total = len(text) + between
    excerpt = Excerpt(text[:200], text[200:], total)
    kept = Kept("/f", total if is_file_whole else 7)
    cut, left_out = asyncio.run(cut_to_budget(excerpt, budget, by_bytes, lambda: kept))
    head, line, tail = cut.split("\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert left_out == total - len(head) - len(tail)
    where = "the whole is" if is_file_whole else "the first 7 are"
    assert line == f"[… {left_out:,} of {total:,} characters are left out here; {where} in /f …]"
    assert asyncio.run(by_bytes(cut)) <= budget


def test_most_of_an_excerpt_that_fits_is_used() -> None:
    excerpt = Excerpt("word " * 2000, "word " * 1000, 10**9)
    cut, _ = asyncio.run(cut_to_budget(excerpt, 1000, by_words, lambda: None))
    assert 900 <= asyncio.run(by_words(cut)) <= 1000


def test_most_of_the_budget_is_used() -> None:
    text = "\n".join(f"line {number}" for number in range(20_000))
    kept, _ = asyncio.run(cut_to_budget(text, 1000, by_words, lambda: None))
    assert 900 <= asyncio.run(by_words(kept)) <= 1000


def test_a_short_text_is_never_counted() -> None:
    async def never(_: str) -> int:
        raise AssertionError("counted")

    assert asyncio.run(cut_to_budget("short", 10, never, lambda: None)) == ("short", 0)


@pytest.mark.parametrize("text", ['"\n' * 9000, '"' * 2000, "\n".join(f'"{n}","{n}"' for n in range(5000))])
def test_a_result_is_cut_to_what_it_takes_in_the_history_of_a_model_that_reads_json(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    tokenizer = load(tmp_path, "v3-tekken")

    def tokens(*asked: Any) -> list[int]:
        return encode(tokenizer, 3, *asked).tokens

    async def count(messages: Sequence[Message], tools: Sequence[ToolSpec], _: str | None = None) -> TokenCount:
        return count_conversation(vocabulary_of(tokenizer), tokens, messages, tools)

    monkeypatch.setattr(harness.engine, "count", count)
    harness.engine.enqueue(Answer(calls=[call("say", text=text)]), "Done.")
    harness.chat("Say it.")
    history = harness.conversation.messages[:-1]
    size = asyncio.run(count(history, ())).messages[-1]
    assert 1500 < size < 8192 // RESULT_SHARE + 60

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from toolchat.chat.budget import cut_to_budget


async def by_words(text: str) -> int:
    return len(text.split()) + text.count("\n")


async def by_bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


@given(st.text(min_size=0, max_size=3000), st.integers(120, 1000))
def test_never_over_budget_and_head_and_tail_stay(text: str, budget: int) -> None:
    kept = asyncio.run(cut_to_budget(text, budget, by_bytes, lambda: "/f"))
    assert asyncio.run(by_bytes(kept)) <= budget
    if asyncio.run(by_bytes(text)) <= budget:
        assert kept == text
    else:
        assert "characters are left out here; the whole is in /f" in kept
        head, _, tail = kept.partition("\n[… ")
        assert text.startswith(head)
        assert text.endswith(tail.partition("…]\n")[2])


def test_most_of_the_budget_is_used() -> None:
    text = "\n".join(f"line {number}" for number in range(20_000))
    kept = asyncio.run(cut_to_budget(text, 1000, by_words, lambda: None))
    assert 900 <= asyncio.run(by_words(kept)) <= 1000


def test_a_short_text_is_never_counted() -> None:
    async def never(_: str) -> int:
        raise AssertionError("counted")

    assert asyncio.run(cut_to_budget("short", 10, never, lambda: None)) == "short"

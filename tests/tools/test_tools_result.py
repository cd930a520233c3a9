from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolchat.tools.result import bounded


@given(st.text(st.characters(codec=None), max_size=300), st.integers(10, 200))
def test_a_bounded_text_is_utf8_and_keeps_to_its_limit(text: str, limit: int) -> None:
    cut = bounded(text, limit)
    encoded = cut.encode()
    assert b"\0" not in encoded
    assert len(encoded) <= limit + 100
    if len(text) * 4 <= limit:
        assert len(cut) == len(text)

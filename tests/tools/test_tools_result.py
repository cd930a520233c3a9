from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolchat.tools.result import clean
from toolchat.wire.excerpt import cut_to_bytes, shortened


@given(st.text(st.characters(codec=None), max_size=300), st.integers(10, 200))
def test_a_bounded_text_is_utf8_and_keeps_to_its_limit(text: str, limit: int) -> None:
    cleaned = clean(text)
    cut = shortened(cleaned, limit)
    assert len(cleaned) == len(text)
    encoded = cut.encode()
    assert b"\0" not in encoded
    assert len(encoded) <= limit + 100
    excerpt = cut_to_bytes(cleaned, limit)
    if len(cleaned.encode()) <= limit:
        assert excerpt is None
        assert cut == cleaned
    else:
        assert excerpt is not None
        assert excerpt.total == len(text)
        assert cleaned.startswith(excerpt.head)
        assert cleaned.endswith(excerpt.tail)
        assert excerpt.left_out > 0

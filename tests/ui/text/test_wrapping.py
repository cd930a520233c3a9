from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from toolchat.ui.text.cells import cut
from toolchat.ui.text.wrapping import wrapped

TEXT = st.text(st.sampled_from("ab 日🚀é"), max_size=80)


@given(TEXT, st.integers(2, 30))
def test_wrapping_keeps_every_word_and_the_width(text: str, width: int) -> None:
    rows = wrapped(text, width)
    assert all(get_cwidth(row) <= width for row in rows)
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


@given(TEXT, st.integers(1, 30))
def test_what_is_cut_fits_and_says_so(text: str, width: int) -> None:
    shown = cut(text, width)
    assert get_cwidth(shown) <= width
    assert shown == text or shown.endswith("…")


def test_words_are_not_broken_where_they_fit() -> None:
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("abcdefgh", 3) == ["abc", "def", "gh"]
    assert wrapped("", 10) == [""]

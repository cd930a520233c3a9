from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from toolchat.ui.text.cells import cut
from toolchat.ui.text.lines import LineStream
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


@given(st.lists(st.text(st.sampled_from("ab \n"), max_size=9), max_size=20))
def test_a_stream_is_printed_once_whatever_its_pieces(pieces: list[str]) -> None:
    stream = LineStream(10, "", color=False)
    printed = "".join(stream.feed(piece) for piece in pieces) + stream.finish()
    whole = LineStream(10, "", color=False)
    assert printed.replace(" ", "") == (whole.feed("".join(pieces)) + whole.finish()).replace(" ", "")
    assert printed == "" or printed.endswith("\n")


def test_a_row_is_printed_when_it_is_whole_and_live_before() -> None:
    stream = LineStream(10, "", color=False)
    assert stream.feed("one two") == ""
    assert stream.live(3) == ["one two"]
    assert stream.feed(" three") == "one two\n"
    assert stream.live(3) == ["three"]
    assert stream.finish() == "three\n"
    assert stream.live(3) == []


def test_control_characters_are_made_visible() -> None:
    assert LineStream(20, "", color=False).feed("a\x1b[2Jb\n") == "a␛[2Jb\n"

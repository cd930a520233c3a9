from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolchat.ui.transcript import LineStream


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

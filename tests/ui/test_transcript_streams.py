from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolchat.ui.transcript import LineStream


def printed(*pieces: str) -> str:
    stream = LineStream(10, "", color=False)
    return "".join(stream.feed(piece) for piece in pieces) + stream.finish()


@given(st.lists(st.text(st.sampled_from("ab \t\n"), max_size=12), max_size=20))
def test_a_stream_is_printed_once_whatever_its_pieces(pieces: list[str]) -> None:
    assert printed(*pieces) == printed("".join(pieces))
    assert printed(*pieces) == "" or printed(*pieces).endswith("\n")


def test_the_blanks_that_a_full_row_ends_with_are_no_row() -> None:
    full = "a" * 10
    for blanks in ([" "], ["  "], [" ", " "], [" ", "   "]):
        assert printed(full, *blanks, "b") == f"{full}\nb\n"
        assert printed(full, *blanks, full, " ", "\n") == f"{full}\n{full}\n"
        assert printed(full, *blanks, "\n", " b\n") == f"{full}\n b\n"
        assert printed(full, *blanks, "\n", "\n", "b") == f"{full}\n\nb\n"


def test_a_line_of_blanks_alone_is_one_empty_row_however_long() -> None:
    stream = LineStream(10, "", color=False)
    assert stream.feed(" " * 8) + stream.feed(" " * 8) == ""
    assert stream.live(3) == []
    assert stream.feed("\na") == "\n"
    assert printed("a\n", " " * 20) == "a\n"


def test_a_tab_goes_to_the_next_stop_of_its_line() -> None:
    assert printed("a", "\tb") == printed("a\tb") == "a   b\n"
    assert printed("a" * 10, "bbb", "\tc") == f"{'a' * 10}\nbbb   c\n"


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

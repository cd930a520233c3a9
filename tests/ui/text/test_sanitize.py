from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchat.ui.text.sanitize import StreamSanitizer, sanitize, sanitize_line, stand_ins


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("\x9b31m", "<U+009B>31m"),
        ("abc\u202egpj.exe", "abc<U+202E>gpj.exe"),
        ("zero\u200bwidth", "zero<U+200B>width"),
        ("a\rb", "a␍b"),
        ("a\r\nb", "a\nb"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\ud800", "\ufffd"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),
        ("👩‍💻 naïve 日本", "👩‍💻 naïve 日本"),
        ("\x00\x7f", "␀␡"),
    ],
)
def test_controls_become_visible(text: str, shown: str) -> None:
    assert sanitize(text) == shown


@given(st.text(alphabet=st.characters()))
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    for character in sanitize(text):
        assert character in "\n\t\u200d" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"


def test_a_line_stays_one() -> None:
    assert sanitize_line("a\nb\tc") == "a⏎b c"


HIDDEN = [0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x2060, 0x2070), 0x3164, 0xFFA0]
HIDDEN += [*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)]


def test_every_character_that_is_not_seen_is_made_visible() -> None:
    unseen = [
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co")
    ]
    left = {character for character in [*unseen, *map(chr, HIDDEN)] if stand_ins(character) == character}
    assert left == {"\t", "\n"}
    assert sanitize("bob\U000e0155\u3164") == "bob<U+E0155><U+3164>"


EMOJI = ["👩‍💻", "👨‍👩‍👧‍👦", "❤️", "☑️", "🏳️‍🌈", "🏴‍☠️", "👍🏽", "👩🏾‍🚒", "1️⃣", "#️⃣", "⛓️‍💥", "☎︎", "🙂‍↔️", "🇫🇷"]


@pytest.mark.parametrize("emoji", EMOJI)
def test_a_well_formed_emoji_stays(emoji: str) -> None:
    assert sanitize(emoji) == emoji
    assert sanitize(f"a{emoji}b {emoji}{emoji}") == f"a{emoji}b {emoji}{emoji}"
    assert stand_ins(emoji) == emoji


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u200db", "a<U+200D>b"),
        ("notes\u200d.txt", "notes<U+200D>.txt"),
        ("notes\ufe0f.txt", "notes<U+FE0F>.txt"),
        ("5\ufe0f", "5<U+FE0F>"),
        ("👍\u200d", "👍<U+200D>"),
        ("👍\u200da", "👍<U+200D>a"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f<U+FE0F>"),
        ("\u200d👍", "<U+200D>👍"),
        ("क्\u200dष", "क्<U+200D>ष"),
        ("👍\ufe00", "👍<U+FE00>"),
    ],
)
def test_a_joiner_or_selector_outside_an_emoji_is_made_visible(text: str, shown: str) -> None:
    assert sanitize(text) == shown
    assert len(stand_ins(text)) == len(text)


@given(
    st.text(st.sampled_from("a5#\r\n👍👩💻❤\u200d\ufe0f\u20e3🏽\x1b"), max_size=30),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_pieces_are_sanitised_like_the_whole(text: str, cuts: list[int]) -> None:
    stream = StreamSanitizer()
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(edges)]
    assert "".join(map(stream.feed, pieces)) + stream.finish() == sanitize(text)


def test_text_is_not_held_back() -> None:
    stream = StreamSanitizer()
    assert stream.feed("it is 5") == "it is 5"
    assert stream.feed("❤") == "❤"
    assert stream.feed("\ufe0f and") == "\ufe0f and"

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchat.ui.text.sanitize import is_suspect, sanitize, sanitize_line


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
HIDDEN += [*range(0xFE00, 0xFE0E), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)]


def test_every_character_that_is_not_seen_is_made_visible() -> None:
    unseen = [
        chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co")
    ]
    left = {character for character in [*unseen, *map(chr, HIDDEN)] if not is_suspect(character)}
    assert left == {"\t", "\n", "\u200d"}
    assert sanitize("bob\U000e0155\u3164") == "bob<U+E0155><U+3164>"

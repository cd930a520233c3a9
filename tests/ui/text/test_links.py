from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchat.ui.markdown.stream import MarkdownStream
from toolchat.ui.text.links import LONGEST, addresses, linked, takes_links

OPEN, CLOSE = "\x1b]8;;", "\x1b]8;;\x1b\\"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://a.org/b?c=d#e.", ["https://a.org/b?c=d#e"]),
        ("(https://a.org/x_(y))", ["https://a.org/x_(y)"]),
        ("<https://a.org>, http://b.org/!", ["https://a.org", "http://b.org/"]),
        ("https:// and file:///etc/passwd and javascript:alert(1)", []),
        ('"https://a.org/ü"', ["https://a.org/ü"]),
        ("xhttps://a.org", []),
    ],
)
def test_addresses_are_found_without_what_follows_them(text: str, found: list[str]) -> None:
    assert [text[begin:end] for begin, end in addresses(text)] == found


@given(st.text())
def test_whatever_an_address_holds_ends_no_sequence(text: str) -> None:
    made = linked(text, "shown")
    inside = re.fullmatch(r"\x1b\]8;;([\x21-\x7e]*)\x1b\\shown\x1b\]8;;\x1b\\", made)
    assert inside is not None or made == "shown"


def test_an_address_that_is_too_long_is_only_shown() -> None:
    assert linked("https://" + "a" * LONGEST, "x") == "x"


def rendered(text: str, width: int = 40, **options: bool) -> str:
    stream = MarkdownStream(width, **options)
    return stream.feed(text) + stream.finish()


def test_an_answers_addresses_are_links_to_what_they_read() -> None:
    answer = "See [the docs](https://a.org/b) and https://c.org.\n"
    seen = rendered(answer, 80, links=True)
    assert f"{OPEN}https://a.org/b\x1b\\" in seen
    assert f"{OPEN}https://c.org\x1b\\https://c.org{CLOSE}." in seen
    without = re.compile(r"\x1b\]8;;[^\x1b]*\x1b\\|\x1b\[[\d;]*m")
    assert without.sub("", seen) == without.sub("", rendered(answer, 80))


def test_a_long_address_is_one_link_on_one_row_however_narrow_the_terminal() -> None:
    address = "https://example.org/" + "path/" * 30
    seen = rendered(f"It is at {address} there.\n", links=True)
    assert f"{address}\x1b\\{address}{CLOSE}" in seen


def test_rows_that_are_drawn_have_no_links() -> None:
    stream = MarkdownStream(40, links=True)
    stream.feed("at https://a.org")
    assert all("\x1b]8" not in row for row in stream.live(5))


@pytest.mark.parametrize(
    ("environment", "takes"),
    [
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7200"}, True),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4200"}, False),
        ({"TERM": "tmux-256color"}, True),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, True),
        ({"TERM": "screen", "STY": "1.x", "VTE_VERSION": "7200"}, False),
        ({"TERM": "xterm-256color", "FORCE_HYPERLINK": "1"}, True),
        ({"TERM": "xterm-kitty", "FORCE_HYPERLINK": "0"}, False),
    ],
)
def test_links_are_for_terminals_that_are_known_to_take_them(environment: dict[str, str], takes: bool) -> None:
    assert takes_links(environment) is takes

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchat.ui.markdown.stream import MarkdownStream
from toolchat.ui.text.cells import width_of as cells

SGR = re.compile(r"\x1b\[[0-9;]*m")
FRAGMENTS = ["# ", "## h", "\n", "\n\n", "- a", "1. x", "  ", "    ", "> ", "```", "```python\n", "~~~", "**", "*", "_"]
FRAGMENTS += [
    "`",
    "[",
    "](http://e.x)",
    "]",
    "word ",
    "日本語",
    "👩\u200d💻",
    "⚠️",
    "e\u0301",
    "\t",
    "\r",
    "\r\n",
    "\x1b[31m",
]
FRAGMENTS += ["\u202e", "&#x1b;", "&#10;", "\\", "---\n", "===\n", "<br>", "def f():\n", "/* a", "*/", "'''", "\ud800"]
FRAGMENTS += ["\u200d", "🇩🇪", "!", "|", "| a | b |\n|---|---|\n", "x" * 150, "é" * 50, " " * 130, "|" * 30]
HOSTILE = st.lists(st.sampled_from(FRAGMENTS)).map("".join)
TEXTS = st.one_of(HOSTILE, st.text(alphabet=st.characters()))
WIDTHS = st.sampled_from([4, 10, 20, 40, 80, 200])


def whole(text: str, width: int, color: bool) -> str:
    stream = MarkdownStream(width, color=color, attributes=color)
    return stream.feed(text) + stream.finish()


@settings(deadline=None)
@given(TEXTS, WIDTHS, st.booleans(), st.data())
def test_the_pieces_in_which_text_comes_change_nothing(text: str, width: int, color: bool, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=40).map(sorted))
    stream = MarkdownStream(width, color=color, attributes=color)
    printed = ""
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        printed += stream.feed(text[begin:end])
        stream.live(8)
    assert printed + stream.finish() == whole(text, width, color)


@settings(deadline=None)
@given(TEXTS, WIDTHS, st.booleans())
def test_one_character_at_a_time_is_the_same_as_all_at_once(text: str, width: int, color: bool) -> None:
    stream = MarkdownStream(width, color=color, attributes=color)
    printed = "".join([stream.feed(character) for character in text])
    assert printed + stream.finish() == whole(text, width, color)


@settings(deadline=None)
@given(TEXTS, WIDTHS, st.booleans(), st.integers(0, 12), st.integers(1, 30))
def test_no_live_row_is_too_wide_and_none_too_many(text: str, width: int, color: bool, rows: int, step: int) -> None:
    stream = MarkdownStream(width, color=color, attributes=color)
    for at in range(0, len(text), step):
        stream.feed(text[at : at + step])
        live = stream.live(rows)
        assert len(live) <= rows
        for row in live:
            assert cells(SGR.sub("", row)) <= width
            assert not set(SGR.sub("", row)) & set("\n\t\r\x1b")


@settings(deadline=None)
@given(TEXTS, WIDTHS)
def test_nothing_but_styles_is_sent_to_the_terminal(text: str, width: int) -> None:
    printed = SGR.sub("", whole(text, width, True))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", printed)
    assert "\x1b" not in whole(text, width, False)
    assert printed == "" or printed.endswith("\n")


WORD = st.text("abcdefgh", min_size=1, max_size=12)
PHRASE = st.lists(
    st.one_of(
        WORD,
        WORD.map("**{}**".format),
        WORD.map("*{}*".format),
        WORD.map("`{}`".format),
        WORD.map("~~{}~~".format),
        st.tuples(WORD, WORD).map(lambda pair: f"[{pair[0]}](http://{pair[1]})"),
    ),
    min_size=1,
    max_size=40,
).map(" ".join)
SHORT = st.lists(WORD, min_size=1, max_size=4).map(" ".join)


def listed(items: list[str]) -> str:
    return "\n".join(f"{'  ' * min(number % 4, 2)}- {item}" for number, item in enumerate(items))


def tabled(rows: list[tuple[str, str]]) -> str:
    (one, two), *body = rows
    return "\n".join([f"| {one} | {two} |", "|---|--:|", *(f"| {left} | {right} |" for left, right in body)])


BLOCK = st.one_of(
    PHRASE,
    st.lists(PHRASE, min_size=2, max_size=4).map("\n".join),
    SHORT.map("## {}".format),
    st.lists(PHRASE, min_size=1, max_size=6).map(listed),
    st.lists(PHRASE, min_size=1, max_size=3).map(lambda rows: "\n".join(f"> {row}" for row in rows)),
    st.lists(SHORT, min_size=1, max_size=6).map(lambda rows: "\n".join(["```", *rows, "```"])),
    # Cells of one short word: a cell that is broken over rows does not read in the order of the source.
    st.lists(st.tuples(WORD, WORD), min_size=1, max_size=50).map(tabled),
)


@pytest.mark.long
@settings(deadline=None)
@given(st.lists(BLOCK, min_size=1, max_size=6).map("\n\n".join), st.sampled_from([40, 80, 200]), st.booleans())
def test_every_word_is_printed_once_and_in_order(source: str, width: int, color: bool) -> None:
    printed = SGR.sub("", whole(source, width, color))
    assert "".join(re.findall("[a-h]+", printed.replace("http", ""))) == "".join(
        re.findall("[a-h]+", source.replace("http", ""))
    )

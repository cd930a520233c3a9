from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.processors import Transformation, TransformationInput

from toolchat.ui.input import LONGEST_LINE, LongLine
from toolchat.ui.text.cells import width_of


def shown(text: str, cursor: int, row: int = 0) -> tuple[str, Transformation]:
    document = Document(text, cursor)
    line = document.lines[row]
    given_ = TransformationInput(
        BufferControl(Buffer()), document, row, lambda index: index, [("", line)], 80, 12, lambda _: [("", line)]
    )
    made = LongLine().apply_transformation(given_)
    return "".join(fragment[1] for fragment in made.fragments), made


def test_a_line_that_is_not_long_is_shown_whole() -> None:
    text = "word " * (LONGEST_LINE // 5)
    assert shown(text, 7)[0] == text


@given(st.integers(LONGEST_LINE + 1, 50_000), st.data())
def test_of_a_long_line_the_part_around_the_cursor_is_shown(length: int, data: st.DataObject) -> None:
    text = "".join(chr(ord("a") + index % 26) for index in range(length))
    cursor = data.draw(st.integers(0, length))
    seen, made = shown(text, cursor)
    assert len(seen) < LONGEST_LINE + 80
    at = made.source_to_display(cursor)
    assert seen[at : at + 1] in (text[cursor : cursor + 1], " ")
    assert made.display_to_source(at) == cursor
    # What is left out is told on either side.
    left = [int(word.replace(",", "")) for word in seen.split() if word.replace(",", "").isdigit()]
    assert sum(left) == length - LONGEST_LINE


KINDS = {
    "words": "word ",
    "one word": "x",
    "tabs": "\t",
    "wide characters": "日本語",
    "joined emoji": "👩‍👩‍👧",
    "combining marks": "e\u0301",
    "escape sequences": "\x1b[31m",
    "right to left": "\u202eאבג ",
    "backslashes": "\\",
    "base64": "QUJD",
}


@pytest.mark.parametrize("piece", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("at", [0, 50_000, 100_000])
def test_of_100_kb_of_any_kind_no_more_is_laid_out_than_of_words(piece: str, at: int) -> None:
    text = (piece * (100_000 // len(piece) + 1))[:100_000]
    seen, made = shown(text, at)
    assert len(seen) < LONGEST_LINE + 80
    assert width_of(seen.expandtabs(4)) < 2 * LONGEST_LINE + 80
    assert seen[made.source_to_display(at) - (at == 100_000)] == text[at - (at == 100_000)].replace("\t", " ")


def test_the_part_does_not_move_with_each_key() -> None:
    text = "x" * 20_000
    assert len({shown(text, 10_000 + key)[1].source_to_display(9_000) for key in range(50)}) <= 2


def test_another_long_line_shows_its_beginning() -> None:
    seen, _ = shown("a\n" + "b" * 9_000, 0, row=1)
    assert seen.startswith("bbb")
    assert seen.endswith(f"{9_000 - LONGEST_LINE:,} characters …")

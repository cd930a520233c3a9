from __future__ import annotations

import pytest
from prompt_toolkit.data_structures import Point
from prompt_toolkit.layout.screen import Char, Screen
from prompt_toolkit.utils import get_cwidth

from toolchat.ui.frame import became_narrower, reflows, rows_more


def drawn(*rows: str) -> Screen:
    screen = Screen()
    screen.height = len(rows)
    for y, row in enumerate(rows):
        x = 0
        for character in row:
            screen.data_buffer[y][x] = Char(character)
            x += get_cwidth(character)
            if get_cwidth(character) == 2:
                screen.data_buffer[y][x - 1] = Char("")
    return screen


@pytest.mark.parametrize(
    ("rows", "cursor", "columns", "more"),
    [
        (["x" * 20, "y"], Point(0, 1), 20, 0),
        (["x" * 21, "y"], Point(0, 1), 20, 1),
        (["x" * 41, "x" * 40, "y"], Point(0, 2), 20, 3),
        (["y", "x" * 60], Point(0, 0), 20, 0),
        (["x" * 60], Point(25, 0), 20, 1),
        (["x" * 40 + " " * 20], Point(0, 0), 20, 0),
    ],
    ids=["it fits", "a cell too many", "two rows", "below the cursor", "the cursor's own row", "blanks at the end"],
)
def test_rows_grow_by_the_cells_that_are_seen(rows: list[str], cursor: Point, columns: int, more: int) -> None:
    assert rows_more(drawn(*rows), cursor, columns) == more


@pytest.mark.parametrize("x", [20, 25, 70])
def test_a_cursor_behind_the_last_cell_stays_with_it_so_that_no_printed_row_is_erased(x: int) -> None:
    assert rows_more(drawn("x" * 20 + " " * 50), Point(x, 0), 20) == 0


def test_a_wide_character_goes_to_the_next_row_whole() -> None:
    # 20 cells, but the first row of 10 ends with a blank: half a character does not fit.
    assert rows_more(drawn("a" + "日" * 9 + "b", "y"), Point(0, 1), 10) == 2
    assert rows_more(drawn("x" * 9 + "日", "y"), Point(0, 1), 10) == 1
    assert rows_more(drawn("日" * 10, "y"), Point(0, 1), 10) == 1


def test_a_row_that_lost_its_end_is_noticed() -> None:
    before = drawn("one", "two words", "three")
    assert not became_narrower(before, drawn("one more", "two wards", "three"))
    assert not became_narrower(before, drawn("one"))
    assert became_narrower(before, drawn("one", "two", "three and more"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"TERM": "xterm"}, False),
        ({"TMUX": "/tmp/x,1,0"}, True),
        ({"TERM": "tmux-256color"}, True),
        ({"VTE_VERSION": "7600"}, True),
        ({"TERM_PROGRAM": "iTerm.app"}, True),
    ],
)
def test_which_terminals_wrap_anew(environment: dict[str, str], expected: bool) -> None:
    assert reflows(environment) == expected

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from approval_calls import WRITE
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from toolchat.tools.toolbox import Privileges
from toolchat.ui.approval_text import KEEPS, call_rows, editable, parse_arguments
from toolchat.ui.text.sanitize import sanitize
from toolchat.ui.text.styles import ROLES
from toolchat.ui.text.wrapping import hanging

texts = st.text(st.characters(codec=None), max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
arguments = st.dictionaries(texts, values, max_size=5)


def shown(width: int = 80, **arguments: Any) -> list[str]:
    """The rows of the arguments, without the first and the last, which are toolchat's own."""
    return [row for style, row in call_rows(WRITE, arguments, width) if style == "text"]


@given(arguments, st.integers(20, 200))
def test_every_row_is_safe_and_fits(arguments: dict[str, Any], width: int) -> None:
    for style, row in call_rows(WRITE, arguments, width):
        assert style in ROLES
        assert cell_len(row) <= width
        assert sanitize(row) == row
        assert not {"\n", "\t", "\r"} & set(row)
        assert not any(unicodedata.category(character) == "Cc" for character in row)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=3000), st.integers(20, 90))
def test_a_text_of_any_length_is_shown_whole(text: str, width: int) -> None:
    first, *rest = [row.lstrip() for row in shown(width, text=text)]
    assert all(row.startswith("┊ ") for row in rest)
    assert first + "".join(row.removeprefix("┊ ") for row in rest) == f"text: {json.dumps(text)}"


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80), min_size=2, max_size=20))
@example(["x" * 100, "y " * 40, ""])
def test_the_lines_of_a_text_can_be_told_from_the_screens(lines: list[str]) -> None:
    head, *rows = shown(40, text="\n".join(lines))
    assert head == "  text:"
    read: list[str] = []
    for row in rows:
        mark, piece = row[:6], row[6:]
        assert mark in ("    │ ", "    ┊ ")
        if mark == "    │ ":
            read.append(piece)
        else:
            read[-1] += piece
    assert read == lines


@pytest.mark.parametrize(
    ("value", "row"),
    [
        ("\x1b[2J\x1b]0;title\x07", r'  v: "\u001b[2J\u001b]0;title\u0007"'),
        ("\x7f\x9b31m", '  v: "␡<U+009B>31m"'),
        ("a\u202egnp.exe\u200b", '  v: "a<U+202E>gnp.exe<U+200B>"'),
        ("\ud800", '  v: "\ufffd"'),
        ("5", '  v: "5"'),
        (5, "  v: 5"),
        (True, "  v: true"),
        (None, "  v: null"),
        ([], "  v: []"),
        ({}, "  v: {}"),
        (["a", 1], '  v: ["a", 1]'),
        ({"x": [1]}, '  v: {"x": [1]}'),
        ("[bold]no markup[/bold]", '  v: "[bold]no markup[/bold]"'),
    ],
)
def test_a_value_is_shown_as_what_it_is(value: Any, row: str) -> None:
    assert shown(v=value) == [row]


def test_in_a_text_of_lines_what_a_screen_would_obey_is_visible() -> None:
    assert shown(v="a\tb\r\n\x1b[1A\n") == ["  v:", "    │ a␉b␍", "    │ ␛[1A", "    │ "]


def test_what_is_nested_is_laid_out() -> None:
    assert shown(edits=[{"old": "a\nb", "new": "c"}, "x"], **{"odd name": {"k": ["y" * 70]}}) == [
        "  edits:",
        "    -",
        "      old:",
        "        │ a",
        "        │ b",
        '      new: "c"',
        '    - "x"',
        '  "odd name":',
        f'    k: ["{"y" * 67}',
        '      ┊ yyy"]',
    ]


def test_however_deep_it_is_nested_there_is_room_for_text() -> None:
    value: Any = "a\nb" * 20
    for _ in range(30):
        value = [value]
    rows = shown(40, v=value)
    assert all(cell_len(row) <= 40 for row in rows)
    assert len(rows) < 120


def test_a_call_without_arguments_says_so() -> None:
    rows = call_rows(WRITE, {}, 80)
    assert [row for _, row in rows] == [
        "The model asks to run write_file:",
        "  (no arguments)",
        "It is ./notes.py:write_file.",
    ]


def test_a_tool_that_keeps_its_privileges_is_marked_in_the_question() -> None:
    keeping = replace(WRITE, options=replace(WRITE.options, privileges=Privileges.KEEP))
    assert call_rows(keeping, {}, 200)[:-1] == call_rows(WRITE, {}, 200)
    assert call_rows(keeping, {}, 200)[-1] == ("error", KEEPS)


@given(arguments)
def test_what_is_edited_begins_as_it_was_and_hides_nothing(arguments: dict[str, Any]) -> None:
    text = editable(arguments)
    assert parse_arguments(text) == arguments
    assert sanitize(text) == text


def test_what_can_be_read_is_not_escaped() -> None:
    assert "日本語 ü" in editable({"v": "日本語 ü"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": }', "line 1, column 7: Expecting value"),
        ('{\n"a": 1,}', "line 2"),
        ("[1]", "expected an object"),
        ('{"a": Infinity}', "Infinity is not JSON"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        (f'{{"a": {"[" * 100}1{"]" * 100}}}', "nested deeper than 100 levels"),
    ],
)
def test_what_is_wrong_with_edited_text_is_said_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        parse_arguments(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("width", [40, 80])
def test_of_a_long_argument_it_is_said_how_many_rows_it_has(width: int) -> None:
    for value in ("x" * 2000, "line\n" * 30, ["y" * 70] * 20):
        rows = call_rows(WRITE, {"short": "x", "long": value, "last": 1}, width)
        told = [row for style, row in rows if style == "dim" and row.startswith("The next argument has ")]
        number = len([row for style, row in rows if style == "text"]) - 2
        assert told == [f"The next argument has {number} rows:"]
        at = rows.index(("dim", told[0]))
        assert rows[at + 1][1].startswith("  long:")
        assert rows[at + 1 + number][1] == "  last: 1"


def test_a_short_argument_is_not_counted() -> None:
    assert not [row for _, row in call_rows(WRITE, {"v": "line\n" * 8}, 80) if "rows" in row]


@pytest.mark.parametrize("width", [8, 12, 40, 80])
def test_folded_text_breaks_between_words_and_leaves_no_character_out(width: int) -> None:
    text = "/srv/a folder/tools.yaml is a tools file; 界界界 " + "x" * 50
    first, *rest = hanging(text, width)
    assert all(cell_len(row) <= width for row in (first, *rest))
    assert all(row.lstrip(" ").startswith("┊ ") for row in rest)
    whole = first + "".join(row.partition("┊ ")[2] for row in rest)
    assert whole.replace(" ", "") == text.replace(" ", "")


def test_folded_words_stay_whole_where_they_fit() -> None:
    text = "the first words, and the second words"
    assert hanging(text, 20 + len("  ┊ ")) == ["the first words, and", "  ┊ the second words"]


@pytest.mark.parametrize(
    ("word", "note"),
    [
        ("pаypal", "pаypal mixes Latin and Cyrillic: а is U+0430"),
        ("аdmin", "аdmin mixes Cyrillic and Latin: а is U+0430"),
        ("gооgle", "gооgle mixes Latin and Cyrillic: о is U+043E"),
        ("αdmin", "αdmin mixes Greek and Latin: α is U+03B1"),
        ("ѕсоре1x", "ѕсоре1x mixes Cyrillic and Latin: x is U+0078"),
        ("admіn/usеr", "admіn mixes Latin and Cyrillic: і is U+0456"),
        ("ａbc", "ａbc mixes Fullwidth and Latin: ａ is U+FF41"),
        ("𝐚bc", "𝐚bc mixes Mathematical and Latin: 𝐚 is U+1D41A"),
    ],
)
def test_a_word_of_several_scripts_is_marked(word: str, note: str) -> None:
    assert f"Mind the letters: {note}." in whole({"text": f"go to {word} now"})
    assert "Mind the letters" in whole({"text": [{word: 1}]})


@pytest.mark.parametrize(
    "text", ["Привет, world", "iPhoneは日本語OK", "naïve café", "5 µm", "снимок_a1", "한글abc", "x² + y"]
)
def test_words_as_people_write_them_are_not_marked(text: str) -> None:
    assert "Mind" not in whole({"text": text})


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (f"ls{' ' * 90}; rm -r x", "Mind the blanks: 90 in a row."),
        (f"{' ' * 50}rm", "Mind the blanks: 50 in a row."),
        ("a  \nb", "Mind the blanks: 2 in a row."),
        (f"a{' ' * 8}b{' ' * 30}c", "Mind the blanks: runs of 8, 30."),
        ("a" + "　" * 6 + "b", "Mind the blanks: 6 in a row."),
    ],
)
def test_runs_of_blanks_are_counted(text: str, note: str) -> None:
    assert note in whole({"text": text})


@pytest.mark.parametrize("text", ["a b", "def f():\n        return 1", "a  b", "a\n\nb"])
def test_blanks_as_people_write_them_are_not_counted(text: str) -> None:
    assert "Mind" not in whole({"text": text})


@pytest.mark.parametrize("blank", "\u00a0\u2003\u202f\u1680\u205f")
def test_a_blank_that_is_another_one_is_visible(blank: str) -> None:
    assert f"<U+{ord(blank):04X}>" in whole({"text": f"a{blank}b"})


def whole(arguments: dict[str, Any]) -> str:
    return "\n".join(row for _, row in call_rows(WRITE, arguments, 120))

from __future__ import annotations

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.processors import Transformation, TransformationInput

from toolchat.ui.input_history import FoldedHistory
from toolchat.ui.pastes import FOLD_CHARACTERS, FOLD_LINES, PasteLabels, Pastes

LONG = "\n".join(f"row {number}" for number in range(214))


def test_a_long_paste_is_one_character_that_stands_for_all_of_it() -> None:
    pastes = Pastes()
    token = pastes.fold(LONG)
    assert len(token) == 1
    assert pastes.unfold(f"see {token}!") == f"see {LONG}!"
    assert pastes.label(token) == "[pasted 214 lines]"
    assert pastes.fold(LONG) == token
    assert pastes.label(pastes.fold("x" * FOLD_CHARACTERS)) == "[pasted 8,192 characters]"


def test_a_short_paste_stays_as_it_is() -> None:
    pastes = Pastes()
    short = "\n".join(["x"] * (FOLD_LINES - 1))
    assert pastes.fold(short) == short
    assert len(pastes.fold(short, short_too=True)) == 1


def test_a_characters_own_from_outside_stands_for_no_paste() -> None:
    pastes = Pastes()
    token = pastes.fold(LONG)
    assert pastes.fold(f"a{token}b") == "a\ufffdb"
    assert pastes.fold_known(token) == "\ufffd"
    assert Pastes().unfold(token) == "\ufffd"


def test_what_was_sent_comes_back_folded_with_its_first_line() -> None:
    pastes = Pastes()
    token = pastes.fold(LONG)
    assert pastes.fold_again(f"see {LONG} now") == f"see {token} now"
    again = Pastes().fold_again(f"explain:\n{LONG}")
    assert again[:-1] == "explain:\n"
    assert len(again) == len("explain:\n") + 1
    assert Pastes().fold_again("one\ntwo") == "one\ntwo"


def test_an_editors_text_is_folded_only_where_a_paste_is_unchanged() -> None:
    pastes = Pastes()
    token = pastes.fold(LONG)
    assert pastes.fold_known(f"new {LONG}") == f"new {token}"
    changed = LONG.replace("row 7\n", "row seven\n")
    assert pastes.fold_known(changed) == changed


def test_history_keeps_the_whole_and_shows_it_folded() -> None:
    whole = InMemoryHistory()
    pastes = Pastes()
    history = FoldedHistory(whole, pastes)
    history.append_string(f"see {pastes.fold(LONG)}")
    later = Pastes()
    (entry,) = FoldedHistory(whole, later).load_history_strings()
    assert len(entry) == len("see ") + 1
    assert later.unfold(entry) == f"see {LONG}"


def test_the_cursor_stands_behind_the_label() -> None:
    pastes = Pastes()
    text = f"ab{pastes.fold(LONG)}cd"
    seen = transformed(pastes, text)
    assert "".join(fragment[1] for fragment in seen.fragments) == "ab[pasted 214 lines]cd"
    assert [seen.source_to_display(index) for index in range(6)] == [0, 1, 2, 20, 21, 22]
    assert [seen.display_to_source(index) for index in (0, 2, 10, 19, 20, 22)] == [0, 2, 2, 2, 3, 5]


def transformed(pastes: Pastes, text: str) -> Transformation:
    buffer = Buffer(document=Document(text))
    given = TransformationInput(BufferControl(buffer), buffer.document, 0, lambda index: index, [("", text)], 80, 10)
    return PasteLabels(pastes).apply_transformation(given)

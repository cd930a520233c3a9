from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import image_file

from toolchat.session.resources import quoted
from toolchat.ui.attached import (
    MAX_TEXT,
    Text,
    as_typed,
    dropped_images,
    mentions,
    names_file_among_words,
    shown,
    with_files,
    written,
)
from toolchat.wire.errors import UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "two words.txt").write_text("two\nwords")
    (tmp_path / "cat.png").write_bytes(image_file())
    return tmp_path


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("what is @a.py about", ["a.py"]),
        ("@a.py", ["a.py"]),
        ('see @"two words.txt" and @two\\ words.txt', ["two words.txt", "two words.txt"]),
        ("mail me@example.org", []),
        ("an @ alone, @", []),
        ("(@a.py)", []),
    ],
)
def test_a_mention_is_an_at_sign_behind_a_blank_and_a_path(text: str, paths: list[str]) -> None:
    assert [mention.path for mention in mentions(text)] == paths


@given(st.text(st.characters(exclude_characters='"\n\\', exclude_categories=("C", "Z")), min_size=1).map(str.strip))
def test_a_written_mention_reads_back(path: str) -> None:
    assert [mention.path for mention in mentions(f"see {written(path)} there")] == [path]


def test_the_text_of_a_file_goes_behind_the_question_with_its_name() -> None:
    asked = with_files("explain @a.py.")
    assert asked.text == "explain @a.py.\n\na.py:\n```\nprint(1)\n```"
    assert asked.images == asked.notes == ()


def test_a_file_that_is_named_twice_goes_along_once() -> None:
    assert with_files("@a.py or @./a.py or @a.py?").text.count("print(1)") == 1


def test_an_image_goes_along_as_one_and_not_again_where_it_is_there_already() -> None:
    (image,) = with_files("what is @cat.png").images
    assert (image.media_type, image.source) == ("image/png", "cat.png")
    assert with_files("what is @cat.png", (image,)).images == (image,)


def test_what_names_no_file_stays_a_word_and_a_path_is_told() -> None:
    assert with_files("@dataclass and @pytest.fixture").notes == ()
    asked = with_files("see @./b.py and @./")
    assert asked.text == "see @./b.py and @./"
    assert asked.notes == (
        "@./b.py: no such file; only the words are sent",
        "@./: a folder; name a file in it; only the words are sent",
    )


def test_only_what_was_typed_names_files() -> None:
    assert with_files("look\nat @a.py", typed="look").text == "look\nat @a.py"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe\x00", "blob: not text in UTF-8 (byte 0), nor an image; expected text or a PNG, JPEG, WebP or GIF"),
        (b"x" * (MAX_TEXT + 20), "blob: 1 MB; at most 1 MB can be sent; send a part of it"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_by_name(here: Path, content: bytes, problem: str) -> None:
    (here / "blob").write_bytes(content)
    with pytest.raises(UsageError) as refused:
        with_files("@blob")
    assert str(refused.value).startswith(problem)


def test_a_pipe_is_no_file(here: Path) -> None:
    import os

    os.mkfifo(here / "pipe")
    assert with_files("see @./pipe").notes == ("@./pipe: no such file; only the words are sent",)


def test_too_many_files_are_refused(here: Path) -> None:
    for number in range(21):
        (here / f"f{number}").write_text("x")
    with pytest.raises(UsageError, match="21 files: at most 20"):
        with_files(" ".join(f"@f{number}" for number in range(21)))


def test_a_question_is_shown_with_the_names_of_what_goes_along() -> None:
    asked = with_files("why?", texts=[Text("output of `ls`", "a\nb\n"), Text("x", "````\n\n\ny:\n```\n")])
    assert shown(asked.text) == "why?\n[output of `ls`: 2 lines]\n[x: 5 lines]"


@given(st.text("`\n:ab ", max_size=60), st.text("`\n:ab ", max_size=60))
def test_whatever_a_text_holds_it_is_shown_as_a_row(question: str, text: str) -> None:
    block = quoted("name", text)
    rows = shown(f"ask\n\n{block}").split("\n")
    assert rows[0] == "ask"
    assert rows[1].startswith("[name: ")
    assert len(rows) == 2


def test_a_question_is_typed_again_without_the_files_that_it_names(here: Path) -> None:
    asked = with_files("explain @a.py and @cat.png", texts=[Text("output of `ls`", "a")])
    assert as_typed(asked.text) == "explain @a.py and @cat.png\n\noutput of `ls`:\n```\na\n```"
    again = with_files(as_typed(asked.text), asked.images)
    assert (again.text.count("print(1)"), len(again.images)) == (1, 1)
    (here / "a.py").unlink()
    assert as_typed(asked.text) == asked.text
    assert as_typed("x:\n```\na\n```") == "x:\n```\na\n```"


def test_a_long_question_is_shown_by_its_beginning() -> None:
    rows = shown("\n".join(map(str, range(100)))).split("\n")
    assert rows == [*map(str, range(15)), "[… 85 more lines]"]
    assert shown("a\nb") == "a\nb"


def test_fences_that_never_end_take_no_long_time() -> None:
    begun = time.process_time()
    shown("x:\n```\n\n" * 20_000)
    shown("".join(f"\n\nx:\n{'`' * (3 + number % 50)}\n" for number in range(20_000)))
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("form", ["{0}", "'{0}'", "file://{0}", " {0}\n", "{1} {0}"])
def test_a_paste_of_nothing_but_images_is_one_of_dropped_files(here: Path, form: str) -> None:
    (here / "it s.jpg").write_bytes(image_file())
    spaced = str(here / "it s.jpg").replace(" ", "\\ ")
    found = dropped_images(form.format(here / "cat.png", spaced))
    assert found is not None
    assert found[-1] == str(here / "cat.png")
    assert len(found) == form.count("{")


@pytest.mark.parametrize("form", ["see {0}", "cat.png", "{0}x", "{1}", "file://elsewhere{0}", "{0}\n{0}", ""])
def test_any_other_paste_stays_what_it_is(here: Path, form: str) -> None:
    (here / "fake.png").write_text("no image")
    assert dropped_images(form.format(here / "cat.png", here / "fake.png")) is None


def test_words_that_name_a_file_are_told_from_a_mention_alone() -> None:
    assert names_file_among_words("run this, then send @a.py to me")
    assert not names_file_among_words("@a.py")
    assert not names_file_among_words("@app.route is a decorator")

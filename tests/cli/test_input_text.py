from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

from toolchat.cli.input_text import read_question
from toolchat.wire.errors import UsageError


def _question(given: str | None) -> str:
    return read_question(given, (), read_stdin=True, note=lambda _: None).text


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Makes bytes this process's standard input, as a pipe that has been closed after them."""
    with contextlib.ExitStack() as opened:

        def pipe(content: bytes) -> None:
            read, write = os.pipe()
            os.write(write, content)
            os.close(write)
            monkeypatch.setattr("sys.stdin", opened.enter_context(os.fdopen(read, encoding="ascii")))

        yield pipe


@pytest.mark.parametrize(
    ("given", "content", "question"),
    [
        ("What is it?", b"", "What is it?"),
        (None, b"17 * 24?\n", "17 * 24?"),
        ("What is it?", b"a\n b\n", "What is it?\n\na\n b"),
        ("What is it?", b" \n", "What is it?"),
        ("", "größer\n".encode(), "größer"),
        ("", "größer\n".encode("utf-8-sig"), "größer"),
        ("What is it?", b"\xef\xbb\xbf a\n", "What is it?\n\na"),
        ("What is it?", b"\xef\xbb\xbf\r\n", "What is it?"),
        ("\ufeffWhat is it?", b"", "What is it?"),
        (None, b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", "one\ntwo"),
        (None, "a\ufeffb".encode("utf-8-sig"), "a\ufeffb"),
    ],
)
def test_standard_input_is_added_to_the_question_or_is_it(
    piped: Callable[[bytes], None], given: str | None, content: bytes, question: str
) -> None:
    piped(content)
    assert _question(given) == question


def test_neither_is_an_error(piped: Callable[[bytes], None]) -> None:
    piped(b"\n")
    with pytest.raises(UsageError, match="no question"):
        _question(" ")


@pytest.mark.parametrize(
    "content",
    ["größer".encode("utf-16"), "größer".encode("latin-1"), b"\xef\xbb", "größer".encode("utf-32-be") + b"\xff"],
)
def test_text_in_another_encoding_is_said_to_be_that(piped: Callable[[bytes], None], content: bytes) -> None:
    piped(content)
    with pytest.raises(UsageError, match="standard input is not text in UTF-8"):
        _question(None)


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\xef\xbb\xbf \n"])
def test_a_mark_alone_is_no_question(piped: Callable[[bytes], None], content: bytes) -> None:
    piped(content)
    with pytest.raises(UsageError, match="no question"):
        _question("\ufeff")


def test_without_any_standard_input_the_question_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert _question("What is it?") == "What is it?"

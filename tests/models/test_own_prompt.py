from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest

from toolchat.models.card import MAX_SYSTEM_PROMPT, OwnPrompt, own_prompt

NAME = "mistralai/Magistral-Small-2509"
TODAY = date(2026, 3, 1)


def written(folder: Path, content: bytes) -> Path:
    (folder / "SYSTEM_PROMPT.txt").write_bytes(content)
    return folder


def test_the_placeholders_are_filled_and_other_braces_stay(tmp_path: Path) -> None:
    content = (
        b'You are {name}. Today is {today}, yesterday was {yesterday}. {{name}} {other} {} { "a": {"b": 1} } {Name}'
    )
    found = own_prompt(written(tmp_path, content), NAME, TODAY)
    assert found.text == (
        "You are Magistral-Small-2509. Today is 2026-03-01, yesterday was 2026-02-28. "
        '{Magistral-Small-2509} {other} {} { "a": {"b": 1} } {Name}'
    )


def test_what_a_placeholder_is_filled_with_is_not_filled_again(tmp_path: Path) -> None:
    assert own_prompt(written(tmp_path, b"{name}"), "me/{today}", TODAY).text == "{today}"


@pytest.mark.parametrize("model", ["./mine", "~/models/mine/", "."])
def test_a_folder_gives_its_own_name(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert own_prompt(written(folder, b"{name}"), model, TODAY).text == "mine"


@pytest.mark.parametrize("content", ["\ufeffGrüße.\r\nBye.".encode(), "Grüße.\nBye.".encode()])
def test_the_file_is_utf_8_with_or_without_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    assert own_prompt(written(tmp_path, content), NAME, TODAY).text == "Grüße.\nBye."


def test_it_is_said_which_model_brings_it_and_how_to_leave_it_out(tmp_path: Path) -> None:
    notice = own_prompt(written(tmp_path, b"Be brief."), NAME, TODAY).notice
    assert notice == f"{NAME} comes with a system prompt (9 characters), which is used; --no-system leaves it out"


@pytest.mark.parametrize("content", [None, b"", b" \n"])
def test_without_a_prompt_there_is_nothing_to_say(tmp_path: Path, content: bytes | None) -> None:
    folder = tmp_path if content is None else written(tmp_path, content)
    assert own_prompt(folder, NAME, TODAY) == OwnPrompt()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"caf\xe9", "is not text in UTF-8 (byte 3)"),
        (b"a" * (MAX_SYSTEM_PROMPT + 1), "is larger than"),
    ],
)
def test_a_file_that_is_no_prompt_is_left_out_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    found = own_prompt(written(tmp_path, content), NAME, TODAY)
    assert found.text is None
    assert f"{tmp_path / 'SYSTEM_PROMPT.txt'} {why}" in found.notice


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "SYSTEM_PROMPT.txt")
    found = own_prompt(tmp_path, NAME, TODAY)
    assert found.text is None
    assert "expected a file" in found.notice

"""What a server returned, written as text: how much of it is kept as files, in a folder of its own."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from toolchat.tools.mcp.results import MAX_FILES, Writer


def audio(number: int) -> dict[str, str]:
    return {"type": "audio", "mimeType": "audio/wav", "data": base64.b64encode(b"%d" % number).decode()}


def test_a_result_is_kept_in_so_many_files_and_the_others_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    written = Writer(folder).result({"content": [audio(number) for number in range(MAX_FILES + 3)]})
    lines = written.text.splitlines()
    assert len(list(folder.iterdir())) == MAX_FILES
    assert [line for line in lines if "kept in" in line] == lines[:MAX_FILES]
    assert lines[MAX_FILES:] == [f"[audio (audio/wav), more than the {MAX_FILES} files that a result may have]"] * 3
    assert f"{folder}" in Writer(folder).result({"content": [audio(-1)]}).text  # the next result has its own


def test_what_cannot_be_kept_leaves_nothing_and_counts(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    Writer(folder).result({"content": [audio(12)]})
    (kept,) = folder.iterdir()
    kept.unlink()
    kept.mkdir()
    written = Writer(folder).result({"content": [audio(12)] * (MAX_FILES + 1)})
    *lines, last = written.text.splitlines()
    assert lines == ["[audio (audio/wav, 2 bytes), which could not be kept: Is a directory]"] * MAX_FILES
    assert "more than the" in last
    assert list(folder.iterdir()) == [kept]


def test_files_of_long_ago_are_gone_after_the_next_result_with_one(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    writer = Writer(folder)
    writer.result({"content": [audio(1), audio(2)]})
    old, new = sorted(folder.iterdir())
    os.utime(old, (0, 0))
    writer.result({"content": [audio(3)]})
    assert len(list(folder.iterdir())) == 2
    assert not old.exists()
    assert new.exists()
    assert writer.resources({"contents": None}) == ""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from toolchat.ui import input_history
from toolchat.ui.input_history import PrivateHistory


def entries(path: Path) -> list[str]:
    """As a new program would see them, oldest first."""
    return list(PrivateHistory(path).load_history_strings())[::-1]


@pytest.mark.parametrize("text", ["one", "two\nrows", "\n", "+plus", "a\n\nb", " # no comment", "日本 🚀", "tail\n"])
def test_what_goes_in_comes_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state" / "history"
    made = PrivateHistory(path)
    made.store_string("before")
    made.store_string(text)
    made.store_string("after")
    assert entries(path) == ["before", text, "after"]


def test_several_chats_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history"

    def write(who: int) -> None:
        mine = PrivateHistory(path)
        for number in range(50):
            mine.store_string(f"{who}-{number}\nsecond row")

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entries(path)) == sorted(f"{who}-{number}\nsecond row" for who in range(8) for number in range(50))


def test_a_file_that_has_grown_too_large_loses_its_older_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_history, "LARGEST", 1000)
    path = tmp_path / "history"
    made = PrivateHistory(path)
    for number in range(200):
        made.store_string(f"entry {number}")
    assert path.stat().st_size <= 1000
    kept = entries(path)
    assert kept == [f"entry {number}" for number in range(200 - len(kept), 200)]
    assert len(kept) > 20


def test_a_file_that_cannot_be_used_costs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.mkdir()
    made = PrivateHistory(path)
    made.store_string("lost")
    assert list(made.load_history_strings()) == []


def test_what_is_not_utf_8_is_read_as_well_as_may_be(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(b"\n+caf\xe9\n\n+fine\n")
    assert entries(path) == ["caf\ufffd", "fine"]

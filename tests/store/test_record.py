from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest
from stored import stored_rows

from toolchat.settings import NO_HOME
from toolchat.store.record import SessionRecord, new_session_id
from toolchat.store.results import KeptResults
from toolchat.wire import events
from toolchat.wire.events import Stamper
from toolchat.wire.excerpt import Excerpt
from toolchat.wire.messages import CutResult, ToolCall, ToolResult


def test_events_are_on_disk_at_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    record = SessionRecord(folder, "s1")
    stamp = Stamper("s1", lambda: 12.0)
    for body in (
        events.TextDelta("[caf\ud800é]\n"),
        events.CallStarted(ToolCall("abcdefghi", "f", {"x": 1})),
    ):
        record.append(stamp(body))
    rows = stored_rows(folder)
    assert [row["type"] for row in rows] == ["text_delta", "call_started"]
    assert [row["seq"] for row in rows] == [0, 1]
    assert rows[0]["data"]["text"] == "[caf\ud800é]\n"
    assert rows[1]["data"]["call"]["arguments"] == {"x": 1}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_disk_that_is_full_is_remembered_and_raises_nothing(tmp_path: Path) -> None:
    record = SessionRecord(tmp_path, "s1")
    stamp = Stamper("s1", lambda: 0.0)
    record.append(stamp(events.TurnStarted(), 1))
    assert record._database is not None
    (pages,) = record._database.connection.execute("PRAGMA page_count").fetchone()
    record._database.connection.execute(f"PRAGMA max_page_count = {pages}")
    record.append(stamp(events.QuestionAsked("x" * 100_000), 1))
    record.append(stamp(events.TurnStarted(), 1))
    assert "No space left on device; make room there" in record.loss
    assert len(stored_rows(tmp_path)) == 1
    assert len(record.transcript.turns) == 1
    assert record.transcript.turns[0].question == "x" * 100_000
    record.close()


def test_arguments_that_are_nested_too_deeply_cost_the_record_and_one_line(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    record = SessionRecord(tmp_path, "s1")
    record.append(Stamper("s1", lambda: 0.0)(events.CallStarted(ToolCall("abcdefghi", "f", deep))))
    assert "nested too deeply" in record.loss


def test_a_folder_that_cannot_be_made_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = SessionRecord(tmp_path / "file" / "sessions", "s1")
    record.append(Stamper("s1", lambda: 0.0)(events.TurnStarted()))
    assert record.failure is not None


def test_session_ids_differ() -> None:
    assert len({new_session_id() for _ in range(100)}) == 100


def test_a_whole_result_is_kept_in_a_private_file_named_by_its_content(tmp_path: Path) -> None:
    results = [ToolResult(one * 9, "f", "all\ud800 of it") for one in "ab"]
    kept, again = map(KeptResults(tmp_path / "f").keep, results)
    assert kept == again
    assert kept is not None
    assert kept.characters == 10
    assert Path(kept.file).read_text() == "all\\ud800 of it"
    assert Path(kept.file).name == f"{hashlib.sha256(Path(kept.file).read_bytes()).hexdigest()[:24]}.txt"
    assert stat.S_IMODE(Path(kept.file).stat().st_mode) == 0o600


def test_a_result_that_cannot_be_kept_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = KeptResults(tmp_path, lambda name: False)
    for results in (KeptResults(tmp_path / "file" / "s1"), KeptResults(None), refused):
        assert results.keep(ToolResult("abcdefghi", "f", "x")) is None
        results.add("abcdefghi", "part")
        assert results.keep(CutResult("abcdefghi", "f", "x", excerpt=Excerpt("a", "b", 9))) is None


def test_parts_are_one_file_and_what_is_said_of_it_ends_where_writing_failed(tmp_path: Path) -> None:
    results = KeptResults(tmp_path / "s1")
    cut = CutResult("abcdefghi", "f", "x", excerpt=Excerpt("on", "ee", 11))
    results.add("abcdefghi", "one ")
    results.add("abcdefghi", "two𝄞")
    (file,) = (tmp_path / "s1").iterdir()
    aside = file.rename(tmp_path / "aside")
    file.mkdir()
    results.add("abcdefghi", "three")
    file.rmdir()
    aside.rename(file)
    results.add("abcdefghi", "four")
    kept = results.keep(cut)
    assert kept is not None
    assert (Path(kept.file).read_text(), kept.characters) == ("one two𝄞", 8)
    assert cut.excerpt.text(kept).splitlines()[1] == (
        f"[… 7 of 11 characters are left out here; the first 8 are in {kept.file} …]"
    )


def test_a_second_result_under_the_same_id_does_not_grow_the_first_ones_file(tmp_path: Path) -> None:
    results = KeptResults(tmp_path)
    cut = CutResult("abcdefghi", "f", "x", excerpt=Excerpt("a", "b", 3))
    files = []
    for text in ("abc", "xyz"):
        results.add("abcdefghi", text)
        kept = results.keep(cut)
        assert kept is not None
        files.append(Path(kept.file).read_text())
    assert files == ["abc", "xyz"]


@pytest.mark.parametrize(
    ("folder", "loss"),
    [
        (
            Path("/dev/null/toolchat/sessions"),
            "and no log, typed line or grant is kept: /dev/null/toolchat: Not a directory; make that folder writable, "
            "or set XDG_STATE_HOME to one that is",
        ),
        (
            NO_HOME / "toolchat" / "sessions",
            "and no log, typed line or grant is kept: there is no home folder; set HOME, or XDG_STATE_HOME to a folder "
            "that can be written",
        ),
    ],
)
def test_what_a_missing_state_folder_costs_is_one_line_with_the_remedy(folder: Path, loss: str) -> None:
    assert SessionRecord(folder, "s1").loss == f"this session is not recorded, {loss}"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("loop", "Too many levels of symbolic links"),
        ("file", "Not a directory"),
        ("dangling", "No such file or directory"),
        ("x" * 300, "File name too long"),
        ("/proc/self/fd", "No such file or directory"),
        ("/dev/full", "Not a directory"),
    ],
)
def test_a_state_folder_of_any_unusable_kind_costs_the_record_and_one_line(
    tmp_path: Path, state: str, reason: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("/nothing/here")
    (tmp_path / "file").write_text("")
    record = SessionRecord(tmp_path / state / "toolchat" / "sessions", "s1")
    record.append(Stamper("s1", lambda: 1.0)(events.TextDelta("x")))
    assert f"{tmp_path / state / 'toolchat'}: {reason}; " in record.loss
    assert record.loss.endswith("make that folder writable, or set XDG_STATE_HOME to one that is")
    assert "\n" not in record.loss


def test_a_records_folder_that_cannot_be_had_costs_the_record_only(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("")
    loss = SessionRecord(tmp_path / "sessions", "s1").loss
    assert loss.startswith(f"this session is not recorded: {tmp_path / 'sessions'}: Not a directory; ")

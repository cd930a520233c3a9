from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from image_files import image
from stored import integrity, stored_rows

from toolchat.private_file import DistrustedError
from toolchat.store import database
from toolchat.store.database import Database, DatabaseError
from toolchat.store.record import SessionRecord, read_record
from toolchat.store.results import keep_image
from toolchat.store.sessions import SessionStore, exported_lines, open_session_of, stored_sessions
from toolchat.wire import events
from toolchat.wire.deltas import FinishReason, Usage
from toolchat.wire.errors import ToolchatError, UsageError
from toolchat.wire.events import Event, Stamper, TurnStatus
from toolchat.wire.messages import ToolCall, ToolResult

CALL = ToolCall("a" * 9, "find_train", {"to": "Zürich"})


def recorded(folder: Path, session: str, *questions: str, at: float = 1000.0, close: bool = True) -> SessionRecord:
    """A session in which each question got an answer behind a call."""
    record = SessionRecord(folder, session)
    stamp = Stamper(session, lambda: at)
    record.append(stamp(events.SessionStarted("m", "toolchat")))
    for turn, question in enumerate(questions, 1):
        for body in (
            events.TurnStarted(),
            events.QuestionAsked(question),
            events.CallProposed(CALL),
            events.RoundFinished(FinishReason.STOP, Usage()),
            events.CallFinished(ToolResult(CALL.id, CALL.name, f"platform {turn}")),
            events.TextDelta("It leaves "),
            events.TextDelta(f"at noon, {question}"),
            events.TurnFinished(TurnStatus.ANSWERED, 1, Usage()),
        ):
            record.append(stamp(body, turn, 1))
    assert record.failure is None
    if close:
        record.close()
    return record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
def store(folder: Path) -> SessionStore:
    return SessionStore(folder)


def test_sessions_are_listed_with_the_last_used_first_and_without_those_in_which_nothing_was_asked(
    folder: Path, store: SessionStore
) -> None:
    recorded(folder, "20260101-000000-aaaaaa", "first\nmore", at=1.0)
    recorded(folder, "20260101-000000-bbbbbb", "second", "third", at=9.0)
    recorded(folder, "20260101-000000-cccccc")
    assert [(one.title, one.turns, one.updated) for one in store.latest()] == [("second", 2, 9.0), ("first", 1, 1.0)]
    assert len(store.latest(1)) == 1
    assert [one.title for one in store.latest(begins="20260101-000000-a")] == ["first"]


def test_a_session_is_found_by_name_id_a_part_of_that_or_as_the_last(folder: Path, store: SessionStore) -> None:
    recorded(folder, "20260101-000000-aaaaaa", "first", at=1.0)
    recorded(folder, "20260102-000000-bbbbbb", "second", at=9.0)
    store.rename(store.find("aaaaaa"), "trains to Zürich")
    for key, title in (
        ("last", "second"),
        ("trains to Zürich", "first"),
        ("20260101", "first"),
        ("bbbbbb", "second"),
        ("20260102-000000-bbbbbb", "second"),
    ):
        assert store.find(key).title == title
    for key, why in (
        ("2026", "more than one session has an id like that"),
        ("trains to Zurich", "there is no session of that name or id; did you mean trains to Zürich?"),
        ("%", "toolchat sessions list shows them"),
        ("", "'': there is no session of that name or id"),
    ):
        with pytest.raises(UsageError, match=why):
            store.find(key)


@pytest.mark.parametrize("name", ["", " a", "last", "-x", "a\nb", "a\x1b[31m", "x" * 81, "taken"])
def test_a_name_that_is_none_or_anothers_is_refused_in_one_line(folder: Path, store: SessionStore, name: str) -> None:
    recorded(folder, "s1", "first")
    recorded(folder, "s2", "second")
    store.rename(store.find("s1"), "taken")
    with pytest.raises(UsageError) as refused:
        store.rename(store.find("s2"), name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("fts", [True, False])
def test_questions_answers_calls_and_results_are_searched(
    folder: Path, fts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fts:
        monkeypatch.setattr(database, "_can_search", lambda connection: False)
    recorded(folder, "s1", "When to Bern?")
    recorded(folder, "s2", "東京への列車", at=2000.0)
    with stored_sessions(folder) as store:
        for text, found in (
            ("Bern", {("s1", "question"), ("s1", "answer")}),
            ("leaves at noon", {("s1", "answer"), ("s2", "answer")}),
            ("platform 1", {("s1", "result"), ("s2", "result")}),
            ("find_train", {("s1", "call"), ("s2", "call")}),
            ("列車", {("s2", "question"), ("s2", "answer")}),
            ("100%", set()),
            ('"', {("s1", "call"), ("s2", "call")}),
            ("   ", set()),
        ):
            assert {(hit.session.id, hit.kind) for hit in store.search(text)} == found, text
        if fts:
            assert {hit.kind for hit in store.search("zurich")} == {"call"}  # without its umlaut
        assert store.search("noon", 1)[0].session.id == "s2"
        assert store.search("Bern")[-1].excerpt == "When to Bern?"


def test_what_was_stored_without_fts5_is_searched_by_it_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setattr(database, "_can_search", lambda connection: False)
        recorded(folder, "s1", "When to Bern?")
    recorded(folder, "s2", "When to Basel?")
    with monkeypatch.context() as without:
        without.setattr(database, "_can_search", lambda connection: False)
        recorded(folder, "s3", "When to Biel?")
    with stored_sessions(folder) as store:
        assert {hit.session.id for hit in store.search("when")} == {"s1", "s2", "s3"}


def test_summaries_are_searched_in_the_words_that_they_were_given(folder: Path) -> None:
    record = recorded(folder, "s1", "When?", close=False)
    summarised = events.TurnsSummarised((1,), "They spoke of trains.", 2)
    for number, edit in enumerate((summarised, events.SummaryChanged(2, "They spoke of ferries.")), 100):
        record.append(Event("s1", 2, 0, number, 1000.0, events.HistoryEdited(edit)))
    record.close()
    with stored_sessions(folder) as store:
        for word in ("trains", "ferries"):
            assert [(hit.kind, hit.turn, hit.excerpt) for hit in store.search(word)] == [
                ("summary", 2, f"They spoke of {word}.")
            ]
        assert [hit.kind for hit in store.search("When")] == ["answer", "question"]


def test_an_answer_that_a_program_was_killed_over_is_searched_too(folder: Path) -> None:
    record = SessionRecord(folder, "s1")
    stamp = Stamper("s1", lambda: 1.0)
    for body in (
        events.SessionStarted("m", "p"),
        events.QuestionAsked("?"),
        events.TextDelta("a half "),
        events.TextDelta("word"),
    ):
        record.append(stamp(body, 1))
    with stored_sessions(folder) as store:
        assert store.search("half") == []  # it is still streaming
    assert record._database is not None
    record._database.close()
    with stored_sessions(folder) as store:
        assert [hit.excerpt for hit in store.search("half")] == ["a half word"]
        assert len(store.search("half")) == 1


def test_a_session_that_is_open_elsewhere_is_gone_on_with_in_a_copy_and_not_deleted(folder: Path) -> None:
    record = recorded(folder, "s1", "first", close=False)
    with stored_sessions(folder) as store:
        with pytest.raises(UsageError, match="s1 is open in another program"):
            store.delete(store.find("s1"))
        assert store.prune(time.time()) == 0
    opened = open_session_of(folder, "s1")
    assert opened.copied_from == "s1"
    assert opened.stored.id != "s1"
    assert {event.session for event in opened.history} == {opened.stored.id}
    before = len(stored_rows(folder, "s1"))
    opened.record.append(Stamper(opened.stored.id, lambda: 2.0, len(opened.history))(events.Notice("mine")))
    assert opened.record.failure is None
    assert len(stored_rows(folder, "s1")) == before
    assert open_session_of(folder, opened.stored.id).copied_from == opened.stored.id
    opened.record.close()
    record.close()
    again = open_session_of(folder, "s1")
    assert again.copied_from == ""
    again.record.close()


@pytest.mark.process
def test_where_locks_belong_to_the_process_another_program_is_kept_out_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_OF_OPEN_FILE", None)
    number = recorded(folder, "s1", "first", close=False)._number
    other = (
        "import sys; from pathlib import Path; from toolchat.store import database; database._OF_OPEN_FILE = None; "
        "print(*(database.Database(Path(sys.argv[1])).take(int(sys.argv[2]) + more) for more in (0, 1)))"
    )
    taken = subprocess.run(
        [sys.executable, "-c", other, str(folder), str(number)], capture_output=True, text=True, check=True
    )
    assert taken.stdout == "False True\n"


def test_two_that_write_one_session_cannot_mix_their_events(folder: Path) -> None:
    recorded(folder, "s1", "first")
    opened = open_session_of(folder, "s1")
    count = len(opened.history)
    other = SessionRecord(folder, "s1", database=Database(folder), number=opened.stored.number)
    stamp = [Stamper("s1", lambda: 2.0, count) for _ in range(2)]
    opened.record.append(stamp[0](events.Notice("one")))
    other.append(stamp[1](events.Notice("two")))
    assert other.failure is not None
    assert [row["seq"] for row in stored_rows(folder, "s1")] == list(range(count + 1))


def test_a_copy_has_all_that_the_session_has_and_stays_when_that_is_deleted(folder: Path, store: SessionStore) -> None:
    recorded(folder, "s1", 'say "session":"s1"')
    copied = store.copy(store.find("s1"), "mine")
    assert [event.body for event in store.events(copied)] == [event.body for event in store.events(store.find("s1"))]
    store.delete(store.find("s1"))
    assert {hit.session.handle for hit in store.search("say")} == {"mine"}
    asked = next(row["data"] for row in stored_rows(folder) if row["type"] == "question_asked")
    assert asked["text"] == 'say "session":"s1"'


def test_files_that_no_session_needs_any_more_are_collected(folder: Path, store: SessionStore) -> None:
    for session, color in (("s1", "red"), ("s2", "red"), ("s3", "blue")):
        record = recorded(folder, session, "first", close=False)
        kept = keep_image(record.files, image(color), record.keeps_file)
        assert Path(kept.file).parent == folder / "files"
        record.close()
    assert len(list((folder / "files").iterdir())) == 2
    for session, left in (("s1", 2), ("s3", 1), ("s2", 0)):
        store.delete(store.find(session))
        store.collect()
        assert len(list((folder / "files").iterdir())) == left
    assert integrity(folder) == "ok"


def test_pruning_deletes_what_was_not_used_for_so_long_and_has_no_name(folder: Path, store: SessionStore) -> None:
    for session, at in (("old", 10.0), ("named", 10.0), ("new", 1000.0)):
        recorded(folder, session, "first", at=at)
    store.rename(store.find("named"), "keep me")
    assert store.prune(500.0) == 1
    assert {one.id for one in store.latest()} == {"named", "new"}
    assert {hit.session.id for hit in store.search("first")} == {"named", "new"}


def test_what_is_exported_is_imported_with_its_images_by_another_machine(tmp_path: Path, folder: Path) -> None:
    record = recorded(folder, "s1", "first", close=False)
    kept = keep_image(record.files, image(), record.keeps_file)
    record.append(Stamper("s1", lambda: 5.0, 9)(events.QuestionAsked("and this?", (kept,)), 2))
    record.close()
    with stored_sessions(folder) as store:
        lines = b"".join(exported_lines(store.events(store.find("s1"))))
    Path(kept.file).unlink()
    (tmp_path / "s1.jsonl").write_bytes(lines)
    with stored_sessions(tmp_path / "elsewhere") as other:
        stored = other.put(read_record(tmp_path / "s1.jsonl"))
        (found,) = (
            event.body
            for event in other.events(stored)
            if isinstance(event.body, events.QuestionAsked) and event.turn == 2
        )
        assert found.images[0].data == image().data
        assert Path(found.images[0].file).parent == tmp_path / "elsewhere" / "files"
        assert len(other.search("first")) == 2
        with pytest.raises(UsageError, match="the session s1 is stored already"):
            other.put(read_record(tmp_path / "s1.jsonl"))
        (tmp_path / "s2.jsonl").write_bytes(b"".join(lines.splitlines(keepends=True)[1:]).replace(b'"s1"', b'"s2"'))
        with pytest.raises(UsageError, match="expected the events of a session"):
            other.put(read_record(tmp_path / "s2.jsonl"))


def test_the_state_folder_may_be_moved_with_the_images_in_it(tmp_path: Path, folder: Path) -> None:
    record = recorded(folder, "s1", "first", close=False)
    kept = keep_image(record.files, image(), record.keeps_file)
    record.append(Stamper("s1", lambda: 5.0, 9)(events.QuestionAsked("and this?", (kept,)), 2))
    record.close()
    folder.rename(tmp_path / "moved")
    opened = open_session_of(tmp_path / "moved", "s1")
    opened.record.close()
    assert opened.history[-1].body == events.QuestionAsked("and this?", (kept,))


@pytest.mark.parametrize("content", [None, b"another picture"])
def test_a_session_outlives_the_files_of_its_images(folder: Path, content: bytes | None) -> None:
    record = recorded(folder, "s1", "first", close=False)
    kept, other = (keep_image(record.files, image(color), record.keeps_file) for color in ("red", "blue"))
    named = replace(kept, source="cat.png")
    stamp = Stamper("s1", lambda: 5.0, 9)
    record.append(stamp(events.QuestionAsked("which?", (named, other)), 2))
    drawn = ToolResult(CALL.id, "draw", "drawn", images=(named,))
    record.append(stamp(events.CallFinished(drawn), 2))
    record.close()
    Path(kept.file).unlink()
    if content is not None:
        Path(kept.file).write_bytes(content)
    opened = open_session_of(folder, "s1")
    opened.record.close()
    gone = "\n[the image cat.png is no longer there]"
    assert [event.body for event in opened.history[-2:]] == [
        events.QuestionAsked("which?" + gone, (other,)),
        events.CallFinished(ToolResult(CALL.id, "draw", "drawn" + gone)),
    ]


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage " * 1000)


def newer(path: Path) -> None:
    sqlite3.connect(path).execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (garbage, "it is damaged (file is not a database); move it away"),
        (newer, "was made by a newer toolchat (version 99); use that one"),
        (lambda path: path.mkdir(), "is a folder; expected a file"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_and_the_chat_goes_on(
    folder: Path, spoil: Callable[[Path], None], why: str
) -> None:
    folder.mkdir()
    spoil(folder / "sessions.db")
    with pytest.raises(ToolchatError) as refused, stored_sessions(folder):
        pass
    assert why in str(refused.value)
    record = SessionRecord(folder, "s1")
    record.append(Stamper("s1", lambda: 1.0)(events.QuestionAsked("?"), 1))
    assert why in record.loss
    assert not record.stored
    assert record.files is None


def test_a_database_that_others_can_write_is_not_believed(folder: Path) -> None:
    recorded(folder, "s1", "first")
    (folder / "sessions.db").chmod(0o666)
    with pytest.raises(DistrustedError, match="others may write it; run: chmod go-w"):
        Database(folder)


def test_a_program_that_holds_the_database_is_waited_for_and_then_named(folder: Path) -> None:
    recorded(folder, "s1", "first")
    other = sqlite3.connect(folder / "sessions.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    mine = Database(folder, wait=0.01)
    with pytest.raises(DatabaseError, match="another program has been writing it"), mine.writing():
        pass
    other.execute("COMMIT")
    with mine.writing():
        pass


def test_a_database_of_an_older_version_is_brought_to_this_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(folder, "s1", "first")
    more = (*database.MIGRATIONS, "ALTER TABLE sessions ADD COLUMN colour TEXT; CREATE TABLE more (x)")
    monkeypatch.setattr(database, "MIGRATIONS", more)
    for _ in range(2):
        opened = Database(folder)
        assert opened.connection.execute("SELECT colour FROM sessions").fetchall() == [(None,)]
        opened.close()


def test_nothing_is_stored_without_a_folder(tmp_path: Path) -> None:
    record = SessionRecord(None, "s1")
    record.append(Stamper("s1", lambda: 1.0)(events.QuestionAsked("?"), 1))
    assert (record.failure, record.stored, record.files, record.events()) == (None, False, None, [])
    assert not record.keeps_file("x")
    record.close()


def test_rows_are_lines_of_the_codec(folder: Path) -> None:
    recorded(folder, "s1", "first\ud800")
    row = next(row for row in stored_rows(folder) if row["type"] == "question_asked")
    assert (row["session"], row["data"]["text"]) == ("s1", "first\ud800")
    assert json.dumps(row)

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolchat.cli.given import session_to_open
from toolchat.cli.main import app
from toolchat.cli.sessions import age
from toolchat.cli.start import with_value
from toolchat.settings import resolve, state_folder
from toolchat.store.record import SessionRecord
from toolchat.wire import events
from toolchat.wire.codec import event_line
from toolchat.wire.deltas import Usage
from toolchat.wire.errors import ToolchatError, UsageError
from toolchat.wire.events import Stamper, TurnStatus

EVIL = "\x1b]0;owned\x07Evil?"
ROOT = Path(__file__).parents[2]


def bodies(question: str) -> list[tuple[events.EventBody, int]]:
    return [
        (events.SessionStarted("m", "toolchat"), 0),
        (events.TurnStarted(), 1),
        (events.QuestionAsked(question), 1),
        (events.TextDelta("The **answer**."), 1),
        (events.TurnFinished(TurnStatus.ANSWERED, 1, Usage()), 1),
    ]


def recorded(session: str, question: str, at: float) -> None:
    record = SessionRecord(state_folder() / "sessions", session)
    stamp = Stamper(session, lambda: at)
    for body, turn in bodies(question):
        record.append(stamp(body, turn))
    record.close()


@pytest.fixture(autouse=True)
def sessions(home: Path) -> None:
    recorded("20260101-000000-aaaaaa", EVIL, 10.0)
    recorded("20260102-000000-bbbbbb", "Good?", 20.0)


class Command:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> str:
        app(args=["sessions", *arguments], prog_name="toolchat", standalone_mode=False)
        return self._capsys.readouterr().out


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def test_lists_and_hits_are_safe_to_show_and_whole_in_json(command: Command) -> None:
    listed = command("list")
    assert [row.split()[0] for row in listed.splitlines()[2:]] == ["20260102-000000-bbbbbb", "20260101-000000-aaaaaa"]
    assert "\x1b" not in listed + command("search", "evil")
    data = json.loads(command("list", "--json"))
    assert data[1] == {
        "id": "20260101-000000-aaaaaa",
        "name": None,
        "title": EVIL,
        "model": "m",
        "turns": 1,
        "began": 10.0,
        "updated": 10.0,
    }
    (hit,) = json.loads(command("search", "evil", "--json"))
    assert (hit["session"]["id"], hit["turn"], hit["kind"], hit["excerpt"]) == (data[1]["id"], 1, "question", EVIL)
    assert len(json.loads(command("list", "--json", "-n", "1"))) == 1


def test_a_session_is_named_shown_exported_and_imported_again(command: Command, tmp_path: Path) -> None:
    assert command("rename", "bbbbbb", "good one") == "20260102-000000-bbbbbb is good one now.\n"
    assert "> Good?" in command("show", "good one")
    assert json.loads(command("show", "good one", "--json"))["turns"][0]["answer"] == "The **answer**."
    for suffix, content in (("md", "> Good?"), ("json", '"toolchat-session"'), ("html", "Content-Security-Policy")):
        command("export", "good one", "-o", str(tmp_path / f"x.{suffix}"))
        assert content in (tmp_path / f"x.{suffix}").read_text()
    lines = tmp_path / "x.jsonl"
    command("export", "good one", "-o", str(lines))
    assert command("delete", "good one") == "good one is deleted.\n"
    assert command("import", str(lines)) == f"{lines}: stored as 20260102-000000-bbbbbb, 1 turn.\n"
    with pytest.raises(UsageError, match=r"x\.md: is there already; remove it, or write elsewhere"):
        command("export", "-o", str(tmp_path / "x.md"))


def test_records_of_before_are_imported_and_what_is_wrong_with_others_is_told_by_file(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = Stamper("20251231-235959-cccccc", lambda: 1.0)
    old = tmp_path / "old.jsonl"
    old.write_bytes(b"".join(event_line(stamp(body, turn)) for body, turn in bodies("Old?")))
    (tmp_path / "bad.jsonl").write_text('{"v": 1}\n')
    with pytest.raises(UsageError) as refused:
        command("import", str(tmp_path / "bad.jsonl"), str(old), str(tmp_path / "none.jsonl"))
    assert [row.split(": ")[0] for row in str(refused.value).splitlines()] == [
        f"{tmp_path / 'bad.jsonl'}, line 1",
        str(tmp_path / "none.jsonl"),
    ]
    assert "old.jsonl: stored as 20251231-235959-cccccc" in capsys.readouterr().out


def test_pruning_takes_ages_as_people_write_them(command: Command) -> None:
    assert command("prune", "--older-than", "1y") == "2 sessions are deleted, and 0 files.\n"
    assert command("list") == "No session is stored yet.\n"
    assert [age(written) for written in ("90", "12h", "2w", "1y", "1 D")] == [7776000, 43200, 1209600, 31557600, 86400]
    for written in ("", "soon", "-1", "1.5", "3m"):
        with pytest.raises(UsageError, match="expected days, or a number with h, d, w or y"):
            age(written)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("show", "nothing"), "nothing: there is no session of that name or id"),
        (("show", "2026"), "more than one session has an id like that"),
        (("export", "-f", "pdf"), "--format pdf: expected one of md, json, html, jsonl"),
        (("export", "-o", "/nowhere/x.md"), "/nowhere/x.md: cannot be written: "),
        (("rename", "last", "last"), "expected a name"),
        (("delete", "bbbbbb", "nothing"), "nothing: there is no session"),
    ],
)
def test_what_is_wrong_is_one_line(command: Command, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError) as refused:
        command(*arguments)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_a_home_the_sessions_cannot_be_read_and_it_says_so(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    with pytest.raises(ToolchatError, match=r"the sessions cannot be read: .*Not a directory"):
        command("list")


def test_resume_without_a_value_means_the_last_session() -> None:
    assert with_value(["repl", "--resume"]) == ["repl", "--resume", "last"]
    assert with_value(["repl", "--resume", "--plain"]) == ["repl", "--resume", "last", "--plain"]
    assert with_value(["repl", "--resume", "mine", "--plain"]) == ["repl", "--resume", "mine", "--plain"]
    assert with_value(["ask", "--", "--resume"]) == ["ask", "--", "--resume"]


def test_storing_is_a_setting_like_the_others(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("store = false\n")
    assert not resolve({}, file=file, environment={}).store
    assert resolve({}, file=file, environment={"TOOLCHAT_STORE": "1"}).store
    assert not resolve({"store": False}, environment={"TOOLCHAT_STORE": "1"}).store


def program(tmp_path: Path, script: str, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'ui'}"}
    command = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(
        command, cwd=tmp_path, env=environment, input=given, capture_output=True, text=True, timeout=120
    )


@pytest.mark.process
def test_a_chat_goes_on_in_the_next_program_and_in_ask(tmp_path: Path, model_folder: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from toolchat.engine.scripted import ScriptedEngine\n"
        "engine = ScriptedEngine()\nengine.enqueue('One.', 'Two.')\n"
    )
    chat = ("tests/ui/scripted_repl.py", str(script), "--plain", "--no-tools")
    first = program(tmp_path, *chat, "--name", "mine", given="first\n")
    assert (first.returncode, first.stdout) == (0, "> first\nOne.\n"), first.stderr
    second = program(tmp_path, *chat, "--resume", "mine", given="second\n/sessions\n")
    assert second.stdout.startswith("> first\nOne.\n> second\nOne.\n> /sessions\n● mine"), second
    answers = json.dumps(["Three."])
    asked = program(
        tmp_path,
        "tests/cli/scripted_program.py",
        answers,
        "ask",
        "--no-tools",
        "--session",
        "mine",
        "third",
        "--model",
        str(model_folder),
        given="",
    )
    assert (asked.returncode, asked.stdout) == (0, "Three.\n"), asked.stderr
    assert "answers from here on; in this session it was scripted" in asked.stderr
    refused = program(tmp_path, *chat, "--name", "mine", given="x\n")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "mine: another session has that name" in refused.stderr


@pytest.mark.parametrize(
    ("key", "last", "store", "why"),
    [
        ("none", False, True, "none: there is no session of that name or id"),
        ("bbbbbb", True, True, "--resume and --continue contradict each other"),
        (None, True, False, "--continue needs stored sessions"),
        ("bbbbbb", False, False, "--resume needs stored sessions"),
    ],
)
def test_a_session_that_cannot_be_opened_is_one_line(key: str | None, last: bool, store: bool, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        session_to_open(key, last, store, "--resume")
    assert session_to_open(None, False, store, "--resume") is None

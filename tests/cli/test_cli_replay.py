"""Recording and replaying from the command line, and the file for a bug report."""

from __future__ import annotations

import json
import re
import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from asking import Asking, Done
from cli_program import Program
from forked_program import ProgramServer

pytestmark = pytest.mark.process

SCRIPTED = Path(__file__).with_name("scripted_program.py")
ANSWERS: list[Any] = [[["calculate", {"expression": "17 * 24"}]], {"thinking": "A sum.", "text": "It is\n408."}]
TOKEN = "correct-horse-battery"


@pytest.fixture
def asking(program_server: ProgramServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    return Asking(program_server, home)


@pytest.fixture
def toolchat(forked_toolchat: Program, home: Path) -> Program:
    return Program(home, server=forked_toolchat.server)


def recorded(asking: Asking, model_folder: Path, *arguments: str, answers: list[Any] | None = None) -> Done:
    flags = ("--model", str(model_folder), "--record", "c.jsonl")
    return asking.run("17 * 24?", *arguments, *flags, answers=answers or ANSWERS)


def shown(ran: Any) -> tuple[int, str, str]:
    return ran.code, ran.out, ran.err


def test_a_recorded_question_is_replayed_byte_for_byte_in_every_way(
    asking: Asking, model_folder: Path, toolchat: Program, home: Path
) -> None:
    ran = recorded(asking, model_folder)
    assert shown(ran) == (0, "It is\n408.\n", '→ calculate(expression="17 * 24")\n  ✓ 408\n')
    assert stat.S_IMODE((home / "c.jsonl").stat().st_mode) == 0o600
    assert shown(toolchat("replay", "c.jsonl")) == shown(ran)
    assert shown(toolchat("ask", "--replay", "c.jsonl", "17 * 24?")) == shown(ran)
    # No tools file is read for this, not even one that cannot be.
    (home / "tools.yaml").write_text("tools: [nothing:here]")
    assert shown(toolchat("ask", "--replay", "c.jsonl", "--recorded-results", "17 * 24?")) == shown(ran)


def test_a_recorded_chat_is_replayed_as_it_was_line_by_line(
    program_server: ProgramServer, model_folder: Path, toolchat: Program, home: Path
) -> None:
    command = ("repl", "--model", str(model_folder), "--record", "c.jsonl")
    stdin = b"17 * 24?\nAnd now?\n"
    script = json.dumps([*ANSWERS, "Now it is over."])
    ran = toolchat.fork(str(SCRIPTED), script, *command, stdin=stdin)
    assert ran.code == 0, ran
    assert ran.out.count("408") == 2
    assert shown(toolchat("replay", "c.jsonl")) == shown(ran)
    assert shown(toolchat("repl", "--replay", "c.jsonl", "--recorded-results", stdin=stdin)) == shown(ran)


def test_another_question_gets_the_recorded_answer_and_a_diff(
    asking: Asking, model_folder: Path, toolchat: Program
) -> None:
    recorded(asking, model_folder)
    ran = toolchat("ask", "--replay", "c.jsonl", "17 * 25?", "--seed", "7")
    assert (ran.code, ran.out) == (0, "It is\n408.\n")
    assert ran.err.splitlines()[:7] == [
        "toolchat: this is not what was asked when it was recorded (- then, + now):",
        " option: top_p = None",
        "-option: seed = None",
        "+option: seed = 7",
        " option: tool_choice = auto",
        "-user: 17 * 24?",
        "+user: 17 * 25?",
    ]
    again = toolchat("ask", "--replay", "c.jsonl", "--no-tools", "-q", "17 * 24?")
    assert (again.code, again.out) == (0, "It is\n408.\n")


def test_known_secrets_are_not_in_the_cassette_and_are_shown_by_their_names(
    asking: Asking, model_folder: Path, toolchat: Program, home: Path
) -> None:
    pieces = {"text": [f"Mine is {TOKEN[:7]}", TOKEN[7:], f", in {home}/x."]}
    recorded(asking, model_folder, "--no-tools", answers=[pieces])
    assert TOKEN not in (home / "c.jsonl").read_text()
    assert str(home) not in (home / "c.jsonl").read_text()
    assert toolchat("replay", "c.jsonl").out == "Mine is ${MY_TOKEN}, in ~/x.\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_a_cassette_that_is_not_whole_makes_the_exit_code_1_and_is_told(
    asking: Asking, model_folder: Path, home: Path, quiet: bool
) -> None:
    # As on a disk that is full: no file grows beyond so much, the database excepted, which is not written.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    script = home / "limited.py"
    script.write_text(
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (600, {limit[1]}))\n"
        f"sys.path.insert(0, {str(SCRIPTED.parent)!r})\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    program = Program(home, server=asking.server)
    flags = ["--no-tools", "--no-store", "--model", str(model_folder), "--record", "c.jsonl", *["-q"] * quiet]
    ran = program.fork(str(script), str(SCRIPTED), '["It is 408."]', "ask", "17 * 24?", *flags)
    assert (ran.code, ran.out) == (1, "It is 408.\n"), ran
    assert ran.err.count("c.jsonl: is not written any more: ") == 1
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("replay", "no.jsonl"), "no.jsonl: cannot be read: No such file or directory"),
        (("replay", "bad.jsonl"), "bad.jsonl, line 1: expected a cassette, as --record writes one: "),
        (("ask", "--replay", "bad.jsonl", "hi"), "bad.jsonl, line 1: expected a cassette, as --record writes one: "),
        (("ask", "--record", "bad.jsonl", "hi"), "--record bad.jsonl: is there already; remove it, or name another"),
        (("repl", "--record", "bad.jsonl"), "--record bad.jsonl: is there already; remove it, or name another"),
        (("ask", "--recorded-results", "hi"), "--recorded-results: is for the cassette of --replay FILE; name one"),
        (
            ("ask", "--replay", "bad.jsonl", "--model", "demo", "hi"),
            "--replay and --model do not go together: a cassette answers, and no model",
        ),
        (("ask", "--n", "2", "--record", "x", "hi"), "--n and --record do not go together; leave one of them out"),
        (
            ("ask", "--batch", "rows.jsonl", "-o", "out.jsonl", "--recorded-results"),
            "--batch and --recorded-results do not go together; leave one of them out",
        ),
        (("report", "last", "--no-session"), "a session and --no-session contradict each other"),
        (("report", "trip"), "trip: there is no session of that name or id; "),
        (("report", "-o", "bad.jsonl"), "bad.jsonl: is there already; remove it, or write elsewhere"),
    ],
)
def test_what_cannot_be_recorded_or_replayed_is_told_in_one_line(
    toolchat: Program, home: Path, arguments: tuple[str, ...], problem: str
) -> None:
    (home / "bad.jsonl").write_text("no cassette\n")
    ran = toolchat(*arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran
    assert ran.err.startswith(f"toolchat: {problem}")
    assert (home / "bad.jsonl").read_text() == "no cassette\n"


def test_a_cassette_that_would_drive_the_terminal_only_says_so(toolchat: Program, home: Path) -> None:
    event = {"v": "2.2", "session": "s", "turn": 1, "round": 0, "seq": 0, "time": 1.0, "type": "notice"}
    head = {"format": "toolchat-cassette", "version": 1, "program": "p", "command": "repl"}
    rows = [head, {**event, "data": {"text": "\x1b]0;title\x07\x1b[2J"}}]
    (home / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = toolchat("replay", "c.jsonl").out
    assert "\x1b" not in out
    assert "title" in out


def test_a_report_bundles_versions_checks_and_the_last_session_and_says_what_is_in_it(
    asking: Asking, model_folder: Path, toolchat: Program, home: Path
) -> None:
    ran = asking.run("17 * 24?", "--model", str(model_folder), answers=ANSWERS)
    told = toolchat("report", "-o", "report.jsonl")
    assert (told.code, told.err) == (0, "")
    assert "report.jsonl is written (" in told.out
    assert "only you may read it). Nothing was sent." in told.out
    assert "1 turn, 1 call" in told.out
    assert "the home folder, " in told.out
    path = home / "report.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(home) not in path.read_text()
    report = next(row["report"] for row in map(json.loads, path.read_text().splitlines()) if "report" in row)
    assert report["versions"]["toolchat"]
    assert any(line.startswith("python: ok: ") for line in report["doctor"])
    assert not any(line.startswith(("hub: ", "token: ")) for line in report["doctor"])
    replayed = toolchat("replay", "report.jsonl")
    assert replayed.out.startswith("> 17 * 24?\n")
    assert "  (thinking) A sum.\nIt is\n408.\n" in replayed.out
    answered = toolchat("ask", "--replay", "report.jsonl", "--recorded-results", "17 * 24?")
    assert shown(answered) == shown(ran)


def test_a_report_without_a_session_says_so(toolchat: Program, home: Path) -> None:
    told = toolchat("report")
    assert told.code == 0
    assert "no session: no session is stored yet" in told.out
    (path,) = home.glob("toolchat-report-*.jsonl")
    assert re.fullmatch(r"toolchat-report-\d{8}-\d{6}\.jsonl", path.name)
    assert toolchat("replay", path.name).out == ""


def test_a_report_holds_no_key_of_a_profile_or_tools_file_whatever_else_is_wrong_with_the_settings(
    asking: Asking, model_folder: Path, toolchat: Program, home: Path
) -> None:
    asking.run(
        "is it correct-horse-1, swordfish-3 or battery-staple-2?", "--model", str(model_folder), answers=["Neither."]
    )
    config = home / ".config" / "toolchat" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('api_key = "correct-horse-1"\nmax_tokens = "x"\n[profiles.work]\napi_key = "battery-staple-2"\n')
    config.chmod(0o600)
    (home / "mine.py").write_text("open('imported', 'w')\ndef f() -> str:\n    return ''\n")
    (home / "tools.yaml").write_text("tools:\n  - {callable: ./mine.py:f, env: {WORD: '${TRIP_WORD}'}}\n  - wrong\n")
    assert toolchat("report", "-o", "report.jsonl", variables={"TRIP_WORD": "swordfish-3"}).code == 0
    assert not (home / "imported").exists()
    written = (home / "report.jsonl").read_text()
    assert "is it ${API_KEY}, ${TRIP_WORD} or ${API_KEY1}?" in written
    assert "correct-horse" not in written
    assert "battery-staple" not in written

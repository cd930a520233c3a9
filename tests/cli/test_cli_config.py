from __future__ import annotations

import io
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pexpect
import pytest
from at_the_terminal import reply
from cli_program import PROGRAM, Program, Ran
from test_cli_small_commands import HEAVY, MODULES_AT_EXIT
from typer import Exit

from toolchat.cli.given import ask_to_accept
from toolchat.cli.main import app
from toolchat.settings import SETTINGS, config_file, read_project, resolve
from toolchat.store.sessions import SessionStore
from toolchat.wire.errors import ToolchatError

Call = Callable[..., Ran]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("TOOLCHAT_KEEP_ALIVE")
    return folder


@pytest.fixture
def config(work: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """`toolchat config …`, in this process."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code, error = 0, ""
        try:
            result = app(args=["config", *arguments], prog_name="toolchat", standalone_mode=False)
            code = result if isinstance(result, int) else 0
        except Exit as ended:
            code = ended.exit_code
        except ToolchatError as failed:
            code, error = failed.exit_code, f"toolchat: {failed}\n"
        out, err = capsys.readouterr()
        return Ran(code, out, err + error)

    return call


def write_config(text: str) -> Path:
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def shown(config: Call, *arguments: str) -> dict[str, Any]:
    ran = config("show", "--json", *arguments)
    assert (ran.code, ran.err) == (0, "")
    written = json.loads(ran.out)
    assert written["version"] == 1
    settings: dict[str, Any] = written["settings"]
    assert list(settings) == list(SETTINGS)
    return settings


def test_each_value_is_shown_with_its_place(config: Call, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_config("model = 'demo'\n[profiles.work]\ntemperature = 0.5\n")
    (work / ".toolchat.toml").write_text("seed = 7\n")
    monkeypatch.setenv("TOOLCHAT_CONTEXT", "1000")
    settings = shown(config, "--profile", "work")
    project = work / ".toolchat.toml"
    for name, expected in {
        "model": ("demo", "config.toml", f"{file}: model"),
        "temperature": (0.5, "profile", f"{file}: profiles.work.temperature"),
        "seed": (7, "project", f"{project}: seed"),
        "context": (1000, "variable", "TOOLCHAT_CONTEXT"),
        "profile": ("work", "flag", "--profile"),
        "max_tokens": (512, "model", "demo"),
        "parallel_calls": (True, "built-in", None),
    }.items():
        assert tuple(settings[name][key] for key in ("value", "origin", "where")) == expected


def test_what_a_models_own_files_say_is_shown_as_its(config: Call, model_folder: Path) -> None:
    (model_folder / "generation_config.json").write_text('{"temperature": 0.15, "top_p": 0.9}')
    settings = shown(config, "--model", str(model_folder))
    assert settings["temperature"] == {"value": 0.15, "origin": "model", "where": "its generation_config.json"}
    assert settings["top_p"]["value"] == 0.9


def test_for_people_each_setting_is_a_row(config: Call) -> None:
    file = write_config("temperature = 0.25\n")
    ran = config("show")
    rows = {row.split()[0]: row.split(maxsplit=1)[1] for row in ran.out.splitlines()[: len(SETTINGS)]}
    assert list(rows) == list(SETTINGS)
    assert rows["temperature"].split() == ["0.25", str(file) + ":", "temperature"]
    assert rows["max_tokens"].split() == ["512", "model:", "demo"]
    assert rows["server"].split("  ")[0] == "load it here"
    assert str(file) in ran.out.splitlines()[len(SETTINGS)]


@pytest.mark.parametrize("as_json", [False, True])
def test_no_key_is_shown(config: Call, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    monkeypatch.setenv("TOOLCHAT_API_KEY", "sk-secret")
    monkeypatch.setenv("TOOLCHAT_ENGINE_ARG", "hf_token=hf-secret max_num_seqs=2")
    ran = config("show", *(["--json"] if as_json else []))
    assert "secret" not in ran.out
    assert "(set, not shown)" in ran.out
    assert "max_num_seqs=2" in ran.out


def test_text_of_a_file_changes_no_terminal(config: Call) -> None:
    write_config('system = "a\\u001b[31m\\u202eb"\n')
    assert not {"\x1b", "\u202e"} & set(config("show").out)


def test_the_path_is_where_settings_are_read(config: Call) -> None:
    assert config("path") == Ran(0, f"{config_file()}\n", "")


def test_check_says_every_problem_and_ends_with_the_code_for_usage(config: Call, work: Path) -> None:
    assert config("check") == Ran(0, "The settings are right.\n", "")
    write_config("seed = -1\n[profiles.work]\ntemprature = 1\n")
    (work / ".toolchat.toml").write_text("max_tokens = 0\n")
    ran = config("check")
    assert ran.code == 2
    assert len(ran.out.splitlines()) == 3


@pytest.mark.process
def test_edit_begins_a_private_file_of_comments_that_is_valid(
    config: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VISUAL", "true --wait")
    ran = config("edit")
    assert (ran.code, ran.out, ran.err) == (0, "The settings are right.\n", "")
    assert stat.S_IMODE(config_file().stat().st_mode) == 0o600
    text = config_file().read_text()
    assert all(f"\n#{name} = " in text for name in SETTINGS)
    assert resolve({}) == resolve({}, file=tmp_path / "none")


@pytest.mark.process
def test_what_the_editor_leaves_is_checked(config: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "seed = -1" > "$1"\n')
    editor.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", str(editor))
    ran = config("edit")
    assert ran.code == 2
    assert ran.out == f"{config_file()}: seed: expected a whole number, at least 0, not -1\n"


@pytest.mark.process
@pytest.mark.parametrize(
    ("editor", "line"),
    [
        ("/nowhere/ed", "VISUAL: /nowhere/ed is no program that can be started; set it to your editor"),
        ("vim 'x", 'VISUAL: expected a command, not "vim \'x" (No closing quotation); set it to your editor'),
        ("false", "false has ended with exit code 1; "),
        ("sh -c 'kill -9 $$'", "sh was ended by signal 9; "),
    ],
)
def test_an_editor_that_fails_is_one_line(
    config: Call, monkeypatch: pytest.MonkeyPatch, editor: str, line: str
) -> None:
    monkeypatch.setenv("VISUAL", editor)
    ran = config("edit")
    assert ran.code != 0
    assert ran.err.startswith(f"toolchat: {line}")
    assert ran.err.count("\n") == 1


def test_a_folders_settings_are_accepted_by_a_command_that_shows_them(config: Call, work: Path) -> None:
    (work / ".toolchat.toml").write_text("server = 'http://h:1'\napi_key = 'sk-x'\nseed = 1\n")
    assert "toolchat config trust" in config("show").err
    ran = config("trust")
    assert ran.out.splitlines() == [
        "  server = http://h:1",
        "  api_key = (a key, not shown)",
        "  It also sets seed, which needs no question.",
        f"{work / '.toolchat.toml'} is accepted until it changes.",
    ]
    assert shown(config)["server"]["origin"] == "project"


def test_there_must_be_something_to_accept(config: Call, work: Path) -> None:
    assert config("trust").err.startswith("toolchat: there is no .toolchat.toml in this folder")
    (work / ".toolchat.toml").write_text("sed = 1\n")
    assert "did you mean seed?" in config("trust").err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked_and_no_leaves_the_file_out_of_this_command(
    work: Path, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    async def confirm(_: str) -> bool:
        return answer

    file = work / ".toolchat.toml"
    file.write_text("system = 'Be \\u001b[31mrude.'\n".replace("'", '"'))
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("toolchat.cli.approval.confirm", confirm)
    monkeypatch.setattr("toolchat.cli.running.run_async", lambda main: __import__("asyncio").run(main(None)))
    flags = ask_to_accept({"seed": "3"})
    assert "system = Be " in screen.getvalue()
    assert "\x1b" not in screen.getvalue()
    assert resolve(flags).seed == 3
    assert (resolve(flags).system is not None) is answer
    found = read_project(file)
    assert found is not None
    assert found.accepted is answer


@pytest.mark.process
def test_at_a_terminal_a_person_is_asked_once(forked_toolchat: Program) -> None:
    (forked_toolchat.folder / ".toolchat.toml").write_text("model = 'demo'\n")
    assert "toolchat config trust" in forked_toolchat("config", "show").refused(2)
    command, *arguments = PROGRAM
    child = pexpect.spawn(
        command,
        [*arguments, "config", "show"],
        cwd=str(forked_toolchat.folder),
        env=forked_toolchat.environment,
        dimensions=(50, 200),
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("model = demo")
    child.expect(r"Use them here.*\[y/N\] ")
    reply(child, "y")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert forked_toolchat("config", "show").code == 0


COMPLETE = {"_TOOLCHAT_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}


def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str) -> list[str]:
    """What fish is offered behind `line`."""
    for name, value in {**COMPLETE, "_TYPER_COMPLETE_ARGS": line}.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    with pytest.raises((Exit, SystemExit)):
        app(args=[], prog_name="toolchat", standalone_mode=False)
    return [row.partition("\t")[0] for row in capsys.readouterr().out.splitlines() if row]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("toolchat config ", {"show", "path", "edit", "check", "trust"}),
        ("toolchat tools show ca", {"calculate"}),
        ("toolchat tools call get_", {"get_current_weather"}),
        ("toolchat ask --tool-choice re", {"required", "read_file"}),
        ("toolchat ask --allow calc", {"calculate"}),
        ("toolchat repl --model d", {"demo"}),
        ("toolchat repl --model mist", {"mistralai/Tiny"}),
        ("toolchat repl --profile w", {"work"}),
        ("toolchat repl --dtype b", {"bfloat16"}),
        ("toolchat models remove d", {"demo"}),
        ("toolchat tools revoke cal", {"calculate"}),
        ("toolchat repl --resume l", {"last"}),
        ("toolchat ask --session my", {"mychat"}),
        ("toolchat sessions show my", {"mychat"}),
    ],
)
def test_a_shell_completes_names(
    work: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    expected: set[str],
) -> None:
    write_config("[profiles.work]\nseed = 1\n[profiles.home]\n")
    (home / ".cache/huggingface/hub/models--mistralai--Tiny/snapshots/0").mkdir(parents=True)
    (home / ".cache/huggingface/hub/models--mistralai--Tiny/snapshots/0/params.json").write_text("{}")
    # The library reads its variables when it is imported, which another test may have done.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / ".cache/huggingface/hub"))
    state = home / ".local/state/toolchat"
    state.mkdir(parents=True)
    (state / "grants.json").write_text(
        '{"version": 1, "grants": [{"digest": "d", "arguments": null, '
        '"tool": "calculate", "callable_ref": "m:calculate"}]}'
    )
    store = SessionStore(state / "sessions")
    store.close()
    with closing(sqlite3.connect(state / "sessions" / "sessions.db")) as database, database:
        columns = "id, name, title, model, began, updated, turns"
        database.execute(f"INSERT INTO sessions ({columns}) VALUES ('ab12', 'mychat', 'Hello', 'demo', 1, 1, 1)")
    assert set(completed(monkeypatch, capsys, line)) == expected


def test_names_come_from_the_tools_file_that_the_line_names_and_none_of_its_code_runs(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "mine.py").write_text("from pathlib import Path\nPath('ran').touch()\ndef greet(): ...\n")
    text = 'version: 1\ntools:\n  - callable: mine:greet\n    description: "$(touch ran) `touch ran`"\n'
    (work / "mine.yaml").write_text(text)
    (work / "tools.yaml").write_text(text)
    assert completed(monkeypatch, capsys, "toolchat tools show --tools mine.yaml gr") == ["greet"]
    assert completed(monkeypatch, capsys, "toolchat tools show gr") == ["greet"]  # one that is not accepted
    assert not (work / "ran").exists()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_shell_is_given_nothing_that_it_could_run(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    (work / "tools.yaml").write_text(
        "version: 1\ntools:\n  - callable: m:f\n    name: fine\n"
        '    description: "\'; touch ran; $(touch ran) `touch ran` \\u001b[31m"\n'
    )
    for name, value in {"_TOOLCHAT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "toolchat tools show fi")
    with pytest.raises((Exit, SystemExit)):
        app(args=[], prog_name="toolchat", standalone_mode=False)
    out = capsys.readouterr().out
    assert "fine" in out
    assert not set("`$;\x1b") & set(out)


def test_what_is_wrong_offers_nothing_and_says_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config("max_tokens =")
    assert completed(monkeypatch, capsys, "toolchat tools show c") == []
    assert completed(monkeypatch, capsys, "toolchat repl --profile w") == []


@pytest.mark.process
def test_completing_imports_nothing_heavy(toolchat: Program) -> None:
    report = toolchat.folder / "modules.txt"
    done = subprocess.run(
        [sys.executable, "-c", MODULES_AT_EXIT, str(report)],
        cwd=toolchat.folder,
        env={**toolchat.environment, **COMPLETE, "_TYPER_COMPLETE_ARGS": "toolchat tools show c"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split(b"\t")[0].strip() in (b"calculate", b"convert_units", b"current_time")
    assert {name.partition(".")[0] for name in report.read_text().splitlines()} & HEAVY == set()

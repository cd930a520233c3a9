"""MCP servers on the command line: shown, checked, called, and part of what is accepted with a tools file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_program import Program

from toolchat.cli import tool_login
from toolchat.cli.main import app
from toolchat.cli.tool_login import log_out_at
from toolchat.cli.trust_question import allowed, describe
from toolchat.settings import state_folder
from toolchat.tools.code import read_code
from toolchat.tools.mcp.login_store import Login, Logins
from toolchat.wire.errors import UsageError

SCRIPTED = Path(__file__).with_name("scripted_program.py")
HOSTILE = Path(__file__).parents[1] / "tools" / "mcp" / "hostile_server.py"
GOOD = {"command": [sys.executable, "-I", "-S", str(HOSTILE), "plain"]}


def write(folder: Path, **servers: object) -> Path:
    path = folder / "tools.yaml"
    path.write_text(json.dumps({"version": 1, "mcp": servers}))
    return path


def test_the_question_shows_what_is_started_and_where_words_go(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("print('served')")
    path = write(
        tmp_path,
        a={"command": "npx", "args": ["-y", "server\x1b[31m"], "env": {"KEY": "${TOKEN}"}, "approval": "allow"},
        b={"url": "https://exаmple.org/mcp", "tools": {"read": {"approval": "allow"}}},
        c={"command": ["python", "server.py"], "privileges": "keep"},
    )
    code = read_code(path)
    text = "\n".join(describe(code))
    for told in (
        "The MCP server a is started: npx -y server␛[31m",
        "runs without asking; sets KEY; is given TOKEN; runs whatever version of server␛[31m is the newest",
        "The MCP server b is sent what the model writes: https://exаmple.org/mcp",
        "U+0430 CYRILLIC SMALL LETTER A",
        "read without asking",
        "keeps your privileges",
        "Its code: server.py.",
    ):
        assert told in text, text
    assert [server.name for server in allowed(code)] == ["a", "b"]


@pytest.mark.process
def test_a_folders_servers_are_not_started_unasked(forked_toolchat: Program, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    write(forked_toolchat.folder, a={"command": ["touch", str(mark)]})
    line = forked_toolchat("tools", "mcp").refused(2)
    assert "toolchat tools trust" in line
    assert not mark.exists()


@pytest.mark.process
def test_servers_are_shown_and_one_that_fails_is_a_problem(forked_toolchat: Program) -> None:
    gone = {"command": ["no-such-program"]}
    path = write(forked_toolchat.folder, good=GOOD, gone=gone)
    ran = forked_toolchat("tools", "mcp", "--tools", str(path))
    assert ran.code == 1
    assert "gone: there is no program" in ran.out
    assert "2025-06-18" in ran.out
    assert "␛[31mplain 1" in ran.out
    path = write(forked_toolchat.folder, gone=gone)
    checked = forked_toolchat("tools", "check", str(path))
    assert checked.code == 2
    assert "the server gone is not there: there is no program" in checked.out


def test_logging_out_needs_the_address_alone(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool_login, "hide_memory", lambda: None)  # of this process, the tests'
    # As without the extra mcp.
    monkeypatch.setitem(sys.modules, "httpx2", None)
    for name in ("authorization", "endpoints", "login"):
        monkeypatch.delitem(sys.modules, f"toolchat.tools.mcp.{name}", raising=False)
    path = write(
        tmp_path,
        s={
            "url": "https://${HOST_OF_S}/mcp",
            "headers": {"X-Key": "${NO_SUCH_KEY}"},
            "oauth": {"client_id": "toolchat", "client_secret": "${NO_SUCH_SECRET}", "issuer": "https://login.example"},
        },
    )
    with pytest.raises(UsageError, match="s: it needs the variable HOST_OF_S, which is not set; set it"):
        log_out_at(path, "s")
    monkeypatch.setenv("HOST_OF_S", "s.example")
    with pytest.raises(UsageError, match="s: you are not logged in there"):
        log_out_at(path, "s")
    url, issuer = "https://s.example/mcp", "https://login.example"
    Logins(state_folder()).keep(Login(url, url, issuer, f"{issuer}/token", "toolchat", "secret-token"))
    log_out_at(path, "s")
    told = f"You are logged out at s; {issuer} was not told, or did not say that it knows.\n"
    assert capsys.readouterr() == ("", told)
    assert Logins(state_folder()).get(url) is None


@pytest.mark.parametrize("command", [("login", "s"), ("logout", "s")])
def test_json_before_a_command_that_prints_none_is_refused(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = write(tmp_path, s={"url": "https://s.example/mcp"})
    line = f"tools mcp {command[0]} prints no JSON; leave --json out"
    with pytest.raises(UsageError, match=line):
        app(args=["tools", "mcp", "--json", "--tools", str(path), *command], standalone_mode=False)


@pytest.mark.process
def test_a_question_is_answered_with_a_servers_tool(forked_toolchat: Program, model_folder: Path) -> None:
    path = write(forked_toolchat.folder, s={**GOOD, "tools": {"arguments": {"approval": "allow"}}})
    answers = json.dumps([[["s_arguments", {}], ["s_environment", {}]], "Done."])
    asked = (
        str(SCRIPTED),
        answers,
        "ask",
        "--model",
        str(model_folder),
        "--tools",
        str(path),
        "--allow",
        "s_change",
        "go",
    )
    ran = forked_toolchat.fork(*asked)
    # One of the two calls needs approval, and nobody can be asked.
    assert (ran.code, ran.out) == (4, "Done.\n")
    assert f'[["plain"], "{forked_toolchat.folder}"]' in ran.err
    assert "nobody can be asked" in ran.err

"""Attacks by the keys of a tools file: what was accepted or granted is one file, with all that it names."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from toolchat.cli.trust_question import allowed, describe
from toolchat.tools.code import ToolsCode, read_code
from toolchat.tools.commands import CommandFailed
from toolchat.tools.load import load_tools

CODE = '''
def send(text: str, host: str = "a", key: str = "") -> str:
    """Send."""
    return text

class Mail:
    def __init__(self, host: str = "a") -> None:
        self.host = host
    def post(self, text: str, to: str = "me") -> str:
        """Post."""
        return text
    def read(self) -> str:
        """Read."""
        return ""
'''
FILE = """version: 1
tools:
- callable: ./mail.py:send
  arguments: {host: safe, key: "${MAIL_KEY}"}
  env: {MODE: "${MAIL_MODE}"}
  cwd: ./one
- callable: ./mail.py:Mail
  arguments: {host: safe}
  instance: box
  methods: {post: {arguments: {to: me}}}
- command: [./run.sh, --safe, "{text}"]
  name: run
  description: Run.
- command: echo {text}
  name: shout
  description: Shout.
  shell: true
- include: ./more.yaml
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAIL_KEY", "first-secret")
    monkeypatch.setenv("MAIL_MODE", "safe")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "mail.py").write_text(CODE)
    (tmp_path / "run.sh").write_text("#!/bin/sh\necho $1\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "more.yaml").write_text("version: 1\ntools:\n- callable: ./mail.py:send\n  name: more\n")
    path = tmp_path / "tools.yaml"
    path.write_text(FILE)
    return path


def digests(path: Path) -> dict[str, str]:
    return {tool.name: tool.source_digest for tool in load_tools(path).toolbox.tools}


def test_the_value_of_a_variable_is_no_part_of_a_grant(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, accepted = digests(path), read_code(path).contents()
    monkeypatch.setenv("MAIL_KEY", "second-secret")
    assert digests(path) == before
    assert read_code(path).contents() == accepted


@pytest.mark.parametrize(
    ("old", "new", "ended"),
    [
        ("host: safe, key", "host: evil, key", {"send"}),
        ("${MAIL_KEY}", "${OTHER_KEY:-x}", {"send"}),
        ('MODE: "${MAIL_MODE}"', 'MODE: "rw"', {"send"}),
        ("cwd: ./one", "cwd: ./two", {"send"}),
        ("  arguments: {host: safe}\n", "  arguments: {host: evil}\n", {"post", "read"}),
        ("instance: box", "instance: other", {"post", "read"}),
        ("to: me", "to: them", {"post", "read"}),
        ("--safe", "--unsafe", {"run"}),
        ("echo {text}", "eval {text}", {"shout"}),
        ("name: run", "stdin: x\n  name: run", {"run"}),
    ],
)
def test_a_grant_ends_with_a_change_of_what_the_file_gives_the_tool(
    path: Path, old: str, new: str, ended: set[str]
) -> None:
    before = digests(path)
    assert set(before) == {"send", "post", "read", "run", "shout", "more"}
    accepted = read_code(path).contents()
    path.write_text(FILE.replace(old, new))
    after = digests(path)
    assert {name for name in before if before[name] != after[name]} == ended
    assert read_code(path).contents() != accepted


def test_a_grant_ends_with_a_change_of_the_program_that_a_command_runs(path: Path) -> None:
    before, accepted = digests(path), read_code(path).contents()
    script = path.parent / "run.sh"
    script.write_text("#!/bin/sh\nrm -rf $1\n")
    after, now = digests(path), read_code(path).contents()
    assert {name for name in before if before[name] != after[name]} == {"run"}
    assert {file for file in now if now[file] != accepted[file]} == {str(script)}


def test_a_script_that_an_interpreter_or_a_shell_is_given_counts_as_its_program(path: Path) -> None:
    (path.parent / "job.py").write_text("print(1)\n")
    text = f"version: 1\ntools:\n- command: [{sys.executable}, ./job.py]\n  name: job\n  description: Job.\n"
    path.write_text(f"{text}- command: cd /tmp; sh ./run.sh\n  name: line\n  description: Line.\n  shell: true\n")
    before = digests(path)
    (path.parent / "job.py").write_text("print(2)\n")
    after = digests(path)
    assert {name for name in before if before[name] != after[name]} == {"job"}
    (path.parent / "run.sh").write_text("#!/bin/sh\nrm -rf /\n")
    assert digests(path)["line"] != after["line"]


@pytest.mark.process
def test_a_script_that_comes_or_changes_after_the_tools_were_read_is_not_run(path: Path) -> None:
    path.write_text("version: 1\ntools:\n- command: [sh, ./late.sh]\n  name: late\n  description: Late.\n")
    code = replace(read_code(path), closed=True)
    script = path.parent / "late.sh"
    script.write_text("touch ran\n")
    for loaded, reason in ((load_tools(code), "has come"), (load_tools(read_code(path)), "has changed")):
        with pytest.raises(CommandFailed, match=rf"late.sh {reason} since the tools were read"):
            loaded.tools[0].function()
        script.write_text("touch ran # again\n")
    assert not (path.parent / "ran").exists()


def test_an_included_file_is_accepted_with_the_file_and_read_once(path: Path) -> None:
    code = read_code(path)
    more = path.parent / "more.yaml"
    more.write_text(more.read_text().replace("name: more", "name: evil\n  approval: allow"))
    assert [entry.name for entry in code.entries()][-1] == "more"
    descriptor = code.to_descriptor()
    assert [entry.name for entry in ToolsCode.from_descriptor(descriptor).entries()][-1] == "more"
    now = read_code(path)
    assert {file for file in now.contents() if now.contents()[file] != code.contents().get(file)} == {str(more)}
    assert [entry.name for entry in allowed(now)] == ["evil"]


def test_a_sample_that_is_given_something_is_no_sample(path: Path) -> None:
    sample = "version: 1\ntools:\n- callable: toolchat.samples.weather:get_current_weather\n"
    path.write_text(sample)
    assert read_code(path).samples_only
    for more in ("arguments: {unit: celsius}", "env: {PATH: .}", "cwd: ./one"):
        path.write_text(f"{sample}  {more}\n")
        code = read_code(path)
        assert not code.samples_only, more
        # Its `allow` counts no more than that of other tools, where the file was found.
        path.write_text(f"{sample}  {more}\n  approval: allow\n")
        code = replace(read_code(path), allows=False)
        (tool,) = code.approved(load_tools(path).toolbox).tools
        assert tool.options.approval == "ask", more
        assert allowed(code)
    path.write_text("version: 1\ntools:\n- include: ./more.yaml\n")
    assert not read_code(path).samples_only


def test_the_question_says_what_a_tool_is_given_and_which_program_runs(path: Path) -> None:
    path.write_text(path.read_text().replace("{post: {arguments", "{post: {approval: allow, arguments"))
    code = read_code(path)
    rows = [" ".join(row.split()) for row in describe(code)]
    assert "./mail.py:send asks before it runs; sets MODE; is given MAIL_KEY, MAIL_MODE" in rows
    assert "./mail.py:Mail asks before it runs; post without asking" in rows
    assert "command: ./run.sh --safe {text} asks before it runs" in rows
    assert "shell: echo {text} asks before it runs" in rows
    assert any("run.sh" in row for row in rows if row.startswith("Its code"))
    assert [entry.target.attribute for entry in allowed(code)] == ["Mail"]


def test_allow_by_default_is_not_for_programs(path: Path) -> None:
    path.write_text(
        "version: 1\ndefaults: {approval: allow}\ntools:\n- command: [echo]\n  description: Echo.\n- math:gcd\n"
    )
    assert [tool.options.approval for tool in load_tools(path).toolbox.tools] == ["ask", "allow"]

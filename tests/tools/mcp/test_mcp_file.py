"""What a tools file may say of servers, and what is said of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from toolchat.tools.code import read_code
from toolchat.tools.file_schema import file_schema
from toolchat.tools.mcp.entry import McpServer, OAuth, unpinned
from toolchat.tools.mcp.server_tools import legal_name, signature, unique_name, with_right_rules
from toolchat.tools.problems import Place
from toolchat.tools.rules import NO_RULES
from toolchat.tools.toolbox import Approval, Privileges, Tool, ToolOptions
from toolchat.tools.tools_file import read_tools_file
from toolchat.wire.errors import UsageError

WHOLE = """\
version: 1
mcp:
  files:
    command: npx
    args: [-y, "@modelcontextprotocol/server-filesystem", .]
    env: {LEVEL: debug, TOKEN: "${FILES_TOKEN}"}
    include: ["read_*", list]
    exclude: [read_all]
    approval: ask
    timeout: 10s
    max_result_tokens: 500
    start_timeout: 1m
    privileges: keep
    tools:
      read_text: {approval: allow}
      "read_*": {timeout: 2s}
  docs:
    url: https://docs.example/mcp
    headers: {Authorization: "Bearer ${DOCS_TOKEN}"}
    oauth: {client_id: me, client_secret: "${DOCS_SECRET}", issuer: "https://${ISSUER}", scope: "${SCOPE}", port: 8123}
    prefix: d-
    untrusted: false
  off: {command: [false], enabled: false}
"""


def write(folder: Path, text: str, name: str = "tools.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def servers(folder: Path, text: str) -> tuple[McpServer, ...]:
    return read_tools_file(write(folder, text)).servers


def test_a_right_section_becomes_servers_in_order(tmp_path: Path) -> None:
    files, docs = servers(tmp_path, WHOLE)
    assert files.command == ("npx", "-y", "@modelcontextprotocol/server-filesystem", ".")
    assert (files.prefix, docs.prefix) == ("files_", "d-")
    assert (files.sets, files.given) == ((("LEVEL", "debug"), ("TOKEN", "${FILES_TOKEN}")), ("FILES_TOKEN",))
    assert [files.takes(name) for name in ("read_text", "list", "read_all", "write")] == [True, True, False, False]
    assert files.options_of("read_text") == {
        **{"approval": Approval.ALLOW, "timeout": 2.0, "max_result_tokens": 500},
        **{"privileges": Privileges.KEEP, "rules": NO_RULES},
    }
    assert files.start_timeout == 60
    assert files.allows
    assert docs.headers == (("Authorization", "Bearer ${DOCS_TOKEN}"),)
    assert docs.oauth == OAuth("me", "${DOCS_SECRET}", "https://${ISSUER}", "${SCOPE}", 8123)
    assert docs.given == ("DOCS_SECRET", "DOCS_TOKEN", "ISSUER", "SCOPE")
    assert docs.options_of("any") == {"untrusted": False}
    jsonschema.Draft7Validator(file_schema()).validate(yaml.safe_load(WHOLE))


def test_approval_by_pattern_is_that_of_other_tools(tmp_path: Path) -> None:
    rules = 'tools: {write: {approval: {allow: {path: "docs/**"}, else: deny}}}'
    (server,) = servers(tmp_path, f"version: 1\nmcp: {{a: {{command: x, approval: ask, {rules}}}}}\n")
    options = server.options_of("write")
    assert options["approval"] is Approval.DENY
    assert options["rules"].allow
    assert server.allows
    assert server.options_of("read")["rules"] == NO_RULES


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("5", r"mcp is 5; expected servers by name"),
        ("{a: 5}", r"the server a is 5; expected the keys"),
        ("{a b: {url: https://x}}", r"a server is named .*; expected 1 to 40 of the characters"),
        ("{a: {}}", r"has neither command nor url; expected one of them"),
        ("{a: {command: x, url: https://x}}", r"has both command and url"),
        ("{a: {command: []}}", r"command is a list; expected a program"),
        ("{a: {command: x, args: word}}", r'args is "word"; expected a list of words'),
        ("{a: {command: x, args: [null]}}", r"args is a list; expected a list of words"),
        ("{a: {url: ftp://x}}", r'url is "ftp://x"; expected https://host/path'),
        ('{a: {url: "https://x/a b"}}', r"url is .*; expected https://host/path"),
        ("{a: {url: https://x, headers: [b]}}", r"headers is a list; expected a mapping"),
        ('{a: {url: https://x, headers: {"a b": c}}}', r"headers holds .*; expected a name and one line of text"),
        ("{a: {url: https://x, transport: tcp}}", r'transport is "tcp"; expected http or sse'),
        ("{a: {url: https://x, args: [a]}}", r"args stands beside url, where it means nothing"),
        ("{a: {command: x, headers: {a: b}}}", r"headers stands beside command, where it means nothing"),
        ("{a: {command: x, comand: y}}", r'unknown key "comand"; .*did you mean "command"'),
        ("{a: {command: x, approval: yes}}", r'approval is yes; expected allow, ask or deny; did you mean "allow"'),
        ("{a: {command: x, tools: {t: {memory: 5}}}}", r'unknown key "memory"'),
        ("{a: {command: x, env: {TOOLCHAT_KEY: y}}}", r"expected no TOOLCHAT_ name"),
        ('{a: {command: x, args: ["${TOOLCHAT_KEY}"]}}', r"expected no TOOLCHAT_ name"),
        ("{a: {command: x, prefix: p_}, b: {command: y, prefix: p_}}", r'the tools of b and a begin with "p_"'),
        ("{a: {command: x, prefix: 'a b'}}", r'prefix is "a b"; expected 1 to 63'),
        ("{a: {command: x, roots: here}}", r'roots is "here"; expected true or false'),
        ("{a: {command: x, oauth: {scope: a}}}", r"oauth stands beside command, where it means nothing"),
        ("{a: {url: https://x, oauth: 5}}", r"oauth is 5; expected the keys"),
        ("{a: {url: https://x, oauth: {clientid: x}}}", r'unknown key "clientid"; .*did you mean "client_id"'),
        ("{a: {url: https://x, oauth: {client_id: [a]}}}", r"client_id is a list; expected one line of text"),
        ("{a: {url: https://x, oauth: {scope: null}}}", r"scope is .*; expected one line of text"),
        ("{a: {url: https://x, oauth: {port: 80}}}", r"port is 80; expected 1024 to 65535"),
        ("{a: {url: https://x, oauth: {port: ²}}}", r"port is .*; expected 1024 to 65535"),
        ("{a: {url: https://x, oauth: {client_secret: x}}}", r"client_secret stands without client_id; add that"),
        (
            "{a: {url: https://x, oauth: {client_id: a, client_secret: b}}}",
            r"client_secret stands without issuer, .*; add issuer: https://",
        ),
        ("{a: {url: https://x, oauth: {issuer: docs}}}", r'issuer is "docs"; expected https://host'),
        ("{a: {url: https://x, oauth: {port: null}}}", r"port is .*; expected one line of text"),
        ("{a: {url: https://x, oauth: {port: 0}}}", r"port is 0; expected 1024 to 65535"),
        ("{a: {url: https://x, oauth: {client_id: null, client_secret: x, issuer: https://y}}}", r"client_id is .*"),
        ('{a: {url: https://x, oauth: {client_id: "${TOOLCHAT_KEY}"}}}', r"expected no TOOLCHAT_ name"),
        ("{a: {command: x, start_timeout: soon}}", r'timeout is "soon"; expected seconds'),
    ],
)
def test_a_wrong_entry_is_told_in_one_line(tmp_path: Path, entry: str, line: str) -> None:
    with pytest.raises(UsageError) as told:
        servers(tmp_path, f"version: 1\nmcp: {entry}\n")
    assert re.search(rf"^{re.escape(str(tmp_path))}/tools.yaml:2:\d+: .*{line}", str(told.value)), str(told.value)
    assert "\n" not in str(told.value)


FOREIGN = {
    "mcpServers": {
        "one server": {"command": "npx", "args": ["-y", "a"], "env": {"PYTHONPATH": "x", "K": "${env:SECRET}"}},
        "remote": {"type": "sse", "url": "https://x/sse", "autoApprove": ["everything"]},
        "off": {"command": "x", "disabled": True},
    }
}


@pytest.mark.parametrize("key", ["mcpServers", "servers"])
def test_files_of_other_programs_are_taken(tmp_path: Path, key: str) -> None:
    write(tmp_path, json.dumps({key: FOREIGN["mcpServers"]}, indent="\t"), ".mcp.json")
    including = "version: 1\ntools:\n- {include: .mcp.json, prefix: x_, exclude: [nothing]}\n"
    one, remote = servers(tmp_path, including)
    assert (one.name, one.prefix) == ("one_server", "x_one_server_")
    assert dict(one.sets) == {"PYTHONPATH": "x", "K": "${SECRET}"}
    assert (remote.transport, remote.url) == ("sse", "https://x/sse")
    assert not remote.allows
    file = read_tools_file(tmp_path / "tools.yaml")
    assert any("autoApprove is not taken from this file" in notice for notice in file.notices)
    assert [server.name for server in read_tools_file(tmp_path / ".mcp.json").servers] == ["one_server", "remote"]


def test_an_input_of_another_program_is_refused(tmp_path: Path) -> None:
    entry = {"mcpServers": {"a": {"command": "x", "args": ["${input:key}"]}}}
    with pytest.raises(UsageError, match="asks for an input of another program"):
        read_tools_file(write(tmp_path, json.dumps(entry), "mcp.json"))


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("npx -y @scope/server .", "@scope/server"),
        ("npx -y @scope/server@1.2.3 .", None),
        ("npx -y @scope/server@latest", "@scope/server@latest"),
        ("npx -y server@1", "server@1"),
        ("npx -p server@1.0.0 run", None),
        ("npx --package=server run", "server"),
        ("/usr/bin/npx server", "server"),
        ("uvx mcp-server-time --local-timezone=UTC", "mcp-server-time"),
        ("uvx mcp-server-time==2025.1.1", None),
        ("uvx --from mcp-server-time@2025.1.1 run", None),
        ("uvx --python 3.12 mcp-server-time", "mcp-server-time"),
        ("uv tool run mcp-server-time", "mcp-server-time"),
        ("uv run ./server.py", None),
        ("pipx run mcp-server", "mcp-server"),
        ("npm exec server", "server"),
        ("pnpm dlx server", "server"),
        ("python server.py", None),
        ("npx", None),
    ],
)
def test_a_server_of_whatever_version_is_known(command: str, package: str | None) -> None:
    assert unpinned(command.split()) == package


def test_a_section_is_code_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, "print('served')", "server.py")
    write(tmp_path, json.dumps({"mcpServers": {}}), "m.json")
    path = write(
        tmp_path, "version: 1\ntools: [{include: m.json}]\nmcp: {a: {command: [python, server.py]}, b: {command: ls}}\n"
    )
    code = read_code(path)
    assert not code.samples_only
    assert code.reach["mcp:a"] == (str(tmp_path / "server.py"),)
    before = code.contents()
    assert {str(tmp_path / name) for name in ("tools.yaml", "m.json", "server.py")} <= set(before)
    write(tmp_path, "print('other')", "server.py")
    assert read_code(path).contents() != before


def test_a_grant_ends_with_command_address_tool_and_file() -> None:
    def digest(tool: dict[str, Any], files: dict[str, str] | None = None, **of: Any) -> str:
        return McpServer("a", Place(1, 1), **{"command": ("x",), **of}).digest(tool, files or {})

    same = digest({"fingerprint": "1"})
    assert same == digest({"fingerprint": "1"}, prefix="other_", options={"timeout": 3})
    others = [
        digest({"fingerprint": "2"}),
        digest({"fingerprint": "1"}, command=("x", "y")),
        digest({"fingerprint": "1"}, command=(), url="https://x"),
        digest({"fingerprint": "1"}, sets=(("A", "b"),)),
        digest({"fingerprint": "1"}, {"server.py": "0"}),
        digest({"fingerprint": "1"}, oauth=OAuth(issuer="https://y")),
    ]
    assert len({same, *others}) == 7


@settings(max_examples=40)
@given(st.text(max_size=80), st.sampled_from(["a_", "server-1_", "x" * 60]))
def test_every_name_becomes_a_legal_one(name: str, prefix: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", legal_name(prefix, name))


def test_a_plain_name_stays_what_it_is() -> None:
    assert legal_name("files_", "read-file_2") == "files_read-file_2"


@given(st.lists(st.text(max_size=8), max_size=12), st.lists(st.text("ab_", min_size=1, max_size=4), max_size=4))
@example(["_", "_"], ["a___"])
def test_names_are_never_taken_twice_nor_another_servers(names: list[str], others: list[str]) -> None:
    taken: set[str] = set()
    for name in names:
        made = unique_name("a_", name, taken, others)
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", made)
        assert made not in taken
        assert not any(made.startswith(other) for other in others if len(other) > 2)
        taken.add(made)


def test_a_signature_is_written_from_a_schema() -> None:
    schema = {
        "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", 2]}, "c": {"type": ["string", "null"]}, "d": 5},
        "required": ["a"],
    }
    assert signature("f", schema) == 'f(a: integer, b?: "x" | 2, c?: string | null, d?)'


def test_a_rule_for_an_argument_that_no_tool_of_the_server_has_is_told_and_its_calls_ask(tmp_path: Path) -> None:
    (server,) = servers(
        tmp_path, 'version: 1\nmcp: {a: {command: x, approval: {deny: {pth: "/etc/**"}, else: allow}}}\n'
    )
    said = replace(ToolOptions(), **server.options_of("read"))
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}}
    tools, slips = with_right_rules([Tool("a_read", "", parameters, "mcp:a:read", "a_read()", "t:1:1", options=said)])
    assert slips == ['approval names the argument "pth", which none of its tools has; correct it: until then calls ask']
    assert tools[0].options.approval is Approval.ASK
    (right,) = servers(tmp_path, "version: 1\nmcp: {a: {command: x, approval: {deny: {path: x}, else: allow}}}\n")
    one = Tool("a", "", parameters, "mcp:a:r", "a()", "t:1:1", options=replace(said, **right.options_of("read")))
    assert with_right_rules([one]) == ([one], [])

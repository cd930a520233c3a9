from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from toolchat.tools.host.protocol import decode_toolbox, encode_toolbox
from toolchat.tools.rules import Call, Grant, Likeness, Rules, likeness
from toolchat.tools.toolbox import Approval, Tool, Toolbox, ToolOptions
from toolchat.tools.tools_file import read_tools_file, scan_tools_file
from toolchat.wire.errors import UsageError

TEXT = {"type": "string"}
COPY = {
    "type": "object",
    "properties": {"path": TEXT, "content": TEXT, "force": {"type": "boolean", "default": False}, "limit": {}},
    "additionalProperties": False,
}


def rules_of(folder: Path, approval: str) -> tuple[Approval, Rules]:
    path = folder / "tools.yaml"
    path.write_text(f"version: 1\ntools:\n  - callable: m:f\n    approval: {approval}\n")
    (entry,) = read_tools_file(path).entries
    return entry.options.approval, entry.options.rules


def verdict(folder: Path, approval: str, **arguments: Any) -> str:
    return rules_of(folder, approval)[1].verdict(Call(COPY, arguments, str(folder)))


def test_deny_counts_before_ask_and_ask_before_allow(tmp_path: Path) -> None:
    written = '{allow: {path: "**"}, ask: {path: "docs/**"}, deny: {path: "docs/x"}}'
    assert verdict(tmp_path, written, path="a") == "allow"
    assert verdict(tmp_path, written, path="docs/a") == "ask"
    assert verdict(tmp_path, written, path="docs/x") == "deny"
    assert verdict(tmp_path, written, path="../a") == ""


def test_a_rule_means_calls_all_of_whose_named_arguments_fit_and_a_list_means_any_of_its_rules(tmp_path: Path) -> None:
    written = '{allow: [{path: ["docs/**", "*.md"], force: false}, {content: "hello*"}]}'
    assert verdict(tmp_path, written, path="docs/a", force=False) == "allow"
    assert verdict(tmp_path, written, path="a.md", force=False) == "allow"
    assert verdict(tmp_path, written, path="docs/a", force=True) == ""
    assert verdict(tmp_path, written, path="/etc/a", content="hello you", force=True) == "allow"


def test_an_argument_that_is_left_out_has_the_default_that_the_schema_tells(tmp_path: Path) -> None:
    assert verdict(tmp_path, "{allow: {force: false}}", path="a") == "allow"
    assert verdict(tmp_path, "{deny: {force: false}}", path="a") == "deny"


def test_a_default_that_nobody_tells_allows_nothing_and_may_be_what_is_denied(tmp_path: Path) -> None:
    assert verdict(tmp_path, "{allow: {path: '**'}}") == ""
    assert verdict(tmp_path, "{deny: {path: 'secrets/**'}}") == "ask"
    assert verdict(tmp_path, "{deny: {path: 'secrets/**', force: true}}") == ""


def test_what_may_be_denied_is_asked_about_though_it_is_allowed(tmp_path: Path) -> None:
    written = '{allow: {path: "**"}, deny: {path: "secrets/**"}}'
    assert verdict(tmp_path, written, path="SECRETS/a") == "ask"
    assert verdict(tmp_path, written, path=".") == "ask"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{}", "approval is an empty mapping"),
        ("{permit: {path: a}}", 'the key "permit"'),
        ("{allow: {}}", "expected the patterns of arguments"),
        ("{allow: []}", "allow of approval is empty"),
        ("{allow: docs}", "expected the patterns of arguments"),
        ("{allow: {path: []}}", "expected a pattern"),
        ("{allow: {path: {a: b}}}", "expected a pattern"),
        ("{allow: {path: a}, else: perhaps}", "else of approval"),
    ],
)
def test_a_wrong_rule_is_a_problem_at_its_place(tmp_path: Path, written: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        rules_of(tmp_path, written)
    assert problem in str(caught.value)
    assert ":4:" in str(caught.value)


def test_what_no_rule_means_is_as_else_says_and_asks_where_nothing_is_said(tmp_path: Path) -> None:
    assert rules_of(tmp_path, "{deny: {path: a}}")[0] is Approval.ASK
    assert rules_of(tmp_path, "{deny: {path: a}, else: allow}")[0] is Approval.ALLOW


def test_an_own_approval_takes_the_place_of_the_defaults_with_their_rules(tmp_path: Path) -> None:
    path = tmp_path / "tools.yaml"
    path.write_text(
        "version: 1\ndefaults: {approval: {allow: {path: '**'}, deny: {path: x}}}\n"
        "tools: [m:a, {callable: m:b, approval: ask}, {command: 'ls {path}', description: d}]\n"
    )
    a, b, command = read_tools_file(path).entries
    assert a.options.rules.allow
    assert b.options.rules == Rules()
    # Who allows functions by default has not looked at a program; what is denied is denied.
    assert not command.options.rules.allow
    assert command.options.rules.deny


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{deny: {pth: a}}", 'names the argument "pth"; expected path, content, force, limit'),
        ("{allow: {path: 'a/*/../b'}}", "goes up"),
        ("{allow: {path: 'docs/**'}}", ""),
    ],
)
def test_a_rule_that_means_no_argument_of_the_tool_is_a_problem(tmp_path: Path, written: str, problem: str) -> None:
    found = list(rules_of(tmp_path, written)[1].problems(COPY))
    assert problem in found[0] if problem else not found


def test_rules_cross_to_the_chat_as_they_are(tmp_path: Path) -> None:
    _, rules = rules_of(tmp_path, '{allow: [{path: [a, 1]}], deny: {force: true, limit: null}, ask: {content: "x*"}}')
    tool = Tool("f", "", COPY, "m:f", "", "t:1:1", ToolOptions(rules=rules))
    sent = json.loads(json.dumps(encode_toolbox(Toolbox(tmp_path, (tool,)))))
    assert decode_toolbox(tmp_path, sent).tools == (tool,)
    assert Rules.decode(json.loads(json.dumps(asdict(rules)))) == rules


def test_an_example_of_the_reference_is_right(tmp_path: Path) -> None:
    _, problems = scan_tools_file(tmp_path / "t", b"version: 1\ntools: [{callable: m:f, approval: {allow: {path: a}}}]")
    assert not problems


# What the dialog offers.


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work" / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "work" / "link").symlink_to("/usr")
    return tmp_path / "work"


SHELL = {"properties": {"command": TEXT, "cwd": TEXT, "mode": {"enum": ["a", "b"]}, "url": TEXT, "note": TEXT}}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"path": "docs/a.md"}, "path: docs/*"),
        ({"path": "a.md", "content": "x", "force": True}, "path: *; force: true; content: any text"),
        ({"path": "/usr/share/a"}, "path: /usr/share/*"),
        ({"path": "link/share/a"}, "path: /usr/share/*"),
        ({"path": "docs/a.md", "content": "/etc/x"}, "path: docs/*; content: /etc/x"),
        ({"path": "../a"}, ""),
        ({"path": "../.ssh/a"}, ""),
        ({"path": "docs/.env"}, ""),
        ({"path": "/a"}, ""),
        ({"path": "docs/*"}, ""),
        ({"path": "docs/a\nb"}, ""),
        ({"path": ["docs/a"]}, ""),
        ({"content": "x"}, ""),
        ({}, ""),
    ],
)
def test_calls_in_the_same_folder_are_offered(work: Path, arguments: dict[str, Any], text: str) -> None:
    found = likeness(Call(COPY, arguments, str(work)))
    assert (found.text(str(work)) if found else "") == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"command": "git log -3"}, "command: git log or git log *"),
        ({"command": "ls -la"}, "command: ls or ls *"),
        ({"command": "ls", "mode": "a", "note": "x"}, "command: ls or ls *; mode: a; note: any text"),
        ({"command": "rm x"}, ""),
        ({"command": "bash x"}, ""),
        ({"command": "./x y"}, ""),
        ({"command": "git log; rm x"}, ""),
        ({"command": "git log $(rm x)"}, ""),
        ({"command": "A=1 git log"}, ""),
        ({"url": "https://docs.org/a/b"}, "url: https://docs.org/**"),
        ({"url": "https://me@docs.org/a"}, ""),
        ({"url": "file:///etc/passwd"}, ""),
    ],
)
def test_calls_of_the_same_program_or_host_are_offered(work: Path, arguments: dict[str, Any], text: str) -> None:
    found = likeness(Call(SHELL, arguments, str(work)))
    assert (found.text(str(work)) if found else "") == text


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ({"path": "docs/b.md", "content": "y", "force": False}, True),
        ({"path": "docs/b.md", "force": False}, True),
        ({"path": "docs/deep/b.md", "content": "y", "force": False}, False),
        ({"path": "docs/../b.md", "content": "y", "force": False}, False),
        ({"path": "docs/b.md", "content": "y", "force": True}, False),
        ({"path": "docs/b.md", "content": "y", "force": 0}, False),
        ({"path": "docs/b.md", "content": ["y"], "force": False}, False),
        ({"path": "docs/b.md", "content": "y"}, False),
        ({"path": "docs/b.md", "content": "y", "force": False, "limit": 3}, False),
        ({"content": "y", "force": False}, False),
    ],
)
def test_a_likeness_means_no_call_with_what_nobody_has_looked_at(
    work: Path, arguments: dict[str, Any], meant: bool
) -> None:
    found = likeness(Call(COPY, {"path": "docs/a.md", "content": "x", "force": False}, str(work)))
    assert found is not None
    assert found.means(Call(COPY, arguments, str(work))) is meant
    assert Likeness.decode(found.encode()) == found


def test_a_likeness_of_paths_holds_in_the_folder_that_it_was_given_in(work: Path) -> None:
    found = likeness(Call(COPY, {"path": "docs/a.md"}, str(work)))
    assert found is not None
    assert not found.means(Call(COPY, {"path": "docs/a.md"}, str(work / "docs")))
    assert found.means(Call(COPY, {"path": "a.md"}, str(work / "docs")))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"any":[],"like":{},"same":{}}', '{"any":[1],"like":{"a":["b"]},"same":{}}', "[" * 5000]
)
def test_a_grant_by_pattern_that_cannot_be_read_means_nothing(text: str) -> None:
    assert Grant("d", f"like {text}").likeness is None
    assert Likeness.decode('{"any":[],"like":{"a":"b"},"same":{}}') is None


def test_a_schema_that_says_true_of_an_argument_is_taken_as_any(tmp_path: Path) -> None:
    parameters = {"type": "object", "properties": {"value": True, "path": TEXT}}
    rules = rules_of(tmp_path, "{deny: {value: secret}, else: allow}")[1]
    assert rules.verdict(Call(parameters, {"value": "secret"}, str(tmp_path))) == "deny"
    assert rules.verdict(Call(parameters, {"value": "x"}, str(tmp_path))) == ""
    assert list(rules.problems(parameters)) == []


def test_nothing_like_an_address_that_is_none_is_offered(tmp_path: Path) -> None:
    call = Call({"type": "object", "properties": {"url": TEXT}}, {"url": "http://["}, str(tmp_path))
    assert likeness(call) is None

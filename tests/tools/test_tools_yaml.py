# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

from pathlib import Path

import pytest

from toolchat.tools.spec import ToolEntry, read_tools_file
from toolchat.wire.errors import ExitCode, UsageError

TOOL = "callable: toolchat.samples.weather:get_current_weather"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "tools.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_right_file_becomes_entries_in_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
# a comment
version: 1
tools:
  - callable: toolchat.samples.weather:get_current_weather
    name: weather
    description: >
      The weather
      now.
  - {callable: "my_tools:greet"}
""",
    )
    assert read_tools_file(path).entries == (
        ToolEntry("toolchat.samples.weather", "get_current_weather", "weather", "The weather now.", f"{path}:4:15"),
        ToolEntry("my_tools", "greet", "greet", None, f"{path}:9:16"),
    )


@pytest.mark.parametrize("text", ["version: 1\ntools: []\n", "\ufeffversion: 1\r\ntools: []\r\n"])
def test_no_tools_is_a_right_file(tmp_path: Path, text: str) -> None:
    assert read_tools_file(write(tmp_path, text)).entries == ()


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        ("toolchat.samples.weather", True),
        ("toolchat.samples", True),
        ("toolchat.samplesx", False),
        ("toolchat", False),
        ("my_tools", False),
        ("my.toolchat.samples.weather", False),
    ],
)
def test_only_the_samples_count_as_samples(module: str, ours: bool) -> None:
    assert ToolEntry(module, "f", "f", None, "tools.yaml:1:1").from_samples is ours


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "1:1", "the file is empty; expected version: 1"),
        ("# only a comment\n", "1:1", "the file is empty"),
        ("tools: [", "2:1", "not valid YAML: did not find expected node content"),
        ("version: 1\ntools:\n  - callable: a:b\n   name: c\n", "4:", "not valid YAML"),
        ("a: b: c", "1:5", "not valid YAML: mapping values are not allowed"),
        ("version: 1\n\ttools: []", "2:1", "not valid YAML: found"),
        ("version: 1\ntools: *nothing", "2:8", "not valid YAML: found undefined alias"),
        ("version: 1\n---\ntools: []\n", "2:1", "not valid YAML: but found another document"),
        ("version: 1\ntools: [\x01]", "2:9", "not valid YAML: control characters"),
        ("[" * 3000, "2:1", "not valid YAML"),
        ("- a\n- b\n", "1:1", "the file is a list; expected the keys version, tools"),
        ("just words", "1:1", 'the file is "just words"; expected the keys version, tools'),
        ("tools: []", "1:1", "version is missing; expected version: 1; add it"),
        ('version: "1"\ntools: []', "1:10", 'version is "1"; expected 1'),
        ("version: 2\ntools: []", "1:10", "version is 2; expected 1"),
        ("version: 1\n", "1:1", "tools is missing; expected a list"),
        ("version: 1\ntools:\n", "2:7", "tools is empty; expected a list"),
        ("version: 1\ntools: {a: b}", "2:8", "tools is a mapping; expected a list"),
        ("version: 1\ntool: []\ntools: []", "2:1", 'unknown key "tool"; expected version, tools; did you mean "tools"?'),
        ("version: 1\ntools: []\n? [x]\n: 1", "3:3", "unknown key a list"),
        ("version: 1\nversion: 1\ntools: []", "2:1", 'the key "version" stands here a second time'),
        (f"version: 1\ntools:\n- {TOOL}\n  name: a\n  name: b", "5:3", 'the key "name" stands here a second time'),
        ("version: 1\ntools:\n- a.b:c", "3:3", 'a tool is "a.b:c"; expected the keys callable, name, description'),
        ("version: 1\ntools:\n- name: x", "3:3", "callable is missing; expected callable: module:function"),
        ("version: 1\ntools:\n- callable: 5", "3:13", "callable is 5; expected text"),
        ("version: 1\ntools:\n- callable: [a]", "3:13", "callable is a list; expected text"),
        ("version: 1\ntools:\n- callable: my_tools.greet", "3:13", 'callable is "my_tools.greet"; expected module:function'),
        ("version: 1\ntools:\n- callable: a:b.c", "3:13", "expected module:function"),
        ("version: 1\ntools:\n- callable: ../x:f", "3:13", "expected module:function"),
        ("version: 1\ntools:\n- callable: m:grüße", "3:13", '"grüße" cannot be a tool\'s name'),
        (f"version: 1\ntools:\n- {TOOL}\n  name: a b", "4:9", 'name is "a b"; expected 1 to 64 of the characters'),
        (f"version: 1\ntools:\n- {TOOL}\n  name: {'x' * 65}", "4:9", "expected 1 to 64"),
        (f"version: 1\ntools:\n- {TOOL}\n  name: 7", "4:9", "name is 7; expected text"),
        (f"version: 1\ntools:\n- {TOOL}\n  description:", "4:15", "description is empty; expected text"),
        (f"version: 1\ntools:\n- {TOOL}\n  description: {'x ' * 600}", "4:16", "description has 1199 characters"),
        (f"version: 1\ntools:\n- {TOOL}\n  desciption: x", "4:3", 'did you mean "description"?'),
        (f"version: 1\ntools:\n- {TOOL}\n- {TOOL}", "4:3", 'a second tool is named "get_current_weather"'),
        ("version: !!python/object:os.x 1\ntools: []", "1:10", "version is 1; expected 1"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_at_its_place(tmp_path: Path, text: str, place: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_tools_file(path)
    assert caught.value.exit_code == ExitCode.USAGE
    line = str(caught.value).splitlines()[0]
    assert line.startswith(f"{path}:{place}")
    assert message in line


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "version: 3\nextra: 1\ntools:\n- name: 'a b'\n- callable: nonsense\n  desc: x\n- callable: m:f\n",
    )
    with pytest.raises(UsageError) as caught:
        read_tools_file(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(": ")[0] for line in lines] == [
        "1:10", "2:1", "4:3", "4:9", "5:13", "6:3",
    ]  # fmt: skip
    assert all(line.count("; ") >= 2 for line in lines)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version: 1\ntools: \xff\n", "tools.yaml:2: is not UTF-8 text"),
        (b"#" * 1_048_577, "is larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_tools_file(write(tmp_path, data))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.yaml: no such file"):
        read_tools_file(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match="is a folder"):
        read_tools_file(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_tools_file(Path("a\0b"))


def test_aliases_that_multiply_or_loop_cost_nothing(tmp_path: Path) -> None:
    lines = ["x0: &x0 [a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 30)]
    path = write(tmp_path, "\n".join([*lines, "loop: &loop [*loop]", "version: 1", "tools: []"]))
    with pytest.raises(UsageError, match='unknown key "x0"'):
        read_tools_file(path)

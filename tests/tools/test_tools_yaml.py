from __future__ import annotations

from pathlib import Path

import pytest

from toolchat.tools.entry import CallableReference, ToolEntry
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.problems import Place
from toolchat.tools.toolbox import Approval, ToolOptions
from toolchat.tools.tools_file import read_tools_file
from toolchat.wire.errors import UsageError


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
    parameters:
      city: The city
      unit: {enum: [celsius]}
  - {callable: "./sub/my-tools.py:Greeter", arguments: {day: 2025-01-02}, methods: [greet]}
""",
    )
    weather, greeter = read_tools_file(path).entries
    assert weather == ToolEntry(
        CallableReference("toolchat.samples.weather", "get_current_weather"),
        "weather",
        "The weather now.",
        Place(4, 15),
        parameters={
            "city": ParameterEntry(Place(10, 7), {"description": "The city"}, {"description": Place(10, 13)}),
            "unit": ParameterEntry(Place(11, 7), {"enum": ["celsius"]}, {"enum": Place(11, 20)}),
        },
        places=weather.places,
    )
    assert weather.places["description"] == Place(6, 18)
    assert greeter.target == CallableReference("./sub/my-tools.py", "Greeter")
    assert (greeter.name, greeter.arguments, greeter.methods) == (None, {"day": "2025-01-02"}, ("greet",))
    assert greeter.places["arguments.day"] == Place(12, 62)
    assert greeter.sound


def test_options_are_those_of_the_tool_else_of_the_defaults_else_built_in(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
version: 1
defaults: {approval: allow, timeout: 2m, env: [HOME_TOWN]}
tools:
  - callable: m:a
  - callable: m:b
    approval: deny
    timeout: 1.5
    memory: off
    max_result_tokens: 500
    stateful: true
    env: []
""",
    )
    first, second = read_tools_file(path).entries
    assert first.options == ToolOptions(Approval.ALLOW, 120.0, env=("HOME_TOWN",))
    assert second.options == ToolOptions(Approval.DENY, 1.5, None, 500, True, ())


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30", 30.0), ("0.5", 0.5), ('"30s"', 30.0), ("2m", 120.0), ("1h", 3600.0), ("250ms", 0.25), ("1.5 min", 90.0)],
)
def test_a_timeout_is_written_in_any_unit(tmp_path: Path, written: str, seconds: float) -> None:
    path = write(tmp_path, f"version: 1\ntools:\n- callable: m:f\n  timeout: {written}\n")
    assert read_tools_file(path).entries[0].options.timeout == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        *[("512MB", 512_000_000), ("2GiB", 2**31), ("1.5GB", 1_500_000_000), ('"1 TiB"', 2**40), ("1048576", 2**20)],
        *[("off", None), ('"off"', None), ("4096KiB", 2**22)],
    ],
)
def test_a_memory_limit_is_written_in_any_unit(tmp_path: Path, written: str, size: int | None) -> None:
    path = write(tmp_path, f"version: 1\ntools:\n- callable: m:f\n  memory: {written}\n")
    assert read_tools_file(path).entries[0].options.memory == size


def test_a_tool_that_is_switched_off_is_left_out_but_still_checked(tmp_path: Path) -> None:
    text = "version: 1\ntools:\n- callable: m:f\n  enabled: false\n- callable: m:f\n"
    assert len(read_tools_file(write(tmp_path, text)).entries) == 1
    with pytest.raises(UsageError, match="timeout"):
        read_tools_file(write(tmp_path, f"{text}  timeout: soon\n"))
    all_off = "version: 1\ndefaults: {enabled: false}\ntools:\n- callable: m:f\n- callable: m:g\n  enabled: true\n"
    assert [entry.callable_ref for entry in read_tools_file(write(tmp_path, all_off)).entries] == ["m:g"]


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
        ("./toolchat.samples.py", False),
        ("./toolchat/samples/weather.py", False),
    ],
)
def test_only_the_samples_count_as_samples(module: str, ours: bool) -> None:
    assert CallableReference(module, "f").from_samples is ours


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "version: 3\nextra: 1\ndefaults: {timeout: x}\ntools:\n- name: 'a b'\n- callable: nonsense\n  desc: x\n"
        "- callable: m:f\n  memory: lots\n  parameters: {a: {minimum: x, enum: []}}\n",
    )
    with pytest.raises(UsageError) as caught:
        read_tools_file(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(": ")[0] for line in lines] == [
        *("1:10", "2:1", "3:21", "5:3", "5:9", "6:13", "7:3", "9:11", "10:29", "10:38")
    ]
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
    bomb = "version: 1\ntools:\n- callable: m:C\n  arguments:\n"
    bomb += "\n".join("    " + line for line in lines) + "\n    loop: &loop [*loop]\n"
    with pytest.raises(UsageError, match=r"holds more than 10000 values") as caught:
        read_tools_file(write(tmp_path, bomb))
    assert "loop is nested deeper than 50 levels" in str(caught.value)

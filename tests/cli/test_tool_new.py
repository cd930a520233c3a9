from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchat.cli.tool_new import new_tool
from toolchat.tools.load import load_tools
from toolchat.tools.problems import advice
from toolchat.wire.errors import UsageError


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = sys.path.copy(), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_new_tool_works_and_nothing_is_to_be_said_of_it(tmp_path: Path) -> None:
    made = new_tool("greet", tmp_path / "tools.yaml")
    assert made.is_new
    loaded = load_tools(made.file)
    assert (loaded.toolbox.names, loaded.notices) == (("greet",), ())
    (tool,) = loaded.tools
    assert advice(tool.tool) == []
    assert tool.function(text="hello", style="loud", limit=3) == "HEL"


FILES = [
    "version: 1\ntools:\n- callable: toolchat.samples.clock:current_time\n",
    "version: 1\ntools:\n  - callable: toolchat.samples.clock:current_time",
    "version: 1\ntools:\n  # first\n  - callable: toolchat.samples.clock:current_time\n    timeout: 5 # s\n\n# end\n",
    "version: 1\ntools:\n    - callable: toolchat.samples.clock:current_time\n      parameters:\n        timezone: >\n"
    "          Of the\n          place\n\ndefaults:\n  timeout: 3\n",
    "version: 1\r\ntools:\r\n  - callable: toolchat.samples.clock:current_time\r\n",
    "\ufeffversion: 1\ntools: []\n",
    "version: 1\ntools: [] # none yet\ndefaults: {timeout: 3}\n",
    "version: 1\ntools:\n  - {callable: 'toolchat.samples.clock:current_time'}\n",
]


@pytest.mark.parametrize("text", FILES)
def test_an_entry_is_added_and_all_the_rest_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tools.yaml"
    file.write_bytes(text.encode())
    before = load_tools(file).toolbox
    assert not new_tool("greet", file).is_new
    after = load_tools(file).toolbox
    assert after.names == (*before.names, "greet")
    assert [tool.options for tool in after.tools[:-1]] == [tool.options for tool in before.tools]
    written = file.read_bytes().decode().splitlines()
    kept = [line for line in written if line.strip() != "- callable: ./greet.py:greet"]
    assert kept == [line.replace("tools: []", "tools:") for line in text.splitlines()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "version: 1\ntools: [{callable: 'toolchat.samples.clock:current_time'}]\n",
            r"tools\.yaml:2:8: an entry cannot be added to a list that is written like this, and nothing was written",
        ),
        ("version: 1\ntools:\n  - callable: toolchat.samples.clock:current_time\n    name: greet\n", "already"),
        ("version: 1\ntools: 5\n", r"tools\.yaml:2:8: tools is 5"),
    ],
)
def test_a_file_that_cannot_take_the_entry_is_left_alone_and_no_function_is_written(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "tools.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        new_tool("greet", file)
    assert file.read_text() == text
    assert not (tmp_path / "greet.py").exists()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*; make it, or name another file"):
        new_tool("greet", tmp_path / "gone" / "tools.yaml")


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "greet.py").write_text("mine")
    with pytest.raises(UsageError, match=r"greet\.py: is there already, and nothing was written"):
        new_tool("greet", tmp_path / "tools.yaml")
    assert (tmp_path / "greet.py").read_text() == "mine"
    assert not (tmp_path / "tools.yaml").exists()
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    with pytest.raises(UsageError, match="is there already"):
        new_tool("gone", tmp_path / "tools.yaml")


@pytest.mark.parametrize("name", ["", "a b", "a-b", "class", "1st", "größe", "../x", "json", "x" * 65, "a.b"])
def test_a_name_that_is_no_functions_and_tools_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="expected ") as caught:
        new_tool(name, tmp_path / "tools.yaml")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchat.tools.code import read_code, source_digest
from toolchat.tools.load import sample_tools_path
from toolchat.tools.run import load_toolbox

pytestmark = pytest.mark.process

CODE = '''
from functools import wraps

from digest_base import Base


def loud(function):
    @wraps(function)
    def call(**arguments):
        return function(**arguments).upper()
    return call


def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello {name}"


@loud
def shout(name: str) -> str:
    """Shout."""
    return f"hey {name}"


class Shelf(Base):
    def __init__(self, room: str) -> None:
        self.room = room

    def find(self, title: str) -> str:
        """Find a book."""
        return f"{title} in {self.room}"
'''
BASE = '''
class Base:
    def lend(self, title: str) -> str:
        """Lend a book."""
        return title
'''
FILE = """version: 1
tools:
  - callable: ./digest_tools.py:greet
  - callable: ./digest_tools.py:shout
  - callable: ./digest_tools.py:Shelf
    arguments: {room: study}
    methods: [find, lend]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "digest_tools.py").write_text(CODE)
    (folder / "digest_base.py").write_text(BASE)
    (folder / "tools.yaml").write_text(FILE)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """By name, as the tools' own process tells the chat."""
    return {tool.name: tool.source_digest for tool in load_toolbox(folder / "tools.yaml").tools}


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return change


def test_each_tool_has_a_digest_that_stays_the_same(project: Path) -> None:
    first = digests(project)
    assert set(first) == {"greet", "shout", "find", "lend"}
    assert len(set(first.values())) == 4
    assert all(len(digest) == 64 for digest in first.values())
    assert digests(project) == first


ALL = {"greet", "shout", "find", "lend"}


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (replace("digest_tools.py", "hello {name}", "goodbye {name}"), ALL),
        (replace("digest_tools.py", "self.room = room", "self.room = 'cellar'"), ALL),
        (replace("digest_base.py", "return title", "return title * 2"), ALL),
        (replace("tools.yaml", "room: study", "room: cellar"), {"find", "lend"}),
        (replace("tools.yaml", "[find, lend]", "[lend, find]"), {"find", "lend"}),
        (replace("tools.yaml", "py:greet", "py:greet\n    parameters: {name: {maxLength: 9}}"), {"greet"}),
        (replace("tools.yaml", "py:greet", "py:greet\n    parameters: {name: Whom to greet.}"), {"greet"}),
        (replace("tools.yaml", "py:greet", "py:greet\n    description: Says hello."), {"greet"}),
        (replace("tools.yaml", "version: 1", "version: 1\ndefaults: {timeout: 3s}"), ALL),
    ],
)
def test_a_change_of_code_or_entry_changes_the_digests_of_what_it_concerns(
    project: Path, change: Callable[[Path], None], changed: set[str]
) -> None:
    before = digests(project)
    change(project)
    after = digests(project)
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "notes.py").write_text("x = 1\n"),
        replace("tools.yaml", "tools:\n", "tools:\n  # The first of all.\n"),
        replace("tools.yaml", "version: 1\n", "version: 1\n\n"),
    ],
)
def test_what_is_neither_code_nor_entry_of_a_tool_changes_nothing(
    project: Path, change: Callable[[Path], None]
) -> None:
    before = digests(project)
    change(project)
    assert digests(project) == before


def test_the_name_that_the_model_uses_is_no_part_of_it(project: Path) -> None:
    before = digests(project)
    replace("tools.yaml", "py:greet", "py:greet\n    name: hello")(project)
    assert digests(project)["hello"] == before["greet"]


def test_the_same_words_in_another_place_are_another_tool(project: Path) -> None:
    before = digests(project)
    moved = project.rename(project.parent / "elsewhere")
    assert not set(before.values()) & set(digests(moved).values())


def test_the_samples_have_digests_too() -> None:
    tools = load_toolbox(sample_tools_path()).tools
    assert len({tool.source_digest for tool in tools}) == len(tools)
    assert "" not in {tool.source_digest for tool in tools}


@pytest.fixture
def generated() -> Callable[..., str]:
    namespace: dict[str, Callable[..., str]] = {"__name__": __name__}
    exec("def made(a: int) -> str:\n    return 'x'\n", namespace)
    return namespace["made"]


def test_code_without_a_source_counts_by_its_modules_file(generated: Callable[..., str]) -> None:
    code = read_code(sample_tools_path())
    entry = code.entries()[0]

    def digest(function: Callable[..., Any], reference: str = "m:f") -> str:
        return source_digest(function, entry, code, parameters={}, reference=reference)

    for function in (generated, math.sqrt, len):
        assert digest(function) == digest(function) != digest(function, "m:g")
    assert digest(math.sqrt) != digest(len)


def test_the_chat_imports_nothing_of_the_user_to_know_it(project: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from toolchat.tools.run import load_toolbox\n"
        f"assert all(tool.source_digest for tool in load_toolbox(Path({str(project / 'tools.yaml')!r})).tools)\n"
        "assert not [name for name in sys.modules if 'digest_' in name and not name.startswith('toolchat.')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

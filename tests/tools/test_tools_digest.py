from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchat.tools.code import read_code, source_digest
from toolchat.tools.load import sample_tools_path
from toolchat.tools.run import ToolRunner, load_toolbox
from toolchat.wire.messages import ToolCall, ToolResult

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


MANY = """version: 1
tools:
  - {callable: many_a:a, env: [DIGEST_A]}
  - {callable: many_b:b, env: [DIGEST_B]}
  - {callable: many_c:c, env: [DIGEST_B]}
"""
COMPUTED = """import importlib, sys, os, threading, time
sys.path.append(os.path.join(os.path.dirname(__file__), "parts_NAME"))
importlib.import_module("part_" + "NAME")
"""
SLOW = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"


def test_a_digest_is_the_same_in_every_process_of_its_tools_whatever_other_hosts_import(tmp_path: Path) -> None:
    # What is imported by computed names is a part of the digest. Hosts of other variables import other files, a call
    # that starts Python anew imports its own module alone, and a host that died is started again.
    for name in "abc":
        (tmp_path / f"parts_{name}").mkdir()
        (tmp_path / f"parts_{name}" / f"part_{name}.py").write_text("x = 1\n")
        code = COMPUTED.replace("NAME", name)
        code += SLOW if name == "c" else ""
        (tmp_path / f"many_{name}.py").write_text(f'{code}def {name}() -> int:\n    """Do."""\n    return 1\n')

    (tmp_path / "tools.yaml").write_text(MANY)

    async def play() -> dict[str, set[str]]:
        runner = await ToolRunner.start(tmp_path / "tools.yaml")
        first, *_, anew = runner.toolbox.tools
        seen = {tool.name: {tool.source_digest} for tool in (first, anew)}
        try:
            for tool in (anew, first):
                ready = await runner.prepare(tool, ToolCall("abcdefghi", tool.name, {}))
                assert not isinstance(ready, ToolResult), ready.content
                seen[tool.name].add(ready.tool.source_digest)
                await ready.discard()
                # The host of `first`, which the next call starts again.
                (host := runner._supervisor.hosts[0]).kill()
                await until(lambda host=host: not host.alive)
        finally:
            await runner.close()
        return seen

    assert {name: len(digests) for name, digests in asyncio.run(play()).items()} == {"a": 1, "c": 1}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


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

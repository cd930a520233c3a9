"""Attacks with a grant in hand: what was allowed for good was one piece of code, and nothing that took its place."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
from attacked_folder import Attacked

from toolchat.chat.approval import ApprovalPolicy, PendingCall, Reply, Scope
from toolchat.settings import state_folder
from toolchat.store.grants import GrantStore
from toolchat.tools.load import load_tools
from toolchat.tools.run import load_toolbox
from toolchat.tools.toolbox import Approval, Toolbox
from toolchat.wire.messages import ToolCall

pytestmark = pytest.mark.process

CODE = '''"""Tools."""
import base
from helper import LIMIT, loud

FOLDER = "/tmp/a"
print_it = print

def make(prefix):
    def made(name: str) -> str:
        """Make."""
        return prefix + name
    return made

def also(name: str) -> str:
    return name

def greet(person: str) -> str:
    """Greet a person."""
    return also(FOLDER + person[:LIMIT])

@loud(1)
def shout(name: str) -> str:
    """Shout."""
    return name

made = make("a")

class Shelf(base.Shelf):
    def find(self, title: str) -> str:
        """Find."""
        return self.look(title)
'''
HELPER = """import deeper
from functools import wraps

LIMIT = deeper.LIMIT

def loud(times):
    def around(function):
        @wraps(function)
        def call(name: str) -> str:
            return function(name).upper() * times
        return call
    return around
"""
BASE = "class Shelf:\n    def look(self, title):\n        return title\n"
FILE = """version: 1
tools:
  - callable: ./mine.py:greet
  - callable: ./mine.py:shout
  - callable: ./mine.py:made
  - callable: ./mine.py:Shelf
"""


@pytest.fixture
def attacked(tmp_path: Path) -> Attacked:
    attacked = Attacked.below(tmp_path)
    attacked.write(mine=CODE, helper=HELPER, base=BASE, deeper="LIMIT = 5\n")
    (attacked.folder / "tools.yaml").write_text(FILE)
    return attacked


def digests(attacked: Attacked) -> dict[str, str]:
    """By name: what grants are keyed by, as a process finds that has not imported the code before."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(digests_here, (attacked.folder / "tools.yaml",))


def digests_here(path: Path) -> dict[str, str]:
    return {loaded.tool.name: loaded.tool.source_digest for loaded in load_tools(path).tools}


Change = Callable[[Path], object]


def changed(file: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return change


def policy() -> ApprovalPolicy:
    return ApprovalPolicy(GrantStore(state_folder()))


def toolbox(attacked: Attacked) -> Toolbox:
    return load_toolbox(attacked.folder / "tools.yaml")


def grant(attacked: Attacked, name: str) -> None:
    """The person answers "always"."""
    tool = toolbox(attacked).get(name)
    assert tool is not None
    policy().learn(PendingCall(ToolCall("abcdefghi", name, {}), tool), Reply(True, Scope.ALWAYS))


def is_granted(attacked: Attacked, name: str) -> bool:
    tool = toolbox(attacked).get(name)
    assert tool is not None
    return policy().standing(tool) is Approval.ALLOW


def test_nothing_that_a_tool_does_can_change_under_its_grant(attacked: Attacked) -> None:
    before = digests(attacked)
    names = set(before)
    assert names == {"greet", "shout", "made", "find"}
    options = ["env: [HOME]", "timeout: 5s", "memory: 1GiB", "stateful: true", "approval: deny"]
    changes: dict[str, tuple[set[str], Change]] = {
        "a helper in the file": (names, changed("mine.py", "return name\n", "return name * 2\n")),
        "a constant": (names, changed("mine.py", "/tmp/a", "/")),
        "an import": (names, changed("mine.py", "import base\n", "import base, os\n")),
        "code at the top": (names, changed("mine.py", "print_it = print", "print_it = exec")),
        "a closure's argument": (names, changed("mine.py", 'make("a")', 'make("b")')),
        "a decorator's argument": (names, changed("mine.py", "@loud(1)", "@loud(2)")),
        "a decorator": (names, changed("helper.py", "upper()", "lower()")),
        "an import of an import": (names, changed("deeper.py", "5", "6")),
        "a base class": (names, changed("base.py", "return title", "return title * 2")),
        **{row: ({"greet"}, changed("tools.yaml", "py:greet\n", f"py:greet\n    {row}\n")) for row in options},
    }
    for what, (concerned, change) in changes.items():
        files = {path: path.read_bytes() for path in attacked.folder.iterdir() if path.is_file()}
        change(attacked.folder)
        after = digests(attacked)
        assert {name for name in before if before[name] != after[name]} == concerned, what
        for path, data in files.items():
            path.write_bytes(data)
    assert digests(attacked) == before


def test_a_grant_ends_with_an_edit_of_what_its_file_imports(attacked: Attacked) -> None:
    attacked.tools("./mine.py:greet")
    grant(attacked, "greet")
    assert is_granted(attacked, "greet")
    changed("deeper.py", "5", "6")(attacked.folder)
    assert not is_granted(attacked, "greet")


def test_a_tool_that_was_renamed_is_revoked_by_its_new_name(attacked: Attacked) -> None:
    attacked.tools("./mine.py:greet")
    grant(attacked, "greet")
    attacked.tools("./mine.py:greet", name="hello")
    # By what the tools file says now, though no chat has seen the new name yet.
    assert attacked("tools", "revoke", "hello").out == "1 grant revoked.\n"
    assert not is_granted(attacked, "hello")


def test_a_chat_keeps_a_grant_under_the_name_that_its_tool_has(attacked: Attacked) -> None:
    attacked.tools("./mine.py:greet")
    grant(attacked, "greet")
    attacked.tools("./mine.py:greet", name="hello")
    policy().check(toolbox(attacked))
    assert is_granted(attacked, "hello")
    assert [one.tool for one in GrantStore(state_folder()).granted()] == ["hello"]
    # From another folder, where that tools file is not at hand.
    assert attacked("tools", "revoke", "hello", cwd=attacked.folder.parent).out == "1 grant revoked.\n"


def test_a_method_that_was_renamed_is_revoked_by_its_new_name(attacked: Attacked) -> None:
    attacked.tools("./mine.py:Shelf")
    grant(attacked, "find")
    attacked.tools("./mine.py:Shelf", name="shelf")
    assert is_granted(attacked, "shelf_find")
    assert attacked("tools", "revoke", "shelf_find").out == "1 grant revoked.\n"

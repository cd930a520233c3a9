# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchat.tools.code import read_code
from toolchat.tools.load import load_tools
from toolchat.tools.problems import ToolsFileError
from toolchat.tools.toolbox import Approval
from toolchat.tools.tools_file import read_tools_file
from toolchat.wire.errors import UsageError

SOURCE = '''
import json
from json import dumps

def get_one(a: int) -> int:
    """One."""
    return a

def get_two(a: int) -> int:
    """Two."""
    return a

def put(a: int) -> int:
    """Put."""
    return a

def get_undescribed(a: int) -> int:
    return a

def _get_hidden(a: int) -> int:
    """Hidden."""
    return a

class Shelf:
    """A shelf."""

    def __init__(self, title: str = "mine", key: str = "") -> None:
        self.title, self.books, self.key = title, [], key

    def add(self, book: str, where: str = "end") -> int:
        """Add a book.

        It stands at the end. Then it can be found:

        >>> shelf.add("Solaris")

        Args:
            book: Its title

        Returns:
            how many there are
        """
        self.books.append(book + where)
        return len(self.books)

    def find(self, word: str) -> list:
        """Find books."""
        return [book for book in self.books if word in book]

    def find_all(self) -> list:
        """Find all."""
        return self.books

    def connect(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Close."""
'''


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    (tmp_path / "shelf_tools.py").write_text(SOURCE)

    def write_it(tools: str, head: str = "", name: str = "tools.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"version: 1\n{head}tools:\n{tools}")
        return path

    return write_it


Write = Callable[..., Path]


def names(path: Path) -> tuple[str, ...]:
    return load_tools(path).toolbox.names


def test_a_bare_reference_is_a_tool(write: Write) -> None:
    assert names(write("- ./shelf_tools.py:put\n- math:gcd\n")) == ("put", "gcd")


def test_a_pattern_takes_the_functions_that_a_module_defines(write: Write) -> None:
    toolbox = load_tools(write("- callable: ./shelf_tools.py:*\n  approval: allow\n")).toolbox
    assert toolbox.names == ("get_one", "get_two", "put", "get_undescribed")
    assert {tool.options.approval for tool in toolbox.tools} == {Approval.ALLOW}
    assert toolbox.tools[0].callable_ref == "./shelf_tools.py:get_one"
    assert toolbox.notices[-1].endswith(
        '"./shelf_tools.py:*" has no description of get_undescribed; the model is told the names only; '
        "add docstrings, or exclude: them"
    )


def test_of_what_a_pattern_fits_that_is_left_out_which_cannot_be_a_tool(write: Write, tmp_path: Path) -> None:
    file = write("- callable: ./shelf_tools.py:*\n")
    (tmp_path / "shelf_tools.py").write_text(f"{SOURCE}\ndef put_into(kind: type) -> None:\n    pass\n")
    toolbox = load_tools(file).toolbox
    assert toolbox.names == ("get_one", "get_two", "put", "get_undescribed")
    assert '"./shelf_tools.py:put_into" cannot be a tool' in toolbox.notices[0]
    assert toolbox.notices[0].endswith("; it is left out")


def test_a_pattern_takes_what_it_fits_with_a_prefix_and_without_what_is_excluded(write: Write) -> None:
    text = "- callable: ./shelf_tools.py:get_*\n  prefix: my_\n  exclude: ['*undescribed', get_two]\n"
    assert names(write(text)) == ("my_get_one",)
    text = "- callable: ./shelf_tools.py:*\n  include: [put, get_o*]\n- callable: ./shelf_tools.py:put\n  prefix: a_\n  name: b\n"
    assert names(write(text)) == ("get_one", "put", "a_b")


def test_a_pattern_takes_what_a_module_lists(write: Write) -> None:
    assert "mean" in names(write("- statistics:*\n"))


def test_a_pattern_that_fits_nothing_or_is_given_what_suits_one_function_is_refused(write: Write) -> None:
    with pytest.raises(UsageError, match=r":3:3: .*fits no function that can be a tool; expected one at least"):
        names(write("- ./shelf_tools.py:nothing_*\n"))
    with pytest.raises(UsageError, match=r":4:9: name is given for get_\*, which stands for several functions"):
        names(write("- callable: ./shelf_tools.py:get_*\n  name: x\n"))


def test_merge_keys_are_filled_in_and_own_keys_count(write: Write) -> None:
    text = "- &base\n  callable: ./shelf_tools.py:put\n  timeout: 5s\n  approval: allow\n"
    text += "- <<: *base\n  name: again\n  approval: deny\n- <<: [*more, *base]\n  name: third\n"
    toolbox = load_tools(write(text, "x-more: &more {timeout: 9s}\n")).toolbox
    assert [(tool.name, tool.options.timeout, tool.options.approval) for tool in toolbox.tools] == [
        ("put", 5, Approval.ALLOW),
        ("again", 5, Approval.DENY),
        ("third", 9, Approval.ALLOW),
    ]
    with pytest.raises(UsageError, match=r":3:7: << is 3; expected another mapping; write <<: \*name"):
        read_tools_file(write("- <<: 3\n  callable: a:b\n"))
    with pytest.raises(UsageError, match=r"<< is the mapping that it stands in"):
        read_tools_file(write("- &a\n  callable: a:b\n  <<: *a\n"))


def test_a_file_includes_another_with_its_own_defaults_and_folder(write: Write, tmp_path: Path) -> None:
    write("- callable: ./own.py:f\n- ./own.py:g\n", "defaults: {timeout: 7s}\n", "sub/tools.yaml")
    (tmp_path / "sub" / "own.py").write_text('def f() -> None:\n    "F."\ndef g() -> None:\n    "G."\n')
    path = write(
        "- include: ./sub/tools.yaml\n  prefix: s_\n  exclude: [g]\n- ./shelf_tools.py:put\n",
        "defaults: {timeout: 3s}\n",
    )
    toolbox = load_tools(path).toolbox
    assert [(tool.name, tool.callable_ref, tool.options.timeout) for tool in toolbox.tools] == [
        ("s_f", "./sub/own.py:f", 7),
        ("put", "./shelf_tools.py:put", 3),
    ]
    assert toolbox.tools[0].place == f"{tmp_path / 'sub' / 'tools.yaml'}:4:13"
    assert str(tmp_path / "sub" / "tools.yaml") in read_code(path).contents()


def test_what_an_include_leaves_out_may_come_of_a_pattern_or_a_class(write: Write, tmp_path: Path) -> None:
    code = 'def f() -> None:\n    "F."\ndef g() -> None:\n    "G."\nclass C:\n    def a(self): "A."\n    def g(self): "G."\n'
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "whole.py").write_text(code)
    write("- ./whole.py:*\n- {callable: ./whole.py:C, name: c, include: [a, g]}\n", name="sub/tools.yaml")
    assert names(write("- {include: ./sub/tools.yaml, exclude: [g]}\n")) == ("f", "c_a")


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("../other.yaml", "3:12: include is \"../other.yaml\"; expected a file in the folder of the tools file or below it"),
        ("/etc/passwd", "expected a file in the folder of the tools file or below it"),
        ("./gone.yaml", "gone.yaml: no such file"),
        ("./tools.yaml", 'include is "./tools.yaml", which includes this file; expected no circle; remove it'),
        ("./around.yaml", 'around.yaml:2:19: include is "./tools.yaml", which includes this file'),
        ("./wrong.yaml", 'wrong.yaml:3:13: callable is "x"; expected module:function'),
        ("./broken.yaml", "broken.yaml:2:1: not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_included_file_is_named_in_it(
    write: Write, tmp_path: Path, include: str, message: str
) -> None:
    (tmp_path / "around.yaml").write_text("version: 1\ntools: [{include: ./tools.yaml}]\n")
    write("- callable: x\n", name="wrong.yaml")
    (tmp_path / "broken.yaml").write_text("version: [")
    with pytest.raises(UsageError) as caught:
        names(write(f"- include: {include}\n"))
    assert message in str(caught.value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "installed" / "site-packages"
    info = site / "acme_tools-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "acme_offers.py").write_text(
        'def search(q: str) -> str:\n    "Search."\n    return q\n\ndef also() -> str:\n    "Also."\n    return ""\n'
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tools\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[toolchat.tools]\nacme_search = acme_offers:search\nrest = acme_offers\n[x]\ny = z:a\n"
    )
    (info / "RECORD").write_text("acme_offers.py,,\nacme_tools-1.2.dist-info/entry_points.txt,,\n")
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("acme_offers", None)


def test_a_package_offers_its_entry_points_once_the_file_names_it(write: Write, package: Path) -> None:
    toolbox = load_tools(write("- package: acme-tools\n  prefix: x_\n  approval: allow\n")).toolbox
    assert [(tool.name, tool.callable_ref) for tool in toolbox.tools] == [
        ("x_acme_search", "acme_offers:search"),
        ("x_search", "acme_offers:search"),
        ("x_also", "acme_offers:also"),
    ]
    assert names(write("- package: acme-tools\n  exclude: [also, search]\n")) == ("acme_search",)
    with pytest.raises(
        UsageError, match=r'there is no installed package "acme-tool"; expected one; did you mean "acme-tools"'
    ):
        names(write("- package: acme-tool\n"))
    with pytest.raises(UsageError, match=r'the package "pytest" offers no tools: it has no entry points in the group'):
        names(write("- package: pytest\n"))


def test_another_version_of_a_package_is_a_change_of_what_was_accepted(write: Write, package: Path) -> None:
    path = write("- package: acme-tools\n")
    before, digests = read_code(path).contents(), {tool.source_digest for tool in load_tools(path).toolbox.tools}
    (package / "acme_offers.py").write_text((package / "acme_offers.py").read_text() + "\n# more\n")
    after = read_code(path).contents()
    assert {name for name in before if before[name] != after[name]} == {"package acme-tools"}
    assert not digests & {tool.source_digest for tool in load_tools(path).toolbox.tools}


def test_all_of_a_methods_docstring_is_its_description_and_plumbing_is_left_out(write: Write) -> None:
    toolbox = load_tools(write("- callable: ./shelf_tools.py:Shelf\n")).toolbox
    assert toolbox.names == ("add", "find", "find_all")
    assert toolbox.tools[0].description == "Add a book. It stands at the end. Then it can be found:"
    assert "is offered without what manages its object (connect, close); name it in methods:" in toolbox.notices[0]
    assert names(write("- callable: ./shelf_tools.py:Shelf\n  methods: [close, add]\n")) == ("close", "add")
    excluded = load_tools(write("- callable: ./shelf_tools.py:Shelf\n  exclude: [close, connect]\n")).toolbox
    assert (excluded.names, excluded.notices) == (("add", "find", "find_all"), ())


def test_methods_are_described_bound_and_chosen_one_by_one(write: Write) -> None:
    text = """- callable: ./shelf_tools.py:Shelf
  name: shelf
  exclude: [find_*]
  methods:
    add:
      description: Put a book on the shelf.
      approval: allow
      arguments: {where: start}
      parameters: {book: {minLength: 2}}
    find: {name: look}
"""
    toolbox = load_tools(write(text))
    add, find = toolbox.tools
    assert (add.tool.name, find.tool.name) == ("shelf_add", "look")
    assert add.tool.description == "Put a book on the shelf."
    assert [one.tool.options.approval for one in toolbox.tools] == [Approval.ALLOW, Approval.ASK]
    assert add.tool.parameters["properties"] == {"book": {"type": "string", "description": "Its title", "minLength": 2}}
    add.function(book="x")
    assert find.function(word="x") == ["xstart"]
    with pytest.raises(UsageError, match=r':5:5: .*has no method "ad"; expected add, find, find_all, connect, close'):
        names(write("- callable: ./shelf_tools.py:Shelf\n  methods:\n    ad: {approval: allow}\n"))
    with pytest.raises(
        UsageError, match=r":5:11: unknown key \"env\"; expected name, description, parameters, arguments"
    ):
        names(write("- callable: ./shelf_tools.py:Shelf\n  methods:\n    add: {env: [A]}\n"))


def test_entries_share_an_object_where_they_say_so(write: Write) -> None:
    one = "- callable: ./shelf_tools.py:Shelf\n  arguments: {title: yours}\n  include: [add]\n"
    other = "- callable: ./shelf_tools.py:Shelf.find\n"
    apart = load_tools(write(one + other))
    assert len({tool.tool.group for tool in apart.tools}) == 2
    shared = load_tools(write(f"{one}  instance: mine\n{other}  instance: mine\n"))
    assert len({tool.tool.group for tool in shared.tools}) == 1
    shared.tools[0].function(book="Solaris")
    assert shared.tools[1].function(word="Sol") == ["Solarisend"]
    with pytest.raises(UsageError, match=r':8:13: the instance "mine" is made with other arguments, env, cwd or priv'):
        names(write(f"{one}  instance: mine\n{other}  instance: mine\n  arguments: {{title: z}}\n"))


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("- callable: a:b\n  command: [x]\n", "4:12: command stands beside callable; expected callable, name"),
        ("- callable: a:b\n  stdin: x\n", "4:10: stdin stands beside callable"),
        ("- include: ./a.yaml\n  timeout: 3\n", "4:12: timeout stands beside include; expected include, exclude, prefix"),
        ("- package: a\n  name: x\n", "4:9: name stands beside package"),
        ("- command: [x]\n  stateful: true\n", "4:13: stateful stands beside command"),
        ("- callable: a:b\n  prefix: 'a b'\n", '4:11: prefix is "a b"; expected 1 to 63 of the characters'),
        ("- callable: a:b\n  exclude: get_*\n", '4:12: exclude is "get_*"; expected a list of names'),
        ("- command: [echo]\n", "3:12: description is missing; expected one sentence"),
        ("- command: []\n  description: x\n", "3:12: command is a list; expected a program and its arguments"),
        ("- command: ['{x}']\n  description: x\n", "3:12: command: the program is a parameter"),
        ("- command: [echo, '{x y}']\n  description: x\n", '3:12: command: "{x y}" is no parameter; expected {name}'),
        ("- command: [echo, 'a${HOME}']\n  description: x\n", '3:12: command: "${HOME}" is not expanded here; expected {name}, with arguments: {name: "${HOME}"}; or write ${{HOME}} for'),
        ("- command: \"echo 'x\"\n  description: x\n", "cannot be split into words: No closing quotation"),
        ("- command: [echo, [{a: b}]]\n  description: x\n", "3:19: command holds a list; expected a word"),
        ("- command: [echo]\n  description: x\n  shell: maybe\n", '5:10: shell is "maybe"; expected true or false'),
        ("- command: [echo]\n  description: x\n  shell: true\n", "3:12: command is a list; expected one line of text"),
        ("- command: \"echo '{x}'\"\n  description: x\n  shell: true\n", "{x} stands in single quotes, where a shell replaces nothing"),
        ("- command: [nowhere-to-be-found]\n  description: x\n", '3:12: there is no program "nowhere-to-be-found"'),
        ("- command: [./gone.sh]\n  description: x\n", '3:12: there is no file "./gone.sh" beside the tools file'),
        ("- command: [./shelf_tools.py]\n  description: x\n", '3:12: "./shelf_tools.py" may not be executed'),
        ("- command: [echo, '{x}']\n  description: x\n  parameters: {y: why}\n", 'unknown parameter "y"; expected x; write {y} in the command'),
    ],
)  # fmt: skip
def test_each_mistake_is_named_at_its_place(write: Write, tool: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        names(write(tool))
    assert message in str(caught.value)


def test_a_command_without_a_description_is_refused_and_never_described_by_its_words(write: Write) -> None:
    with pytest.raises(ToolsFileError) as caught:
        names(write("- command: [echo, 'https://wttr.in/{city}']\n  name: weather\n"))
    (problem,) = caught.value.problems
    assert problem.endswith(":3:12: description is missing; expected one sentence for the model; add description:")
    assert caught.value.notes == ()  # a program has no docstring to be told of

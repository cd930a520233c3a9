from __future__ import annotations

from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from toolchat.tools.argument_check import Checked, check_arguments
from toolchat.tools.load import load_tools
from toolchat.tools.problems import ToolsFileError
from toolchat.tools.toolbox import Approval
from toolchat.wire.errors import UsageError

SOURCE = '''
from __future__ import annotations
from dataclasses import dataclass
from datetime import date
from pathlib import Path
import json

@dataclass
class Where:
    folder: Path

class Base:
    def first(self) -> str:
        """From the base."""
        return "first"

class Notes(Base, json.JSONEncoder):
    kind: str = "notes"

    def __init__(self, folder: Path, since: date | None = None, *, where: Where | None = None, plain=None):
        self.folder, self.since, self.where, self.plain = folder, since, where, plain
        self.texts: list[str] = []
        print("made")

    def add(self, text: str, day: date | None = None) -> int:
        """Keep a note.

        Args:
            text: What to keep
        """
        self.texts.append(text)
        return len(self.texts)

    async def search(self, word: str) -> list[str]:
        """Find notes."""
        return [text for text in self.texts if word in text]

    @staticmethod
    def version() -> str:
        """Tell the version."""
        return "1"

    @property
    def size(self) -> int:
        return len(self.texts)

    def _hidden(self) -> None:
        """Not a tool."""
'''


def write(folder: Path, text: str) -> Path:
    (folder / "note_tools.py").write_text(SOURCE)
    path = folder / "tools.yaml"
    path.write_text(f"version: 1\ntools:\n{text}")
    return path


def test_public_methods_become_tools_that_share_an_instance(tmp_path: Path) -> None:
    text = "- callable: ./note_tools.py:Notes\n"
    text += "  arguments: {folder: /x, since: 2025-01-02, where: {folder: y}, plain: [1]}\n"
    toolbox = load_tools(write(tmp_path, text + "  approval: deny\n"))
    assert toolbox.toolbox.names == ("first", "add", "search", "version")
    first, add, search, version = toolbox.tools
    assert add.function("a") == 1
    assert add.function("b") == 2
    instance = add.function.__self__  # type: ignore[attr-defined]
    assert instance.texts == ["a", "b"]
    assert (instance.folder, instance.since.year, instance.where.folder) == (Path("/x"), 2025, Path("y"))
    assert instance.plain == [1]
    assert first.function.__self__ is instance  # type: ignore[attr-defined]
    assert version.function() == "1"
    assert {loaded.tool.group for loaded in toolbox.tools} == {"./note_tools.py:Notes"}
    assert all(loaded.tool.options.stateful for loaded in toolbox.tools)
    assert all(loaded.tool.options.approval is Approval.DENY for loaded in toolbox.tools)
    assert search.tool.callable_ref == "./note_tools.py:Notes.search"
    assert add.tool.description == "Keep a note."
    assert add.tool.parameters == {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "What to keep"},
            "day": {"type": "string", "format": "date"},
        },
        "required": ["text"],
    }
    assert add.tool.signature == "add(text: str, day: date | None = None)"
    assert [notice for notice in toolbox.notices if "while it was made" in notice]


def test_a_name_is_the_prefix_and_methods_chooses_also_inherited_ones(tmp_path: Path) -> None:
    one = "- callable: ./note_tools.py:Notes\n  name: work\n  arguments: {folder: a}\n  methods: [search, encode]\n"
    with pytest.raises(UsageError, match=r'Notes.encode" cannot be a tool: its parameter o has no type'):
        load_tools(write(tmp_path, f"{one}  untyped: refuse\n"))
    two = one.replace(", encode", ", add")
    toolbox = load_tools(write(tmp_path, two + two.replace("work", "home").replace("folder: a", "folder: b")))
    assert toolbox.toolbox.names == ("work_search", "work_add", "home_search", "home_add")
    assert [loaded.tool.group for loaded in toolbox.tools] == [
        *["./note_tools.py:Notes"] * 2,
        *["./note_tools.py:Notes 2"] * 2,
    ]
    toolbox.tools[1].function("only here")
    assert toolbox.tools[3].function.__self__.texts == []  # type: ignore[attr-defined]


def test_stateful_functions_of_one_module_are_one_group(tmp_path: Path) -> None:
    (tmp_path / "plain_tools.py").write_text('def a() -> None:\n    """A."""\ndef b() -> None:\n    """B."""\n')
    path = tmp_path / "tools.yaml"
    entry = "- callable: ./plain_tools.py:"
    path.write_text(
        f"version: 1\ntools:\n{entry}a\n  stateful: true\n{entry}b\n  stateful: true\n{entry}a\n  name: c\n"
    )
    assert [loaded.tool.group for loaded in load_tools(path).tools] == ["./plain_tools.py"] * 2 + [None]


def test_an_error_shows_a_few_of_the_many_problems_of_one_class_and_keeps_all(tmp_path: Path) -> None:
    methods = "".join(f"    def m{number}(self, f: type) -> int:\n        return 1\n" for number in range(163))
    (tmp_path / "many_methods.py").write_text(f"class Many:\n{methods}\n\ndef bare(x: type) -> int:\n    return x\n")
    (tmp_path / "tools.yaml").write_text(
        "version: 1\ntools:\n  - callable: many_methods:Many\n  - callable: many_methods:bare\n"
    )
    with pytest.raises(ToolsFileError) as caught:
        load_tools(tmp_path / "tools.yaml")
    rows = str(caught.value).splitlines()
    assert len(rows) == 7
    assert rows[5].endswith(":3:15: 158 more problems at this place; toolchat tools check lists all of them")
    assert rows[6].endswith("set it with arguments: {x: VALUE}")
    assert len(caught.value.problems) == 164


def test_what_a_method_lacks_is_not_advised_where_the_file_refuses_it(tmp_path: Path) -> None:
    (tmp_path / "bare_class.py").write_text("class Bare:\n    def m(self, x: int) -> int:\n        return x\n")
    file = tmp_path / "tools.yaml"
    file.write_text("version: 1\ntools:\n  - callable: bare_class:Bare\n")
    toolbox = load_tools(file).toolbox
    assert [tool.description for tool in toolbox.tools] == ["Calls bare_class.Bare.m."]
    assert toolbox.notices[0].endswith(
        '"bare_class:Bare" has no description of m; the model is told the names only; add docstrings, or write '
        "methods: {NAME: {description: …}}"
    )
    file.write_text("version: 1\ntools:\n  - callable: bare_class:Bare.m\n")
    (notice,) = load_tools(file).toolbox.notices
    assert notice.endswith("; the model is told the name only; add description: or a docstring")
    file.write_text("version: 1\ntools:\n  - callable: bare_class:Bare.m\n    description: Do it.\n")
    assert load_tools(file).toolbox.names == ("m",)


MESSY = '''
class Messy:
    """Much of it is no tool."""

    def __init__(self, first, /, *rest: int, label: str = "x"):
        self.first, self.rest, self.label = first, rest, label

    @property
    def broken(self):
        raise OSError("not while it is looked at")

    def told(self, by: int = 1) -> list:
        """Tell what it was made with."""
        return [self.first, self.rest, self.label, by]

    def on_event(self, callback):
        """Needs what JSON has not."""

    def pipe(self, stream: type):
        """Needs it too."""

    def __getattribute__(self, name):
        if name == "odd":
            raise RuntimeError("no odd here")
        return super().__getattribute__(name)

    def odd(self):
        """Cannot be had of an object."""
'''


def test_methods_that_nobody_has_named_are_left_out_where_they_cannot_be_tools(tmp_path: Path) -> None:
    (tmp_path / "messy_class.py").write_text(MESSY)
    file = tmp_path / "tools.yaml"
    text = "version: 1\ntools:\n  - callable: messy_class:Messy\n    arguments: {first: a, rest: [1, 2], label: y}\n"
    file.write_text(text)
    toolbox = load_tools(file)
    assert toolbox.toolbox.names == ("told",)
    assert toolbox.tools[0].function(by=2) == ["a", (1, 2), "y", 2]
    assert '"messy_class:Messy" is offered without on_event, pipe, odd: its parameter callback' in toolbox.notices[0]
    file.write_text(f"{text}    methods: [told, on_event]\n")
    with pytest.raises(UsageError, match=r'"messy_class:Messy.on_event" cannot be a tool: its parameter callback'):
        load_tools(file)
    file.write_text(f"{text}    methods: {{odd: {{description: Odd.}}}}\n")
    with pytest.raises(UsageError, match=r'"messy_class:Messy.odd" cannot be had: RuntimeError: no odd here'):
        load_tools(file)


@pytest.mark.parametrize(
    ("made", "method", "arguments", "result"),
    [
        ("collections:Counter\n    arguments: {iterable: aab}", "most_common", {"n": 1}, [("a", 2)]),
        (
            "datetime:timedelta\n    arguments: {days: 2}\n    methods: {total_seconds: {parameters: {}}}",
            "total_seconds",
            {},
            172_800.0,
        ),
        ("decimal:Decimal\n    arguments: {value: '1.44'}", "sqrt", {}, Decimal("1.2")),
        (
            "pathlib:PurePosixPath\n    arguments: {args: [a, b.txt]}",
            "with_suffix",
            {"suffix": ".md"},
            PurePosixPath("a/b.md"),
        ),
    ],
)
def test_classes_of_c_and_those_made_by_position_are_taken(
    tmp_path: Path, made: str, method: str, arguments: dict[str, Any], result: Any
) -> None:
    (tmp_path / "tools.yaml").write_text(f"version: 1\ntools:\n  - callable: {made}\n")
    tool = load_tools(tmp_path / "tools.yaml").get(method)
    assert tool is not None
    checked = check_arguments(tool, arguments)
    assert isinstance(checked, Checked)
    assert tool.function(**checked.values) == result


def test_methods_of_c_that_do_not_tell_what_they_take_are_named_with_what_the_file_may_say(tmp_path: Path) -> None:
    (tmp_path / "silent_tools.py").write_text(
        "class Silent:\n    top = staticmethod(max)\n\n"
        'class Half(Silent):\n    def one(self) -> int:\n        """One."""\n        return 1\n'
    )
    with pytest.raises(UsageError) as caught:
        load_tools(write(tmp_path, "- callable: ./silent_tools.py:Silent\n"))
    assert str(caught.value).endswith(
        'no method of the class "./silent_tools.py:Silent" has a readable signature; expected the parameters of one at '
        "least; it has top; write methods: {top: {parameters: {}}}, with its parameters in their order"
    )
    described = "{top: {parameters: {a: {type: number}, b: {type: number}}}}"
    path = write(tmp_path, f"- callable: ./silent_tools.py:Silent\n  methods: {described}\n")
    (loaded,) = load_tools(path).tools
    assert loaded.function(a=1, b=2) == 2
    toolbox = load_tools(write(tmp_path, "- callable: ./silent_tools.py:Half\n")).toolbox
    assert toolbox.names == ("one",)
    assert 'Half" is offered without top, of which no signature can be read; write methods: {top:' in toolbox.notices[0]


def test_where_the_arguments_of_a_single_method_stand_is_said(tmp_path: Path) -> None:
    (tmp_path / "by_kind.py").write_text("class Shop:\n    def sell(self, kind: type) -> str:\n        return 'x'\n")
    with pytest.raises(UsageError) as caught:
        load_tools(write(tmp_path, "- callable: ./by_kind.py:Shop.sell\n"))
    assert str(caught.value).endswith(
        "set it with arguments: {kind: VALUE}; arguments of a method stand with its class, "
        "methods: {sell: {arguments: …}}"
    )
    path = write(tmp_path, "- callable: ./by_kind.py:Shop\n  methods: {sell: {arguments: {kind: VALUE}}}\n")
    assert load_tools(path).toolbox.names == ("sell",)

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchat.tools.argument_check import Checked, check_arguments
from toolchat.tools.code import read_code
from toolchat.tools.load import load_tools
from toolchat.wire.errors import UsageError

GREET = 'def greet(name: str) -> str:\n    """Greet someone."""\n    return f"Hello {name}"\n'


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = sys.path.copy(), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, *callables: str, **sources: str) -> Path:
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    path = folder / "tools.yaml"
    path.write_text("version: 1\ntools:\n" + "".join(f'  - callable: "{item}"\n' for item in callables))
    return path


def test_a_file_is_imported_once_whatever_its_name_and_however_many_tools_it_has(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    source = "import mate\ncount = []\n"
    source += 'def add() -> int:\n    """Add."""\n    count.append(mate.ONE)\n    return len(count)\n'
    source += 'def total() -> int:\n    """Total."""\n    return len(count)\n'
    (tmp_path / "below" / "my-own tools.py").write_text(source)
    (tmp_path / "below" / "mate.py").write_text("ONE = 1\n")
    toolbox = load_tools(write(tmp_path, "./below/my-own tools.py:add", "./below/my-own tools.py:total"))
    add, total = toolbox.tools
    add.function()
    add.function()
    assert total.function() == 2
    assert str(tmp_path) not in sys.path


def test_a_file_named_like_a_loaded_library_is_no_clash(tmp_path: Path) -> None:
    import json

    toolbox = load_tools(write(tmp_path, "./json.py:greet", json=GREET))
    assert toolbox.tools[0].function("you") == "Hello you"
    assert sys.modules["json"] is json


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.py").write_text(f'def {name}() -> str:\n    """Say."""\n    return __name__\n')
    one, two = load_tools(write(tmp_path, "./one/same.py:one", "./two/same.py:two")).tools
    assert one.function() != two.function()


def test_a_dataclass_with_annotations_as_text_works_in_a_file(tmp_path: Path) -> None:
    source = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    source += 'def go(p: P, later: Q) -> None:\n    """Go."""\n@dataclass\nclass Q:\n    p: P\n'
    (tool,) = load_tools(write(tmp_path, "./data.py:go", data=source)).tools
    assert tool.tool.parameters["properties"]["later"]["properties"]["p"]["required"] == ["x"]


def test_a_file_that_fails_is_one_problem_and_tried_again_the_next_time(tmp_path: Path) -> None:
    path = write(tmp_path, "./bad.py:a", "./bad.py:b", bad="import nowhere_at_all\n")
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            load_tools(path)
        assert str(caught.value) == (
            f'{path}:3:15: file "./bad.py" cannot be imported: ModuleNotFoundError: No module named '
            "'nowhere_at_all' (bad.py:1); expected it to be installed; install \"nowhere_at_all\""
        )
    (tmp_path / "bad.py").write_text('def a() -> None:\n    """A."""\ndef b() -> None:\n    """B."""\n')
    assert load_tools(path).toolbox.names == ("a", "b")


def test_a_tool_that_is_switched_off_is_not_imported(tmp_path: Path) -> None:
    path = write(tmp_path, "./good.py:greet", "./bad.py:b", good=GREET, bad="raise SystemExit")
    path.write_text(path.read_text() + "    enabled: false\n")
    assert load_tools(path).toolbox.names == ("greet",)


def test_consent_covers_named_files_and_what_they_import_beside_them(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "main.py").write_text("import helper\nraise SystemExit\n")
    (tmp_path / "below" / "helper.py").write_text("")
    (tmp_path / "below" / "other.py").write_text("")
    path = write(tmp_path, "./below/main.py:f")
    before = read_code(path)
    assert [entry.callable_ref for entry in before.entries()] == ["./below/main.py:f"]
    assert not before.samples_only
    (tmp_path / "below" / "other.py").write_text("# changed")
    assert read_code(path).contents() == before.contents()
    for name in ("helper.py", "main.py"):
        (tmp_path / "below" / name).open("a").write("# changed\n")
        after = read_code(path)
        changed = {file for file in before.files if before.files[file] != after.files[file]}
        assert changed == {str(tmp_path / "below" / name)}
        before = after
    (tmp_path / "below" / "helper.py").unlink()
    assert read_code(path).contents() != before.contents()


def test_a_file_with_relative_imports_is_told_to_be_named_as_a_module(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "near.py").write_text("KM = 1000\n")
    source = 'from .near import KM\n\n\ndef metres(km: int) -> int:\n    """Convert."""\n    return km * KM\n'
    (tmp_path / "pkg" / "mod.py").write_text(source)
    file = tmp_path / "tools.yaml"
    file.write_text("version: 1\ntools:\n  - callable: ./pkg/mod.py:metres\n")
    with pytest.raises(UsageError, match=r"attempted relative import.*; write callable: pkg\.mod:metres$"):
        load_tools(file)
    file.write_text("version: 1\ntools:\n  - callable: pkg.mod:metres\n")
    assert load_tools(file).toolbox.names == ("metres",)


def test_a_single_file_with_relative_imports_is_not_advised_a_package_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "mod.py").write_text("from .near import KM\n\n\ndef f(x: int) -> int:\n    return x\n")
    file = tmp_path / "tools.yaml"
    file.write_text("version: 1\ntools:\n  - callable: ./mod.py:f\n")
    with pytest.raises(UsageError, match=r"relative import.*; put it in a package, and name it as package\.module"):
        load_tools(file)


def test_names_in_a_file_are_pythons_whether_their_accents_are_composed_or_not(tmp_path: Path) -> None:
    source = 'def f(größe: int) -> int:\n    """Do."""\n    return größe\n'
    (tmp_path / "mine.py").write_text(f"{source}\n\ngröße = f\n")
    file = tmp_path / "tools.yaml"
    decomposed = "gro\u0308ße"
    keys = f"    name: f\n    parameters:\n      {decomposed}: In cm\n"
    text = f"version: 1\ntools:\n  - callable: mine:{decomposed}\n{keys}"
    file.write_text(text)
    (loaded,) = load_tools(file).tools
    assert loaded.tool.parameters["properties"] == {"größe": {"type": "integer", "description": "In cm"}}
    checked = check_arguments(loaded, {decomposed: 5})
    assert isinstance(checked, Checked)
    assert checked.arguments == {"größe": 5}

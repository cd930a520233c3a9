# ruff: noqa: E501 (a row of a table reads best as one line)
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.tools.toolbox import Approval, ToolOptions
from toolchat.wire.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean_imports() -> Iterator[None]:
    path, modules = sys.path.copy(), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, *callables: str, **modules: str) -> Path:
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    path = folder / "tools.yaml"
    path.write_text("version: 1\ntools:\n" + "".join(f"  - callable: {item}\n" for item in callables))
    return path


GREET = 'def greet(name: str) -> str:\n    """Greet someone."""\n    return f"Hello {name}"\n'

# As the demo model was trained on them: it calls best what it has seen.
TRAINED = [
    {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location (simulated)",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {
                    "type": "string",
                    "description": "The city to find the weather for, e.g. 'San Francisco'",
                },
                "state": {
                    "type": "string",
                    "description": "the two-letter abbreviation for the state that the city is in, e.g. 'CA'",
                },
                "unit": {
                    "type": "string",
                    "description": "The unit to fetch the temperature in",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["city", "state", "unit"],
        },
    },
    {
        "name": "calculate",
        "description": "Evaluate an arithmetic expression.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "The expression, e.g. '17 * 23'"}},
            "required": ["expression"],
        },
    },
    {
        "name": "current_time",
        "description": "The current local time of a time zone.",
        "parameters": {
            "type": "object",
            "properties": {"timezone": {"type": "string", "description": "IANA time zone name, e.g. 'Europe/Paris'"}},
            "required": ["timezone"],
        },
    },
    {
        "name": "convert_units",
        "description": "Unit converter for length, weight, temperature, volume, speed, area and time.",
        "parameters": {
            "type": "object",
            "properties": {
                "value": {"type": "number", "description": "The number to convert"},
                "from_unit": {"type": "string", "description": "Unit to convert from"},
                "to_unit": {"type": "string", "description": "Unit to convert to"},
            },
            "required": ["value", "from_unit", "to_unit"],
        },
    },
    {
        "name": "list_files",
        "description": "Return the file names in a folder.",
        "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Folder to list, '.' for the current one"},
                "pattern": {"type": "string", "description": "Only names that match, e.g. '*.txt'"},
            },
            "required": ["path"],
        },
    },
    {
        "name": "read_file",
        "description": "Read a file, optionally only its first lines.",
        "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Path of the file"},
                "max_lines": {"type": "integer", "description": "Read at most this many lines"},
            },
            "required": ["path"],
        },
    },
]


def test_the_samples_are_told_to_the_model_in_words_that_it_was_measured_with() -> None:
    toolbox = load_tools(sample_tools_path()).toolbox
    told = [{"name": s.name, "description": s.description, "parameters": s.parameters} for s in toolbox.specs]
    assert json.dumps(told, indent=1) == json.dumps(TRAINED, indent=1)
    assert toolbox.notices == ()
    assert {tool.options for tool in toolbox.tools} == {ToolOptions(approval=Approval.ALLOW)}


def test_the_packaged_file_is_the_one_in_the_repository() -> None:
    assert sample_tools_path().read_bytes() == (ROOT / "tools.yaml").read_bytes()
    link = ROOT / "toolchat/samples/tools.yaml"
    assert link.is_symlink()
    assert link.readlink() == Path("../../tools.yaml")


def test_a_tool_carries_what_a_table_shows() -> None:
    toolbox = load_tools(sample_tools_path())
    weather = toolbox.get("get_current_weather")
    assert weather is not None
    assert weather.tool.signature == 'get_current_weather(city: str, state: str, unit: "celsius" | "fahrenheit")'
    assert weather.tool.callable_ref == "toolchat.samples.weather:get_current_weather"
    assert weather.function("Dallas", "TX", "fahrenheit").startswith("The weather in Dallas")
    assert toolbox.get("nothing") is None
    assert toolbox.path == sample_tools_path()


@pytest.mark.process
def test_loading_the_samples_imports_nothing_heavy_and_leaves_the_path_alone() -> None:
    program = (
        "import sys, json, pkgutil, importlib, toolchat.tools\n"
        "for module in pkgutil.iter_modules(toolchat.tools.__path__):\n"
        "    importlib.import_module(f'toolchat.tools.{module.name}')\n"
        "from toolchat.tools.load import load_tools, sample_tools_path\n"
        "before = list(sys.path)\n"
        "assert len(load_tools(sample_tools_path()).tools) == 6\n"
        "assert sys.path == before\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded.isdisjoint({"numpy", "torch", "vllm", "pint", "mistral_common", "openai", "mcp"})


def test_a_module_beside_the_file_is_found_and_may_import_its_neighbours_later(tmp_path: Path) -> None:
    source = (
        'def add(a: int, b: int) -> int:\n    """Add."""\n    import load_helper\n    return load_helper.add(a, b)\n'
    )
    path = write(tmp_path, "load_adder:add", load_adder=source, load_helper="def add(a, b):\n    return a + b\n")
    tool = load_tools(path).get("add")
    assert tool is not None
    assert tool.tool.description == "Add."
    assert tool.tool.place == f"{path}:3:15"
    assert tool.function(2, 3) == 5


def test_a_module_in_a_package_beside_the_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "load_pack").mkdir()
    (tmp_path / "load_pack" / "__init__.py").touch()
    (tmp_path / "load_pack" / "inner.py").write_text(GREET)
    path = write(tmp_path, "load_pack.inner:greet")
    assert load_tools(path).toolbox.names == ("greet",)


def test_a_relative_path_works_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", "load_relative:greet", load_relative=GREET)
    monkeypatch.chdir(tmp_path)
    assert load_tools(Path("below/tools.yaml")).toolbox.names == ("greet",)


def test_what_a_module_prints_is_kept_from_the_screen_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"import sys\nprint('loading...')\nprint('more', file=sys.stderr)\n{GREET}"
    toolbox = load_tools(write(tmp_path, "load_printer:greet", load_printer=source)).toolbox
    assert capsys.readouterr() == ("", "")
    assert toolbox.names == ("greet",)
    assert toolbox.notices == (
        f'{tmp_path}/tools.yaml:3:15: module "load_printer" printed "loading..." while it was imported; '
        "it was not shown; print from the function instead",
    )


PARSES = """import argparse
parser = argparse.ArgumentParser("convert")
parser.add_argument("file")
arguments = parser.parse_args([])
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import not_installed_anywhere", "No module named 'not_installed_anywhere' (load_bad.py:1); expected it to"),
        ("\n\nraise ValueError('no\\nkey')", "ValueError: no key (load_bad.py:3)"),
        ("import sys\nsys.exit(3)", "SystemExit: 3 (load_bad.py:2); expected a module that only defines; put what it does as a program"),
        (PARSES, 'SystemExit: 2 (load_bad.py:4), after it printed "convert: error: the following arguments are required: file"; expected'),
        ("raise EOFError('nobody answers')", 'below if __name__ == "__main__":'),
        ("open('beside.txt')", "it lies beside the module, and this is another folder; write Path(__file__).parent / 'beside.txt' there"),
        ("def f(:\n", "SyntaxError: invalid syntax (load_bad.py:1)"),
        ("x = \x00", "null bytes"),
        ("import json\n\njson.loads('{')", "JSONDecodeError: Expecting property name"),
        ("class E(Exception):\n    def __str__(self):\n        raise E\nraise E()", "cannot be imported: E (load_bad.py:4)"),
        ("raise BaseException", "BaseException (load_bad.py:1)"),
        ("raise GeneratorExit", "GeneratorExit (load_bad.py:1)"),
    ],
)  # fmt: skip
def test_a_module_that_fails_gives_one_line_with_its_place(tmp_path: Path, source: str, message: str) -> None:
    path = write(tmp_path, "load_bad:f", load_bad=source)
    (tmp_path / "beside.txt").touch()
    with pytest.raises(UsageError) as caught:
        load_tools(path)
    text = str(caught.value)
    assert text.startswith(f'{path}:3:15: module "load_bad" cannot be imported: ')
    assert "\n" not in text
    assert message in text


def test_ctrl_c_during_an_import_is_no_problem_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_tools(write(tmp_path, "load_interrupted:f", load_interrupted="raise KeyboardInterrupt"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("load_mood:greet", 'there is no module "load_mood"; expected load_mood.py beside'),
        ("load_mood:greet", 'did you mean "load_good"?'),
        ("load_good.sub:greet", 'there is no module "load_good.sub"'),
        ("load_good:gret", 'module "load_good" has no "gret"; expected a function of that module; did you mean "greet"?'),
        ("load_good:zzz", "it has: greet"),
        ("load_good:TABLE", '"load_good:TABLE" is a dict; expected a function'),
        ("load_good:Greeter", 'the class "load_good:Greeter" has no public methods'),
        ("load_good:shout", '"load_good:shout" cannot be a tool: it is a lambda'),
        ("toolchat.samples.weather:_celsius", '"_celsius" is no sample of toolchat.samples.weather'),
        ("toolchat.samples.weather:nothing", "it has: get_current_weather"),
        ("toolchat.samples.wether:f", 'there is no module "toolchat.samples.wether" among the samples'),
        ("toolchat.samples.files:contextmanager", '"contextmanager" is no sample of toolchat.samples.files'),
        ("toolchat.samples.weather:hashlib", "is a module; expected a function"),
    ],
)  # fmt: skip
def test_a_callable_that_is_none_is_named(tmp_path: Path, reference: str, message: str) -> None:
    source = f"{GREET}TABLE = {{}}\nclass Greeter: pass\nshout = lambda x: x\n"
    with pytest.raises(UsageError) as caught:
        load_tools(write(tmp_path, reference, load_good=source))
    assert str(caught.value).startswith(f"{tmp_path}/tools.yaml:3:15: ")
    assert message in str(caught.value)


def test_a_function_without_a_docstring_is_a_tool_by_its_name_and_a_notice_says_so(tmp_path: Path) -> None:
    toolbox = load_tools(write(tmp_path, "load_quiet:square", load_quiet="def square(x: int): return x * x\n")).toolbox
    assert [tool.description for tool in toolbox.tools] == ["Calls load_quiet.square."]
    assert toolbox.notices[0].endswith(
        ':3:15: "load_quiet:square" has no description; the model is told the name only; '
        "add description: or a docstring"
    )


def test_a_local_module_named_like_a_loaded_library_is_refused_rather_than_ignored(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r'module "json" is already taken by .*; rename json\.py'):
        load_tools(write(tmp_path, "json:greet", json=GREET))


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    path = write(tmp_path, "load_missing:a", "load_many:greet", "load_many:b", load_many=GREET)
    with pytest.raises(UsageError) as caught:
        load_tools(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(str(path))[:6] for line in lines] == [":3:15:", ":5:15:"]


def test_a_module_is_not_blamed_for_the_folder_that_toolchat_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asks_where.py").write_text('import os\nHERE = os.getcwd()\ndef f() -> None:\n    "F."\n')
    (tmp_path / "tools.yaml").write_text("version: 1\ntools:\n- ./asks_where.py:f\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError) as caught:
        load_tools(tmp_path / "tools.yaml")
    expected = "; the module may be right: the working directory has been deleted; change to a folder that is there"
    assert str(caught.value).endswith(expected)

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_program import Program

from toolchat.models.files import lacking
from toolchat.settings import resolve
from toolchat.tools.tools_file import read_tools_file
from toolchat.wire.errors import UsageError

pytestmark = pytest.mark.process

SCHEMALESS = "def f(x: int) -> int:\n    return x\n"


@pytest.fixture
def toolchat(forked_toolchat: Program) -> Program:
    return forked_toolchat


def test_a_tools_file_that_was_named_and_is_not_there(toolchat: Program) -> None:
    assert toolchat("ask", "hi", "--tools", "none.yaml").refused(2) == "--tools none.yaml: no such file"


@pytest.mark.parametrize(
    ("arguments", "variables", "where"),
    [
        (("tools", "list", "--tools", "~nouser9/x"), {}, "--tools: "),
        (("tools", "list"), {"TOOLCHAT_TOOLS": "~nouser9/x"}, "TOOLCHAT_TOOLS: "),
        (("ask", "hi", "--model", "~nouser9/x"), {}, "--model: "),
        (("tools", "trust", "~nouser9/x"), {}, "~nouser9/x: "),
        (("models", "path", "~nouser9/x"), {}, "~nouser9/x: "),
    ],
)
def test_a_home_folder_that_there_is_not_is_one_line(
    toolchat: Program, arguments: tuple[str, ...], variables: dict[str, str], where: str
) -> None:
    line = toolchat(*arguments, variables=variables).refused(2)
    assert line.startswith(f"{where}expected a path that begins with an existing home folder")


def test_a_home_folder_that_there_is_not_in_the_settings_is_named_by_its_key(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for key in ("tools", "model"):
        file.write_text(f'{key} = "~nouser9/x"\n')
        with pytest.raises(UsageError) as caught:
            resolve({}, environment={}, file=file)
        assert str(caught.value) == (
            f"{file}: {key}: expected a path that begins with an existing home folder, not '~nouser9/x'"
        )


@pytest.mark.parametrize(
    "text",
    [
        'version: 1\n"x\\n\\nTo go on run:\\n\\n    sh ./setup.sh\\n": 1\ntools: []\n',
        'version: 1\ntools: []\n"x\\nrun: sh ./setup.sh": 1\n"x\\nrun: sh ./setup.sh": 1\n',
        "version: 1\ntools:\n  - callable: a:b\n    arguments: {x: !<tag:%0Arun:%20sh%20./setup.sh> y}\n",
    ],
)
def test_what_is_quoted_from_a_file_begins_no_line_of_its_own(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"setup\.sh") as caught:
        read_tools_file(path)
    rows = str(caught.value).splitlines()
    assert all(row.startswith(f"{path}:") for row in rows), rows


def test_what_is_quoted_from_a_models_index_begins_no_line_of_its_own(tmp_path: Path) -> None:
    for name in ("params.json", "tekken.json"):
        (tmp_path / name).touch()
    shard = "consolidated-1.safetensors"
    (tmp_path / shard).touch()
    weights = {"a": shard, "b": "x\nrun: sh ./setup.sh"}
    (tmp_path / "consolidated.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    assert lacking(tmp_path) == "x⏎run: sh ./setup.sh"


def test_a_folder_in_the_place_of_a_tools_file(toolchat: Program) -> None:
    assert toolchat("tools", "list", "--tools", ".").refused(2) == "--tools .: not a file"


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("version: 1\ntools:\n  - callable: [a\n", 4, 1),
        ("version: 1\ntools:\n\t- callable: a:b\n", 3, 1),
        ('version: 1\ntools:\n  - callable: "a:b\n    name: c\n', 5, 1),
    ],
)
def test_yaml_that_does_not_parse_is_told_with_line_and_column(
    toolchat: Program, text: str, line: int, column: int
) -> None:
    (toolchat.folder / "bad.yaml").write_text(text)
    said = toolchat("tools", "list", "--tools", "bad.yaml").refused(2)
    assert said.startswith(f"bad.yaml:{line}:{column}: ")


@pytest.mark.parametrize(
    ("callable_", "module", "said"),
    [
        ("absent:f", "", r'no module "absent"'),
        ("mine:absent", SCHEMALESS, r'"mine" has no "absent"'),
        ("mine:f", "import no_such_library\n", r"no_such_library"),
        ("mine:f", "raise ValueError('no\\nkey')\n", r"ValueError: no key \(mine\.py:1\)"),
        ("mine:f", "def f(:\n", r"SyntaxError: .* \(mine\.py:1\)"),
        ("mine:f", "import sys\nsys.exit(0)\n", r"SystemExit"),
        ("mine:f", "f = 3\n", r"an int"),
        ("mine:f", "def f(x: type) -> int: ...\n", r"its parameter x is a class, which JSON cannot hold"),
    ],
)
def test_a_callable_that_cannot_be_had(toolchat: Program, callable_: str, module: str, said: str) -> None:
    (toolchat.folder / "mine.py").write_text(module)
    (toolchat.folder / "mine.yaml").write_text(f"version: 1\ntools:\n  - callable: {callable_}\n")
    line = toolchat("tools", "list", "--tools", "mine.yaml").refused(2)
    assert re.search(said, line), line
    assert line.startswith("mine.yaml:3:")


def test_several_problems_of_one_file_are_told_together_a_line_each(toolchat: Program) -> None:
    (toolchat.folder / "mine.yaml").write_text("version: 1\ntools:\n  - callable: absent:f\n  - callable: missing:g\n")
    ran = toolchat("tools", "list", "--tools", "mine.yaml")
    assert (ran.code, ran.out) == (2, "")
    first, second = ran.err.splitlines()
    assert "mine.yaml:3:" in first
    assert "mine.yaml:4:" in second
    assert "Traceback" not in ran.err


def test_bad_tools_are_told_by_ask_too_and_nothing_is_answered(toolchat: Program, model_folder: Path) -> None:
    (toolchat.folder / "mine.yaml").write_text("version: 1\ntools:\n  - callable: absent:f\n")
    ran = toolchat("ask", "hi", "--tools", "mine.yaml", "--model", str(model_folder))
    assert 'no module "absent"' in ran.refused(2)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--temperature", "hot"), "--temperature: expected a number from 0 to 5, not 'hot'"),
        (("--temperature", "-1"), "--temperature: expected a number from 0 to 5, not '-1'"),
        (("--temperature", "nan"), "--temperature: expected a number from 0 to 5, not 'nan'"),
        (("--max-tokens", "0"), "--max-tokens: expected a whole number, at least 1, not '0'"),
        (("--max-tokens", "many"), "--max-tokens: expected a whole number, at least 1, not 'many'"),
        (("--context", "1.5"), "--context: expected a whole number, at least 1, not '1.5'"),
        (("--kv-cache", "0"), "--kv-cache: expected a number of GiB from 0.01 to 4096, not '0'"),
        (("--system", " "), "--system: expected a text, not ' '"),
    ],
)
def test_a_wrong_value_of_a_flag(toolchat: Program, flags: tuple[str, str], said: str) -> None:
    assert toolchat("ask", "hi", *flags).refused(2) == said


@pytest.mark.parametrize(
    ("name", "value"), [("TEMPERATURE", "hot"), ("MAX_TOKENS", "-3"), ("CONTEXT", "big"), ("KV_CACHE_GIB", "all")]
)
def test_a_wrong_variable_is_named(toolchat: Program, name: str, value: str) -> None:
    said = toolchat("ask", "hi", variables={f"TOOLCHAT_{name}": value}).refused(2)
    assert said.startswith(f"TOOLCHAT_{name}: expected ")
    assert said.endswith(f"not {value!r}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temperature = hot\n", r"not valid TOML: .*line 1, column 15"),
        ('temperature = "hot"\n', r"temperature: expected a number from 0 to 5, not 'hot'"),
        ("max_token = 5\n", r"no setting 'max_token'; did you mean max_tokens\?"),
        ("[tools]\n", r"tools: expected a text"),
        ("\xff", r"cannot be read"),
    ],
)
def test_a_wrong_config_file_is_named(toolchat: Program, home: Path, text: str, said: str) -> None:
    file = home / ".config" / "toolchat" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="latin-1")
    line = toolchat("ask", "hi").refused(2)
    assert line.startswith(str(file))
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "No such command 'nonsense'; see toolchat --help"),
        (("tools", "nonsense"), "No such command 'nonsense'; see toolchat tools --help"),
        (("ask", "hi", "--zzz"), "No such option: --zzz; see toolchat ask --help"),
        (("ask", "hi", "there"), "Got unexpected extra argument(s) (there); see toolchat ask --help"),
        (("ask", "hi", "--model"), "Option '--model' requires an argument; see toolchat --help"),
        (("models", "pull"), "Missing argument 'NAME'; see toolchat models pull --help"),
    ],
)
def test_a_command_line_that_does_not_exist(toolchat: Program, arguments: tuple[str, ...], said: str) -> None:
    assert toolchat(*arguments).refused(2) == said


def test_a_command_that_is_nearly_right_is_suggested_in_one_line(toolchat: Program) -> None:
    assert "tools" in toolchat("tool").refused(2)


@pytest.mark.parametrize("question", [(), ("",), ("  \n",)])
def test_no_question_at_all(toolchat: Program, question: tuple[str, ...]) -> None:
    assert toolchat("ask", *question).refused(2).startswith("there is no question; ")


def test_standard_input_that_is_not_text(toolchat: Program) -> None:
    said = toolchat("ask", "hi", stdin=b"abc\xff").refused(2)
    assert said.startswith("standard input is not text in UTF-8 (byte 3)")


def test_a_tools_file_to_trust_that_is_not_there(toolchat: Program) -> None:
    assert toolchat("tools", "trust").refused(2) == "tools.yaml: no such file"

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
CHECKED = ("toolchat", "scripts", "training", "benchmarks")
READERS = """
import sys
from pathlib import Path
from toolchat.engine.params import context_window, read_params
from toolchat.models.card import sampling
from toolchat.settings import resolve
from toolchat.tools.tools_file import read_tools_file
folder = Path(sys.argv[1])
sys.stdout.reconfigure(encoding="utf-8")
print(open(folder / "ascii", "w").encoding)
print(resolve({}, environment={}, file=folder / "config.toml").system)
print(read_params(folder)["name"], context_window(folder), sampling(folder, "m").temperature)
print("gr\\u00f6\\u00dfer" in str(read_tools_file(folder / "tools.yaml")))
"""
OPEN_ARGUMENTS = {"mode", "buffering", "errors", "newline"}


def in_the_locales_encoding(source: str) -> Iterator[int]:
    """The lines of `source` whose call reads or writes text in whatever encoding the user's locale has."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, is_method = "", False
        match node.func:
            case ast.Name(name):
                pass
            case ast.Attribute(ast.Name("os" | "codecs" | "Image" | "Pillow"), "open"):
                continue
            case ast.Attribute(_, name):
                is_method = True
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if "encoding" in given:
            continue
        match name:
            case "read_text":
                found = not node.args
            case "write_text":
                found = len(node.args) < 2
            case "open" | "fdopen" | "TemporaryFile" | "NamedTemporaryFile":
                position = 0 if is_method and name != "fdopen" else 1
                default = ast.Constant("w+b" if name.endswith("TemporaryFile") else "r")
                mode = given.get("mode") or (node.args[position] if len(node.args) > position else default)
                found = isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" not in mode.value
                # Another thing's `open`, which takes what no file's does.
                found = found and set(given) <= OPEN_ARGUMENTS
            case "run" | "Popen" | "check_output" | "check_call":
                found = bool({"text", "universal_newlines"} & set(given))
            case _:
                found = False
        if found:
            yield node.lineno


@pytest.mark.parametrize("folder", CHECKED)
def test_no_file_is_read_or_written_in_the_locales_encoding(folder: str) -> None:
    files = sorted((REPOSITORY / folder).rglob("*.py"))
    assert files
    found = [
        f"{file.relative_to(REPOSITORY)}:{number}"
        for file in files
        for number in in_the_locales_encoding(file.read_text(encoding="utf-8"))
    ]
    assert not found, "give encoding="


@pytest.mark.parametrize(
    "source",
    [
        "p.read_text()",
        "p.read_text(errors='replace')",
        "p.write_text('x')",
        "p.open()",
        "p.open('w')",
        "open(p)",
        "open(p, 'a')",
        "os.fdopen(3)",
        "os.fdopen(3, mode='w')",
        "tempfile.NamedTemporaryFile('w')",
        "subprocess.run(c, text=True)",
    ],
)
def test_each_way_of_it_is_found(source: str) -> None:
    assert list(in_the_locales_encoding(source)) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "p.read_text(encoding='utf-8')",
        "p.read_text('utf-8')",
        "p.open('rb')",
        "open(p, mode='wb')",
        "os.open(p, 0)",
        "os.fdopen(3, 'rb')",
        "tempfile.TemporaryFile()",
        "host.open(memory=1)",
        "supervisor.open(tool)",
        "subprocess.run(c, capture_output=True)",
        "subprocess.run(c, text=True, encoding='utf-8')",
    ],
)
def test_what_names_its_encoding_or_has_none_is_not(source: str) -> None:
    assert not list(in_the_locales_encoding(source))


@pytest.mark.process
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_users_files_are_utf_8_with_and_without_a_mark_whatever_the_locale(encoding: str, tmp_path: Path) -> None:
    for name, text in {
        "config.toml": "system = 'größer'",
        "params.json": json.dumps({"name": "größer"}, ensure_ascii=False),
        "config.json": json.dumps({"max_position_embeddings": 512, "name": "größer"}, ensure_ascii=False),
        "generation_config.json": json.dumps({"temperature": 0.5, "name": "größer"}, ensure_ascii=False),
        "tools.yaml": "version: 1\ntools:\n  - callable: m:f\n    description: größer\n",
    }.items():
        (tmp_path / name).write_text(text, encoding=encoding)
    done = subprocess.run(
        [sys.executable, "-c", READERS, str(tmp_path)],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        stdout=subprocess.PIPE,
        check=True,
    )
    locales, *read = done.stdout.decode().splitlines()
    assert locales != "utf-8"
    assert read == ["größer", "größer 512 0.5", "True"]

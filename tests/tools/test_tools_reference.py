from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from toolchat.tools.argument_check import Checked, check_arguments
from toolchat.tools.file_keys import FILE_KEYS, TOOL_KEYS
from toolchat.tools.file_schema import file_schema
from toolchat.tools.keywords import KEYWORDS
from toolchat.tools.load import load_tools
from toolchat.tools.options import OPTION_NAMES
from toolchat.tools.toolbox import LoadedToolbox

PAGE = (Path(__file__).parents[2] / "docs" / "tools-reference.md").read_text()
BLOCK = re.compile(r"^```(?:yaml|python|text) file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def documented(tmp_path: Path) -> Iterator[Path]:
    path, modules = sys.path.copy(), set(sys.modules)
    for name, text in BLOCK.findall(PAGE):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    yield tmp_path
    sys.path[:] = path
    for module in set(sys.modules) - modules:
        del sys.modules[module]


def test_every_block_of_code_is_one_that_the_tests_load() -> None:
    assert len(re.findall(r"^```(?:yaml|python|text)", PAGE, re.MULTILINE)) == len(BLOCK.findall(PAGE)) == 17


def test_every_file_loads_and_fits_the_schema(documented: Path) -> None:
    files = sorted(documented.glob("*/tools.yaml"))
    assert [file.parent.name for file in files] == [
        "builtins",
        "classes",
        "commands",
        "options",
        "parameters",
        "schema-hint",
        "smallest",
        "sources",
        "values",
    ]
    for file in files:
        jsonschema.Draft7Validator(file_schema()).validate(yaml.safe_load(file.read_text()))
        load_tools(file)


def call(toolbox: LoadedToolbox, name: str, arguments: dict[str, Any]) -> Any:
    loaded = toolbox.get(name)
    assert loaded is not None
    checked = check_arguments(loaded, arguments)
    return loaded.function(**checked.values) if isinstance(checked, Checked) else checked.message


def test_the_examples_do_what_the_page_says(documented: Path) -> None:
    toolbox = load_tools(documented / "smallest" / "tools.yaml")
    assert call(toolbox, "greet", {"name": "Ada", "loudly": True}) == "HELLO ADA!"
    toolbox = load_tools(documented / "options" / "tools.yaml")
    assert toolbox.toolbox.names == ("search", "index")
    search, index = toolbox.tools
    assert (search.tool.options.timeout, search.tool.options.memory) == (10, 512_000_000)
    assert (index.tool.options.timeout, index.tool.options.memory) == (300, None)
    toolbox = load_tools(documented / "parameters" / "tools.yaml")
    assert call(toolbox, "book", {"guest": "Ada"}) == "SINGLE for Ada, 1 nights"
    assert call(toolbox, "book", {"guest": "Ada", "room": "suite"}) == (
        'Error: room must be one of "single", "double" (got "suite")'
    )
    assert call(toolbox, "book", {"guest": "A", "code": "abc"}) == (
        'Error: code must be text that matches ^[A-Z]{3}-[0-9]+$ (got "abc")'
    )
    toolbox = load_tools(documented / "classes" / "tools.yaml")
    assert toolbox.toolbox.names == ("notes_add", "notes_show")
    assert call(toolbox, "notes_add", {"line": "milk"}) == 1
    assert call(toolbox, "notes_show", {}) == "Shopping\nmilk"
    toolbox = load_tools(documented / "values" / "tools.yaml")
    assert call(toolbox, "send", {"to": "Ada", "text": "x", "headers": [{"name": "a", "value": "b"}]}) == (
        "sent to Ada by mail.example.org (Sent, 1 headers)"
    )
    toolbox = load_tools(documented / "sources" / "tools.yaml")
    assert toolbox.toolbox.names == (
        "more_remember",
        "gcd",
        *(f"stats_{x}mean" for x in ("geometric_", "harmonic_", "")),
    )


@pytest.mark.process
def test_the_programs_do_what_the_page_says(documented: Path) -> None:
    toolbox = load_tools(documented / "commands" / "tools.yaml")
    assert call(toolbox, "sorted_words", {}) == "apple 1\nfig 3\npear 2"
    assert call(toolbox, "sorted_words", {"column": 2}) == "apple 1\npear 2\nfig 3"
    assert call(toolbox, "loud", {"text": "a; id"}) == "A; ID"
    assert call(toolbox, "count", {"text": "one two", "what": "w"}).strip() == "2"


def test_every_key_is_documented() -> None:
    for key in {*FILE_KEYS, *TOOL_KEYS, *OPTION_NAMES, *KEYWORDS}:
        assert f"`{key}`" in PAGE, key

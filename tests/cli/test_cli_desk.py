from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_program import Program
from desk_program import Desk, loaded_here
from inprocess_tools import InProcessRunner

from toolchat.tools.load import load_tools
from toolchat.tools.run import ToolRunner
from toolchat.wire.errors import ExitCode

pytestmark = pytest.mark.process

TIMES = re.compile(r"\d+\.\d{3}\b")

MODULE = '''
from pathlib import Path
from typing import Any

Path(__file__).with_name("imported").touch()

def greet(name: str, times: int = 1, loud: bool = False) -> str:
    """Greet a person.

    Args:
        name: who
        times: how often
        loud: whether to shout
    """
    print("greeting")
    if not name:
        raise ValueError("nobody to greet")
    text = " ".join([f"Hello {name}"] * times)
    return text.upper() if loud else text

def count(by) -> int:
    """Count calls."""
    global counted
    counted += by
    return counted

counted = 0

def picture() -> bytes:
    """Draw."""
    from PIL import Image
    import io
    data = io.BytesIO()
    Image.new("RGB", (3, 2)).save(data, "PNG")
    return data.getvalue()

def colour() -> str:
    """Colour."""
    return "\\x1b[31mred"

def long() -> str:
    """Say much."""
    return "x" * 3_000_000
'''
TOOLS = """version: 1
tools:
  - callable: mine:greet
    max_result_tokens: 32
    parameters:
      times: {minimum: 1, description: how many times}
  - callable: mine:count
    stateful: true
  - callable: mine:picture
  - callable: mine:long
  - callable: mine:colour
"""
FILE = ("--tools", "tools.yaml")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    made = Desk(folder, monkeypatch, capsys)
    made.write(mine=MODULE, tools=TOOLS)
    return made


@pytest.fixture
def loads_here(desk: Desk) -> Iterator[Desk]:
    """The same, but the tools are loaded and run in this process: for what is not about theirs."""
    with loaded_here(desk.monkeypatch):
        desk.monkeypatch.setattr(ToolRunner, "start", started_here)
        yield desk


async def started_here(source: Path, *_: Any, **__: Any) -> InProcessRunner:
    return InProcessRunner(load_tools(source))


@pytest.mark.parametrize("command", [("check",), ("show", "greet"), ("call", "greet", "--name", "Ann")])
def test_code_of_a_file_that_is_merely_found_runs_only_once_it_is_accepted(
    desk: Desk, command: tuple[str, ...]
) -> None:
    assert "you have not accepted it" in desk(*command).refused(ExitCode.USAGE)
    assert not (desk.folder / "imported").exists()


def test_a_call_prints_the_result_that_a_model_reads_and_all_else_beside_it(desk: Desk) -> None:
    ran = desk("call", "greet", *FILE, "--name", "Ann", "--loud", "--", "--times", "2")
    assert (ran.code, ran.out) == (0, "HELLO ANN HELLO ANN\n")
    assert TIMES.sub("0.000", ran.err).splitlines() == [
        '→ greet(name="Ann", loud=true, times=2)',
        "  │ greeting",
        "✓ ok in 0.000 s; 19 characters, about 5 tokens",
    ]


def test_arguments_come_as_json_or_on_standard_input_as_well(loads_here: Desk) -> None:
    ran = loads_here("call", "greet", *FILE, "--json", '{"name": "Ann", "times": "2"}')
    assert ran.code == 0
    assert ran.out.endswith("\nHello Ann Hello Ann\n")
    assert '→ greet(name="Ann", times=2) (repaired)' in ran.err
    assert loads_here("call", "greet", *FILE, stdin='{"name": "Bob"}').out.endswith("\nHello Bob\n")


def test_a_tools_error_and_a_refused_argument_end_with_code_1_and_the_text_that_a_model_reads(desk: Desk) -> None:
    ran = desk("call", "greet", *FILE, "--name=")
    assert (ran.code, ran.out) == (ExitCode.FAILURE, "Error: ValueError: nobody to greet\n")
    ran = desk("call", "greet", *FILE, "--json", '{"name": "Ann", "times": 0}')
    assert ran.code == ExitCode.FAILURE
    assert ran.out == "Error: times must be greater than or equal to 1 (got 0)\n"


def test_calls_are_repeated_and_timed_in_the_process_that_a_stateful_tool_has(desk: Desk) -> None:
    ran = desk("call", "count", *FILE, "--times", "3", "--by", "2")
    assert (ran.code, ran.out) == (0, "2\n4\n6\n")
    last = TIMES.sub("0.000", ran.err).splitlines()[-1]
    assert last == "3 calls: 3 ok; median 0.000 s (0.000 to 0.000 s)"


def test_the_whole_of_a_long_result_is_there_for_the_author(desk: Desk) -> None:
    assert len(desk("call", "long", *FILE).out) == 3_000_001


def test_in_a_pipe_a_result_is_data_and_a_terminal_is_given_nothing_to_obey(loads_here: Desk) -> None:
    assert loads_here("call", "colour", *FILE).out == "\x1b[31mred\n"
    loads_here.monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
    assert loads_here("call", "colour", *FILE).out == "\u241b[31mred\n"


def test_the_images_that_a_tool_returns_are_kept_where_that_is_asked_for(loads_here: Desk) -> None:
    ran = loads_here("call", "picture", *FILE, "--images", "kept")
    (image,) = (loads_here.folder / "kept").iterdir()
    assert image.read_bytes().startswith(b"\x89PNG")
    assert f"kept/{image.name}" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("call", "greet", *FILE, "--times", "2"), "--times is a flag of this command, and a parameter of greet, too"),
        (("call", "greet", *FILE, "--json", "{}", "--name", "x"), "--json and --name both give arguments"),
        (("show", "nothing", *FILE), 'there is no tool "nothing"; it has: greet, count, picture, long, colour'),
        (("call", "greet", *FILE, "--nme", "x"), '--nme: greet takes --name, --times, --loud; did you mean "--name"?'),
        (("call", "--name", "x", "greet", *FILE), "--name: expected the tool's name first"),
        (("check", "nothing.yaml"), "nothing.yaml: no such file"),
        (("show", "greet", *FILE, "--tokenizer", "v99"), "no tokenizer of that version is on this machine"),
    ],
)
def test_what_cannot_be_done_is_one_line(loads_here: Desk, arguments: tuple[str, ...], message: str) -> None:
    assert message in loads_here(*arguments).refused(ExitCode.USAGE)


def test_check_tells_what_would_help_a_model_and_strict_minds_it(loads_here: Desk) -> None:
    ran = loads_here("check", "tools.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        'tools.yaml:7:15: note: "mine:count" has no type for by; the model is offered what could be told of it; '
        "add a type hint, or type:",
        'tools.yaml:7:15: note: "mine:count" says nothing of by but the name; describe it in the docstring, '
        "or under parameters:",
        "5 tools, 2 notes: tools.yaml",
    ]
    assert loads_here("check", "tools.yaml", "--strict").code == ExitCode.USAGE


def test_check_tells_every_problem_and_the_notes_of_what_is_right_with_their_places(desk: Desk) -> None:
    desk.write(tools=TOOLS.replace("mine:picture", "mine:pictur").replace("minimum: 1", "minimun: 1"))
    ran = desk("check", "tools.yaml", "--json")
    assert ran.code == ExitCode.USAGE
    told = json.loads(ran.out)
    assert [(row["line"], row["column"]) for row in told["problems"]] == [(6, 15), (9, 15)]
    assert 'did you mean "picture"?' in told["problems"][1]["message"]
    assert {(row["file"], row["line"], row["column"]) for row in told["notes"]} == {("tools.yaml", 7, 15)}
    assert told["tools"] == []


def test_check_lists_all_of_the_many_problems_of_one_class(loads_here: Desk) -> None:
    methods = "".join(f"    def m{number}(self, callback) -> int:\n        return 1\n" for number in range(30))
    loads_here.write(many=f"class Many:\n{methods}", tools="version: 1\ntools:\n  - callable: many:Many\n")
    checked, listed = loads_here("check", "tools.yaml"), loads_here("list", *FILE)
    assert checked.out.count("cannot be a tool") == 30
    assert listed.err.count("cannot be a tool") == 5
    assert "25 more problems at this place; toolchat tools check lists all of them" in listed.err


def test_a_file_that_is_no_yaml_is_a_problem_with_its_place(loads_here: Desk) -> None:
    loads_here.write(tools="version: 1\ntools: [\n")
    ran = loads_here("check", "tools.yaml")
    assert (ran.code, ran.err) == (ExitCode.USAGE, "")
    assert re.match(r"tools\.yaml:3:1: not valid YAML: .*\n1 problem, 0 notes: tools\.yaml\n$", ran.out)


def test_show_and_list_tell_what_the_file_changed(loads_here: Desk) -> None:
    shown = loads_here("show", "greet", *FILE, "--tokenizer", "v3").out
    assert "  file sets times: minimum, description" in shown.splitlines()
    assert re.search(r"  tokens    \d+ of every prompt, by the tokenizer of mistral_common \(v3\)\n", shown)
    assert "Prompt, tokenizer v3:\n  <s>[AVAILABLE_TOOLS] [{" in shown
    assert "greet: the file sets times: minimum, description\n" in loads_here("list", *FILE).out


def test_list_and_show_print_json_for_programs(loads_here: Desk) -> None:
    tools = json.loads(loads_here("list", *FILE, "--json").out)["tools"]
    assert [tool["name"] for tool in tools] == ["greet", "count", "picture", "long", "colour"]
    assert tools[0]["parameters"]["properties"]["times"]["minimum"] == 1
    shown = json.loads(loads_here("show", "greet", *FILE, "--json").out)
    assert shown.items() >= tools[0].items()
    assert (shown["exact"], shown["prompt"]) == (False, None)
    assert shown["grammar"] == {"backend": "llguidance", "whole": True, "checked_only": {}}


def test_a_new_tool_can_be_checked_and_called_as_the_command_says(loads_here: Desk) -> None:
    made = loads_here("new", "shout")
    assert made.code == 0
    commands = re.findall(r"toolchat tools (.+)", made.out)
    assert loads_here(*commands[0].split(), "--strict").code == ExitCode.USAGE  # of the tools that were there before
    ran = loads_here(*commands[1].split())
    assert (ran.code, ran.out) == (0, "hello\n"), ran.err
    assert "is there already" in loads_here("new", "shout").refused(ExitCode.USAGE)


def test_ctrl_c_ends_the_call_and_the_command_with_code_130(toolchat: Program) -> None:
    source = (
        'import time\n\ndef wait() -> None:\n    """Wait."""\n    print("waiting", flush=True)\n    time.sleep(60)\n'
    )
    (toolchat.folder / "slow.py").write_text(source)
    (toolchat.folder / "slow.yaml").write_text("version: 1\ntools:\n  - callable: slow:wait\n")
    process = toolchat.start("tools", "call", "wait", "--tools", "slow.yaml", variables={})
    assert process.stderr is not None
    assert process.stdout is not None
    with process.stderr, process.stdout:
        for row in process.stderr:
            if b"waiting" in row:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()
    assert process.wait(30) == ExitCode.INTERRUPTED
    assert out == b"Error: interrupted by the user\n"
    assert b"Traceback" not in err

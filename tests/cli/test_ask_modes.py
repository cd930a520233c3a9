"""Golden transcripts of `ask` in each of its forms, and what its flags refuse."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import Asking, Done
from forked_program import ProgramServer
from image_files import image_file

pytestmark = pytest.mark.process

ANSWERS: list[Any] = [[["calculate", {"expression": "17 * 24"}]], {"thinking": "A sum.", "text": "It is 408."}]
"""A call, and an answer after thinking."""
ON_STDERR = '→ calculate(expression="17 * 24")\n  ✓ 408\n'
SUM = ("17 * 24?", "--tool", "calculate")
SCHEMA = '{"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}'

Ask = Callable[..., Done]


@pytest.fixture
def asking(program_server: ProgramServer, home: Path) -> Asking:
    return Asking(program_server, home)


@pytest.fixture
def ask(asking: Asking, model_folder: Path) -> Ask:
    def run(*arguments: str, answers: list[Any], tools: bool = False, **more: Any) -> Done:
        flags = () if tools else ("--no-tools",)
        return asking.run(*arguments, *flags, "--model", str(model_folder), answers=answers, **more)

    return run


def settled(data: Any) -> Any:
    """Without what is another one at each run."""
    if isinstance(data, dict):
        gone = {"began": 0, "time": 0, "session": "", "timings": {}, "ttft": 0, "seconds": 0, "id": "", "call_id": ""}
        gone |= {"prompt_tokens": 0}
        return {
            key: "" if key == "model" else gone[key] if key in gone and value is not None else settled(value)
            for key, value in data.items()
        }
    return [settled(one) for one in data] if isinstance(data, list) else data


def only(text: str) -> Any:
    """The one object of a text."""
    assert text.count("\n") == 1
    return settled(json.loads(text))


TURN: dict[str, Any] = {
    "session": "",
    "question": "17 * 24?",
    "images": [],
    "answer": "It is 408.",
    "thinking": "A sum.",
    "status": "answered",
    "exit_code": 0,
    "model": "",
    "rounds": 2,
    "usage": {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 10},
    "timings": {},
    "notices": [],
    "began": 0,
    "calls": [
        {
            "type": "call",
            "id": "",
            "name": "calculate",
            "arguments": {"expression": "17 * 24"},
            "mark": "parsed",
            "allowed": True,
            "reason": "",
            "output": "",
            "status": "ok",
            "result": "408",
            "seconds": 0,
        }
    ],
}


def test_as_text_the_answer_is_on_stdout_and_calls_are_on_stderr(ask: Ask) -> None:
    assert ask(*SUM, answers=ANSWERS, tools=True) == Done(0, "It is 408.\n", ON_STDERR)


def test_quietly_only_the_answer_is_told(ask: Ask) -> None:
    unknown = [[["roll", {}]], "I cannot roll."]
    assert ask("Roll.", "--quiet", answers=unknown) == Done(0, "I cannot roll.\n", "")
    cut = {"text": "I can", "reason": "length"}
    assert ask("Roll.", "-q", answers=[cut]) == Done(6, "I can\n", "")


def test_as_json_one_object_has_all_of_the_turn(ask: Ask) -> None:
    ran = ask(*SUM, "--json", answers=ANSWERS, tools=True)
    assert (ran.code, ran.err) == (0, ON_STDERR)
    assert only(ran.out) == TURN


def test_as_json_a_failure_is_an_object_too(ask: Ask) -> None:
    ran = ask("--json", "--quiet", answers=ANSWERS)
    line = 'there is no question; write toolchat ask "…" (ask -- "-…" for one that begins with "-"), or pipe one in'
    assert ran.code == 2
    assert json.loads(ran.out) == {"answer": None, "error": line, "exit_code": 2}
    assert ran.err == f"toolchat: {line}\n"


def test_as_events_every_line_is_one_of_the_record(ask: Ask, home: Path) -> None:
    ran = ask(*SUM, "--stream-json", answers=ANSWERS, tools=True)
    assert (ran.code, ran.err) == (0, ON_STDERR)
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    kinds = [row["type"] for row in rows if row["type"] != "engine_state"]
    assert kinds == [
        "session_started",
        "history_edited",
        "turn_started",
        "question_asked",
        "call_proposed",
        "round_finished",
        "call_decided",
        "call_started",
        "call_finished",
        "thinking_delta",
        "text_delta",
        "round_finished",
        "turn_finished",
    ]
    assert [settled(row["data"]) for row in rows if row["type"] in ("text_delta", "turn_finished")] == [
        {"text": "It is 408."},
        {
            "status": "answered",
            "rounds": 2,
            "usage": {**TURN["usage"], "ttft": 0, "seconds": 0, "estimated": False},
            "declined": False,
            "closing": "",
        },
    ]


def test_an_answer_under_a_schema_is_printed_as_json_as_the_model_wrote_it(ask: Ask) -> None:
    # Numbers keep their digits: who reads them decides what they mean.
    written = '{"sum":1.23456789012345678901e2}'
    assert ask("1 + 1?", "--schema", SCHEMA, answers=[f"{written}\n"]) == Done(0, f"{written}\n", "")
    ran = ask("1 + 1?", "--schema", SCHEMA, "--json", answers=['{"sum": 2}'])
    assert (ran.code, only(ran.out)["answer"], only(ran.out)["json"]) == (0, '{"sum": 2}', {"sum": 2})


def test_an_answer_under_a_schema_that_was_cut_has_its_own_exit_code(ask: Ask) -> None:
    cut = {"text": '{"sum": 1', "reason": "length"}
    ran = ask("1 + 1?", "--schema", SCHEMA, answers=[cut])
    assert (ran.code, ran.out) == (6, '{"sum": 1\n')
    ran = ask("1 + 1?", "--schema", SCHEMA, "--json", answers=[cut])
    assert (ran.code, only(ran.out)["exit_code"], only(ran.out)["json"]) == (6, 6, None)


def test_an_answer_that_no_grammar_held_is_a_failure(ask: Ask) -> None:
    ran = ask("1 + 1?", "--schema", SCHEMA, answers=["Two."])
    assert (ran.code, ran.out) == (1, "Two.\n")
    assert ran.err == "toolchat: the answer is not JSON: the engine did not hold it to the schema\n"


def test_several_answers_come_in_their_order_and_the_first_code_that_applies(ask: Ask) -> None:
    answers = ["Red.", {"text": "Gre", "reason": "length"}, "Blue."]
    flags = ("A colour.", "--n", "3", "--temperature", "0.7")
    ran = ask(*flags, "--quiet", answers=answers)
    assert ran == Done(6, "Red.\n---\nGre\n---\nBlue.\n", "")
    assert "toolchat: answer 2: the answer was cut off after 5 tokens; --max-tokens" in ask(*flags, answers=answers).err
    ran = ask(*flags, "--json", "--quiet", answers=answers)
    told = only(ran.out)
    assert [answer["answer"] for answer in told["answers"]] == ["Red.", "Gre", "Blue."]
    assert (ran.code, told["exit_code"], [answer["exit_code"] for answer in told["answers"]]) == (6, 6, [0, 6, 0])


def test_a_name_without_a_character_of_the_encoding_is_escaped_in_json(ask: Ask) -> None:
    ran = ask("Hi", "--json", answers=["Grüße \ud800"], encoding="ascii")
    assert '"answer": "Gr\\u00fc\\u00dfe \\ud800"' in ran.out


def test_files_are_sent_with_their_names_before_standard_input(ask: Ask, home: Path) -> None:
    (home / "a.md").write_bytes("\ufeff# A\n```\ncode\n```\n".encode())
    (home / "b.txt").write_text("b\n\n")
    ran = ask("Compare.", "-f", "a.md", "--file", "b.txt", stdin=b"c\n", answers=["Same."])
    assert ran.code == 0
    asked = "Compare.\n\na.md:\n````\n# A\n```\ncode\n```\n````\n\nb.txt:\n```\nb\n```\n\nc\n"
    assert (home / "asked").read_text() == asked


def test_a_file_that_is_an_image_goes_to_a_model_that_sees(ask: Ask, home: Path, model_folder: Path) -> None:
    (home / "a.txt").write_bytes(image_file())
    ran = ask("What is it?", "-f", "a.txt", answers=["Red."])
    assert (ran.code, ran.out) == (2, "")
    assert f"the model {model_folder} cannot see images" in ran.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("-f", "none.txt"), "none.txt: no such file; expected a text file or an image"),
        (("-f", "."), ".: a folder; expected a text file or an image"),
        (("-f", "/dev/zero"), "/dev/zero: not a file; expected a text file or an image"),
        (("-f", "~nobody-here/x"), "~nobody-here/x: cannot be read: "),
        (("-f", "binary"), "binary: not text in UTF-8 (byte 0), nor an image; expected text or a PNG"),
        (("--schema", "none.json"), "--schema none.json: no such file; expected a file with a JSON Schema, "),
        (("--schema", "{"), "--schema: not JSON (line 1, column 2: "),
        (("--schema", '{"type": "text"}'), "--schema: type: expected one of null, boolean, "),
        (("--schema", '{"properties": []}'), "--schema: properties: expected an object"),
        (("--schema", "list.json"), "--schema list.json: expected a JSON Schema, an object such as "),
        (("--schema", "."), "--schema .: is a folder; expected a file"),
        (("--json", "--stream-json"), "--stream-json and --json do not go together; leave one of them out"),
        (("--tool", "calculate"), "--no-tools and --tool do not go together"),
        (("--n", "2"), "--n 2: answers differ only with a temperature; give --temperature, above 0"),
        (("--n", "2", "--temperature", "0"), "--n 2: answers differ only with a temperature"),
        (("--n", "2", "--stream-json"), "--n and --stream-json do not go together"),
        (("--n", "65"), "Invalid value for '--n': "),
        (("-o", "out.jsonl"), "-o: is where the answers of --batch go; without that, use > FILE"),
        (("--batch", "rows.jsonl"), "--batch and a question do not go together"),
    ],
)
def test_what_makes_no_sense_is_one_line(ask: Ask, home: Path, flags: tuple[str, ...], said: str) -> None:
    (home / "binary").write_bytes(b"\xff\xfe\x00")
    (home / "list.json").write_text("[]")
    ran = ask("Hi", *flags, answers=[])
    assert (ran.code, ran.out) == (2, ""), ran
    assert ran.err.startswith(f"toolchat: {said}")
    assert ran.err.count("\n") == 1


def test_a_schema_may_be_a_class_and_its_module_prints_nothing_into_the_answer(ask: Ask, home: Path) -> None:
    (home / "models.py").write_text(
        "import os\nfrom dataclasses import dataclass\nprint('hello')\nos.system('echo hello')\n"
        "@dataclass\nclass Sum:\n    sum: int\n"
        "class Bad:\n    pass\n"
    )
    for reference in ("models:Sum", "./models.py:Sum"):
        assert ask("1 + 1?", "--schema", reference, answers=['{"sum": 2}']) == Done(0, '{"sum": 2}\n', "")
    for reference, said in (
        ("models:Bad", "PydanticSchemaGenerationError: "),
        ("no_such:Sum", "ModuleNotFoundError: No module named 'no_such'; expected "),
    ):
        ran = ask("1 + 1?", "--schema", reference, answers=[])
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert ran.err.startswith(f"toolchat: --schema {reference}: {said}")


def test_a_module_that_ends_its_process_is_one_line(ask: Ask, home: Path) -> None:
    (home / "ends.py").write_text("import os\nos._exit(3)\n")
    ran = ask("1 + 1?", "--schema", "ends:Sum", answers=[])
    assert ran == Done(2, "", "toolchat: --schema ends:Sum: its process ended and gave no schema\n")


def test_only_the_tools_that_are_named_are_offered(ask: Ask, home: Path) -> None:
    ran = ask("Hi", "--tool", "calculate", "--tool", "current_time", "--stream-json", answers=["Ho."], tools=True)
    (edit,) = [row["data"]["edit"] for row in map(json.loads, ran.out.splitlines()) if row["type"] == "history_edited"]
    assert [tool["name"] for tool in edit["tools"]] == ["calculate", "current_time"]


@pytest.mark.parametrize("named", [False, True])
def test_what_never_ends_is_told(asking: Asking, home: Path, named: bool) -> None:
    path = home / "fifo"
    os.mkfifo(path)
    # Opened for reading too: nobody waits for a reader, and the pipe has no end while it is open.
    held = os.open(path, os.O_RDWR)
    os.write(held, b"first")
    stdin = os.open(os.devnull, os.O_RDONLY) if named else os.open(path, os.O_RDONLY)
    read, write = os.pipe()
    flags = ("--file", str(path)) if named else ()
    pid = asking.start("hi", *flags, "--model", "./none", streams=(stdin, write, write), wait=0.1)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as err:
        line = err.readline()
        os.kill(pid, 2)
        assert (asking.code(pid), err.read()) == (130, "")
    for descriptor in (held, stdin):
        os.close(descriptor)
    place, remedy = (str(path), "Ctrl-C ends it") if named else ("standard input", "--no-stdin leaves it out")
    assert line == f"toolchat: reading {place} to its end (a pipe, 5 bytes so far); {remedy}\n"


def test_the_events_are_documented() -> None:
    from typing import get_args

    from toolchat.wire.codec import type_name
    from toolchat.wire.events import EventBody

    page = (Path(__file__).parents[2] / "docs" / "scripts.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", page.partition("## Events")[2].partition("\n## ")[0], re.MULTILINE))
    assert documented - {"type"} == {type_name(kind) for kind in get_args(EventBody)}

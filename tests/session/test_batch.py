from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from image_files import image_file
from inprocess_tools import InProcessRunner

from toolchat.chat.approval import ApprovalPolicy
from toolchat.cli.input_text import check_schema
from toolchat.engine.base import EngineCrashedError, EngineInfo, GenerateOptions
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.session.batch import RowAsker, failure
from toolchat.session.batch_file import Results, Row, read_rows
from toolchat.settings import Settings
from toolchat.store.grants import GrantStore
from toolchat.tools.load import load_tools, sample_tools_path
from toolchat.wire.deltas import Delta
from toolchat.wire.errors import EngineError, ExitCode, UsageError
from toolchat.wire.events import EngineState, EventBody, Notice
from toolchat.wire.messages import Message, SystemMessage, ToolSpec

WIDTH = 4


@dataclass
class Echo(ScriptedEngine):
    """Answers with the question. "poison" kills it, "refused" is refused, "calls" calls a tool first."""

    at_once: int = 0
    most: int = 0
    asked: list[str] = field(default_factory=list)
    may_start: int = 99
    sees: bool = False

    async def start(self) -> AsyncIterator[EngineState | Notice]:
        if self.starts >= self.may_start:
            raise EngineError("no such weights")
        async for state in super().start():
            assert self.info is None or isinstance(self.info, EngineInfo)
            yield state
        assert self.info is not None
        self.info = replace(self.info, width=WIDTH, supports_images=self.sees)

    async def generate(
        self, request_id: str, messages: Sequence[Message], tools: Sequence[ToolSpec], options: GenerateOptions
    ) -> AsyncIterator[Delta]:
        question = messages[-1].content
        self.asked.append(question)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            # The first come first, and the poison before those that began with it have ended.
            for _ in range(3 if question == "poison" else 10):
                await asyncio.sleep(0)
                if self.info is None:
                    raise EngineCrashedError("the engine's process ended unexpectedly")
            if question == "poison":
                self.info = None
                raise EngineCrashedError("the engine's process ended unexpectedly")
            if question == "refused":
                raise EngineError("it will not do")
            self.answers = [Answer(f"answer to {question}")]
            if question == "calls":
                self.answers = [Answer(calls=[call("calculate", expression="1+1")])]
            async for delta in super().generate(request_id, messages, tools, options):
                yield delta
        finally:
            self.at_once -= 1


@dataclass
class FakePlan:
    settings: Settings = field(default_factory=Settings)
    model: str = "scripted"
    only: tuple[str, ...] = ()


class Asking:
    """An asker on such an engine, and what came of its rows, in the order of their ends."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.engine = Echo()
        self.told: list[EventBody] = []
        self.done: list[tuple[int, dict[str, Any]]] = []
        self._home = home
        self._plan = FakePlan(Settings(**settings))
        self.own_system: str | None = None

    def run(self, *rows: Row | str, places: int | None = None) -> dict[int, dict[str, Any]]:
        asked = [row if isinstance(row, Row) else Row(number, row) for number, row in enumerate(rows, 1)]

        async def play() -> None:
            asker = RowAsker(self._plan, self.engine, self.told.append)  # type: ignore[arg-type]
            asker.use_own_system(self.own_system)
            await asker.launch()
            tools = InProcessRunner(load_tools(sample_tools_path()))
            asker.equip(tools, ApprovalPolicy(GrantStore(self._home), deny=["current_time"]))
            try:
                await asker.ready()
                await asker.run(asked, lambda row, answer: self.done.append((row.number, answer)), places=places)
            finally:
                await asker.close()

        asyncio.run(play())
        return dict(self.done)

    def systems(self) -> list[str | None]:
        return [
            request.messages[0].content if isinstance(request.messages[0], SystemMessage) else None
            for request in self.engine.requests
        ]


@pytest.fixture
def asking(home: Path) -> Asking:
    return Asking(home)


def test_as_many_rows_are_asked_at_once_as_the_engine_takes_and_each_is_answered_once(asking: Asking) -> None:
    answers = asking.run(*(f"q{number}" for number in range(20)))
    assert [answers[number]["answer"] for number in range(1, 21)] == [f"answer to q{one}" for one in range(20)]
    assert WIDTH <= asking.engine.most <= WIDTH + 2
    assert sorted(asking.engine.asked) == sorted(f"q{number}" for number in range(20))
    assert len(asking.done) == 20
    assert len({request.request_id for request in asking.engine.requests}) == 20


def test_the_number_at_once_can_be_bounded(asking: Asking) -> None:
    asking.run("a", "b", "c", places=1)
    assert asking.engine.most == 1


def test_a_row_that_fails_stops_no_other(asking: Asking) -> None:
    answers = asking.run("a", "refused", Row(3, "x", problem="line 3: not JSON"), "b")
    assert answers[2] == failure("it will not do", ExitCode.ENGINE)
    assert answers[3] == failure("line 3: not JSON", ExitCode.USAGE)
    assert [answers[number]["exit_code"] for number in (1, 2, 3, 4)] == [0, 3, 2, 0]
    assert asking.engine.starts == 1


def test_a_row_that_meets_a_bug_says_so_and_stops_no_other(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr("toolchat.session.batch.read_images", broken)
    asking.engine.sees = True
    answers = asking.run(Row(1, "a", images=("a.png",)), "b")
    assert answers[1] == failure("unexpected ZeroDivisionError: oh no (please report it)", ExitCode.FAILURE)
    assert answers[2]["exit_code"] == 0


def test_what_kills_the_engine_costs_one_row(asking: Asking) -> None:
    answers = asking.run("a", "poison", "b", "c", "d", "e", "poison", *"fghij")
    codes = {number: answer["exit_code"] for number, answer in answers.items()}
    assert codes == {number: 3 if number in (2, 7) else 0 for number in range(1, 13)}
    assert answers[2]["error"] == "the engine failed while it answered"
    assert len(asking.done) == 12
    assert asking.engine.asked.count("poison") <= 4


def test_an_engine_that_cannot_be_started_again_ends_the_batch_with_what_is_answered_kept(asking: Asking) -> None:
    asking.engine.may_start = 1
    with pytest.raises(EngineError, match="no such weights"):
        asking.run("a", "b", "c", "d", "e", "f", "g", "h", "poison", "i", "j", "k", "l", "m", "n", "o", "p")
    assert {number for number, _ in asking.done} >= {1, 2}


def test_a_row_may_have_a_system_prompt_of_its_own_or_none(asking: Asking) -> None:
    asking.own_system = "The model's own."
    asking.run(Row(1, "a"), Row(2, "b", system="Be brief."), Row(3, "c", system=""), places=1)
    assert asking.systems() == ["The model's own.", "Be brief.", None]


def test_the_users_system_prompt_wins_over_the_models_own(home: Path) -> None:
    asking = Asking(home, system="Mine.")
    asking.own_system = "The model's own."
    asking.run("a")
    assert asking.systems() == ["Mine."]


def test_schema_and_settings_reach_the_engine(home: Path) -> None:
    asking = Asking(home, temperature=0.5, max_tokens=7)
    schema = {"type": "object"}
    answers = asking.run(Row(1, "a", schema=schema, seed=3), Row(2, "b"), places=1)
    first, second = (request.options for request in asking.engine.requests)
    assert (first.response_schema, first.seed, first.temperature, first.max_tokens) == (schema, 3, 0.5, 7)
    assert (second.response_schema, second.seed) == (None, None)
    # No grammar held this engine.
    assert (answers[1]["json"], answers[1]["exit_code"]) == (None, ExitCode.FAILURE)
    assert "json" not in answers[2]


def test_a_call_that_would_ask_is_declined_and_one_that_is_allowed_runs(asking: Asking) -> None:
    answers = asking.run("calls")
    (made,) = answers[1]["calls"]
    assert (made["name"], made["result"], answers[1]["answer"]) == ("calculate", "2", "answer to 2")


def test_images_for_a_model_that_does_not_see_fail_their_row(asking: Asking, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(image_file())
    answers = asking.run(Row(1, "a", images=(str(picture),)), "b")
    assert answers[1]["exit_code"] == ExitCode.USAGE
    assert "cannot see images" in answers[1]["error"]
    assert answers[2]["exit_code"] == 0


# ---------------------------------------------------------------------------------------------------------------------
# Rows.


def rows_of(folder: Path, *lines: str, schema: dict[str, Any] | None = None) -> list[Row]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines))
    return read_rows(path, schema, check_schema)


def test_rows_are_read_with_what_they_say_and_blank_lines_count(tmp_path: Path) -> None:
    own = {"type": "string"}
    rows = rows_of(
        tmp_path,
        '\ufeff{"question": "a"}',
        "",
        json.dumps({"question": "b", "id": [1], "system": "none", "images": ["x.png", "http://h/y"], "schema": own}),
        schema={"type": "object"},
    )
    assert rows == [
        Row(1, "a", schema={"type": "object"}),
        Row(3, "b", [1], "", (str(tmp_path / "x.png"), "http://h/y"), own),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: not JSON ("),
        ("[" * 100_000, "line 2: not JSON ("),
        ("[]", 'line 2: expected an object such as {"question": "…"}'),
        ("{}", "line 2: question: expected a text"),
        ('{"question": " "}', "line 2: question: expected a text"),
        ('{"question": "a", "sytem": "b"}', "line 2: there is no field 'sytem'; the fields are id, images, question"),
        ('{"question": "a", "system": 1}', "line 2: system: expected a text"),
        ('{"question": "a", "images": "b"}', "line 2: images: expected a list"),
        ('{"question": "a", "images": ["~nobody-here/a"]}', "~nobody-here/a: expected a path that begins with"),
        ('{"question": "a", "schema": []}', "line 2: schema: expected a JSON Schema"),
        ('{"question": "a", "schema": {"type": "x"}}', "line 2: schema: type: expected one of null, "),
    ],
)
def test_a_line_that_is_no_row_is_one_that_says_why(tmp_path: Path, line: str, problem: str) -> None:
    first, second = rows_of(tmp_path, '{"question": "a"}', line)
    assert first == Row(1, "a")
    assert second.number == 2
    assert second.problem.startswith(problem)


def test_a_row_that_cannot_be_asked_keeps_its_id(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, '{"id": "x", "qestion": "a"}')
    assert row.id == "x"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\n \n", "there is no row in it"), (b"\xff", "not text in UTF-8 (byte 0)"), (None, "No such file")],
)
def test_a_file_without_rows_is_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_rows(path, None, check_schema)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


# ---------------------------------------------------------------------------------------------------------------------
# What is answered.

ROWS = [Row(1, "a", "x"), Row(2, "b"), Row(4, "c")]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def opened(out: Path) -> Callable[..., Results]:
    return lambda rows=ROWS, **how: Results(out, rows, how)


def good(text: str) -> dict[str, Any]:
    return {"answer": text, "exit_code": 0}


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["row"] for line in path.read_text().splitlines()]


def test_answers_are_kept_as_they_come_and_ordered_at_the_end(opened: Callable[..., Results], out: Path) -> None:
    results = opened()
    for row in reversed(ROWS):
        results.add(row, good(row.question))
    assert (numbers(results.part), out.exists()) == ([4, 2, 1], False)
    results.finish()
    results.close()
    assert (numbers(out), list(out.parent.iterdir())) == ([1, 2, 4], [out])
    first = json.loads(out.read_text().splitlines()[0])
    assert (first["id"], first["answer"], first["exit_code"]) == ("x", "a", 0)


def test_another_run_goes_on_and_half_a_line_is_asked_again(opened: Callable[..., Results]) -> None:
    results = opened()
    results.add(ROWS[1], good("b"))
    results.add(ROWS[0], failure("no", ExitCode.ENGINE))
    results.close()
    with results.part.open("ab") as file:
        file.write(b'{"row": 4, "key": "')
    again = opened()
    assert sorted(again.answers) == [1, 2]
    assert again.failed == 1
    again.add(ROWS[2], good("c"))
    again.finish()
    again.close()
    assert sorted(opened().answers) == [1, 2, 4]


def test_rows_may_be_added_to_a_batch_that_is_answered(opened: Callable[..., Results], out: Path) -> None:
    results = opened()
    for row in ROWS:
        results.add(row, good(row.question))
    results.finish()
    results.close()
    more = opened([*ROWS, Row(5, "d")])
    assert sorted(more.answers) == [1, 2, 4]
    more.add(Row(5, "d"), good("d"))
    more.finish()
    more.close()
    assert numbers(out) == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("rows", "how"),
    [([Row(1, "other"), *ROWS[1:]], {}), (ROWS[1:], {}), (ROWS, {"model": "another"}), ([Row(1, "a", "y")], {})],
)
def test_answers_to_other_questions_are_not_taken(
    opened: Callable[..., Results], rows: list[Row], how: dict[str, Any]
) -> None:
    results = opened()
    results.add(ROWS[0], good("a"))
    results.close()
    with pytest.raises(UsageError, match=r"out.jsonl.part, line 1: answers another question than row 1 has now, or"):
        opened(rows, **how)
    assert numbers(results.part) == [1]


@pytest.mark.parametrize("content", ["hello\n", "[]\n", "{}\n", "\n"])
def test_a_file_that_is_no_batchs_is_left_alone(opened: Callable[..., Results], out: Path, content: str) -> None:
    out.write_text(content)
    with pytest.raises(UsageError, match=r"out.jsonl, line 1: no answer of a batch; give another file with -o"):
        opened()
    assert out.read_text() == content
    assert list(out.parent.iterdir()) == [out]


def test_two_programs_do_not_write_the_same_answers(opened: Callable[..., Results]) -> None:
    first = opened()
    with pytest.raises(UsageError, match="another toolchat is writing it"):
        opened()
    first.close()
    opened().close()


def test_a_batch_that_answered_nothing_leaves_nothing(opened: Callable[..., Results], out: Path) -> None:
    opened().close()
    assert list(out.parent.iterdir()) == []


def test_a_full_disk_names_the_file(opened: Callable[..., Results], monkeypatch: pytest.MonkeyPatch) -> None:
    results = opened()

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("toolchat.session.batch_file.os.write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        results.add(ROWS[0], good("a"))
    assert caught.value.filename == str(results.part)


def test_a_lone_surrogate_is_written_as_an_escape(opened: Callable[..., Results]) -> None:
    results = opened([Row(1, "a")])
    results.add(Row(1, "a"), good("\ud800ü"))
    results.finish()
    assert "\\ud800ü" in results.path.read_text(encoding="utf-8")
    results.close()

"""The parts of training/ that are pure: exchanges made of others, and how answers of the everyday page are graded."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TRAINING = Path(__file__).parents[3] / "training"
MODULES = ("expand", "exchanges", "everyday", "grading", "plot")

SEALED_SHA256 = "945bad82a4acd7528c1d50211837841adba1cc9f50ab1c2c20c997e0635e1263"
"""Of the half of the page that counts, as it was before any training."""

WEATHER: dict[str, Any] = {
    "id": "weather",
    "tools": [
        {"name": "get_weather", "description": "", "parameters": {"type": "object", "properties": {}}},
        {"name": "send_mail", "description": "", "parameters": {"type": "object", "properties": {}}},
    ],
    "slots": {"hi": ["", "hey, "], "city": ["Lyon", "Bern", "Oslo", "Riga"], "t": [3, 8, 12, 21, 30]},
    "turns": [
        {"user": "{hi}weather in {city}?"},
        {"call": [{"name": "get_weather", "arguments": {"city": "{city}"}}]},
        {"result": ["{t} degrees"]},
        {"say": "It is {t} degrees in {city}."},
    ],
}


@pytest.fixture(scope="module")
def training() -> Iterator[dict[str, ModuleType]]:
    """The modules of training/, imported as its scripts import them, and forgotten again."""
    sys.path.insert(0, str(TRAINING))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(TRAINING))
        for name in MODULES:
            sys.modules.pop(name, None)


def test_a_parallel_question_asks_for_each_value_that_is_called(training: dict[str, ModuleType]) -> None:
    for seed in range(30):
        made = training["exchanges"].parallel(WEATHER, random.Random(seed), 3)
        cities = [call["arguments"]["city"] for call in made.calls]
        assert len(set(cities)) == 3
        assert re.findall(r"Lyon|Bern|Oslo|Riga", made.question) == cities
        assert made.say == " ".join(
            f"It is {result} in {city}." for result, city in zip(made.results, cities, strict=True)
        )


def test_values_of_one_question_are_listed_where_they_stand(training: dict[str, ModuleType]) -> None:
    questions = {training["exchanges"].parallel(WEATHER, random.Random(seed), 2).question for seed in range(200)}
    assert "weather in Lyon and Bern?" in questions
    assert "weather in Lyon and in Bern?" in questions
    assert any(question.count("weather") == 2 for question in questions)


def test_a_failed_call_is_told_and_nothing_is_invented(training: dict[str, ModuleType]) -> None:
    exchanges = training["exchanges"]
    for seed in range(50):
        failed = exchanges.failed(exchanges.first(WEATHER, random.Random(seed)), random.Random(seed))
        assert failed.results[0].startswith("Error: ")
        assert "degrees" not in failed.say
        assert set(re.findall(r"\d+", failed.say)) <= set(re.findall(r"\d+", failed.results[0]))


def test_a_question_clashes_with_tools_of_the_same_subject(training: dict[str, ModuleType]) -> None:
    exchanges = training["exchanges"]
    asked = exchanges.first(WEATHER, random.Random(0))
    assert exchanges.clash(asked, [{"name": "weatherForecast"}])
    assert not exchanges.clash(asked, [{"name": "send_mail"}, {"name": "get_price"}])


@pytest.mark.long
def test_everyday_questions_call_the_sample_tools_with_what_their_schemas_allow(
    training: dict[str, ModuleType],
) -> None:
    everyday, rng = training["everyday"], random.Random(5)
    for _ in range(150):
        drawn = everyday.draw(rng)
        conversation = {"tools": list(drawn.tools), "turns": drawn.turns()}
        problems = [problem for problem in training["expand"].problems(conversation) if "brace" not in problem]
        assert problems == []


def test_a_pattern_is_given_only_where_a_kind_of_file_is_asked_for(training: dict[str, ModuleType]) -> None:
    everyday, rng = training["everyday"], random.Random(6)
    for _ in range(60):
        drawn = everyday.files(rng)
        (call,) = drawn.calls
        kinds = [*everyday.DATA["endings"], *everyday.DATA["endings"].values()]
        assert ("pattern" in call["arguments"]) == any(re.search(rf"\b{kind}\b", drawn.question) for kind in kinds)


def test_many_files_are_told_in_a_block_as_the_tool_does_it(training: dict[str, ModuleType]) -> None:
    everyday, rng = training["everyday"], random.Random(7)
    lined = set()
    for _ in range(60):
        drawn = everyday.listing(rng)
        (result,) = drawn.results
        names = result.split("\n")
        assert names == sorted(set(names))
        lined.add(len(names) >= everyday.LINED_NAMES)
        if len(names) >= everyday.LINED_NAMES:
            assert re.fullmatch(rf"The files (here|in \w+) are:\n```\n{re.escape(result)}\n```", drawn.say)
        else:
            assert "```" not in drawn.say
            assert re.findall("|".join(map(re.escape, sorted(names, key=len, reverse=True))), drawn.say) == names
    assert lined == {True, False}


def test_a_block_stands_apart_from_what_is_said_beside_it(training: dict[str, ModuleType]) -> None:
    exchanges, rng = training["exchanges"], random.Random(8)
    block = exchanges.Exchange("list the files", "The files here are:\n```\na\nb\n```")
    other = exchanges.Exchange("and wash my car", "")
    for _ in range(20):
        said = exchanges.partly_declined(block, other, rng).say
        assert block.say in (said.split("\n\n")[0], said.split("\n\n")[1])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "seven"),
        (42, "forty-two"),
        (100, "one hundred"),
        (342, "three hundred and forty-two"),
        (2005, "two thousand and five"),
    ],
)
def test_numbers_in_words(training: dict[str, ModuleType], number: int, text: str) -> None:
    assert training["everyday"].words(number) == text


def test_the_page_has_the_questions_it_should(training: dict[str, ModuleType]) -> None:
    for half in ("sealed", "open"):
        rows = training["grading"].read_page(half)
        assert Counter(row.kind for row in rows) == {"none": 15, "several": 10, "error": 5, "two_turns": 5, "one": 25}
        assert {row.tools for row in rows} == {"samples", "shop", "home", "tasks", "travel"}
    assert hashlib.sha256((TRAINING / "page" / "sealed.yaml").read_bytes()).hexdigest() == SEALED_SHA256


def test_no_question_of_the_page_was_written_into_the_data_that_came_after_it(training: dict[str, ModuleType]) -> None:
    rows = [row for half in ("sealed", "open") for row in training["grading"].read_page(half)]
    questions = {turn.ask.casefold() for row in rows for turn in row.turns if len(turn.ask.split()) > 3}
    lines = (TRAINING / "data" / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [turn["user"] for line in lines for turn in json.loads(line)["turns"] if "user" in turn]
    words = training["everyday"].DATA
    texts += [row["ask"] for kind in ("facts", "code", "stories") for row in words[kind]] + words["unable"]
    known = "\n".join(texts).casefold()
    assert [question for question in questions if question.rstrip("?.") in known] == []
    assert "what's left in my savings" in known


def made(training: dict[str, ModuleType], name: str, result: str, failed: bool = False, **arguments: object) -> Any:
    return training["grading"].MadeCall(name, arguments, result, failed)


def graded(training: dict[str, ModuleType], expected: dict[str, Any], calls: list[Any], answer: str) -> str:
    turn = training["grading"].Turn("How is it?", tuple(expected.items()))
    problem: str = training["grading"].problem(turn, calls, answer)
    return problem


TEMPERATURE = "The weather in {}, TX is {} degrees celsius. It is sunny, with highs in the 90's."


def test_an_answer_with_the_right_call_and_its_result_is_right(training: dict[str, ModuleType]) -> None:
    call = made(training, "calculate", "36", expression="240 * 0.15")
    expected = {"calculate": {"expression": "15 / 100 * 240"}}
    assert graded(training, expected, [call], "15% of 240 is 36.") == ""
    assert graded(training, expected, [call], "It is 360.") == "does not say '36'"
    assert graded(training, expected, [], "It is 36.") == "0 calls, expected 1"
    wrong = made(training, "calculate", "3600", expression="15 * 240")
    assert graded(training, expected, [wrong], "It is 3,600.").startswith("no such call")


def test_an_optional_argument_may_be_left_out_only_where_the_page_says_so(training: dict[str, ModuleType]) -> None:
    expected = {"list_files": {"path": ".", "pattern": None}}
    files = "a.txt\nsrc/"
    assert graded(training, expected, [made(training, "list_files", files, path=".")], "There are a.txt and src.") == ""
    narrowed = made(training, "list_files", files, path=".", pattern="*.txt")
    assert graded(training, expected, [narrowed], "There are a.txt and src.").startswith("no such call")


def test_two_results_that_change_places_are_wrong(training: dict[str, ModuleType]) -> None:
    cities = {"Waco": 31, "Laredo": 25}
    calls = [
        made(training, "get_current_weather", TEMPERATURE.format(city, degrees), city=city)
        for city, degrees in cities.items()
    ]
    turn = training["grading"].Turn("?", tuple(("get_current_weather", {"city": city}) for city in cities))
    problem = training["grading"].problem
    assert problem(turn, calls, "It is 31 degrees in Waco and 25 degrees in Laredo.") == ""
    assert problem(turn, list(reversed(calls)), "Laredo has 25 degrees. Waco has 31.") == ""
    assert problem(turn, calls, "It is 25 degrees in Waco and 31 degrees in Laredo.") == "mixes the results up"


def test_an_error_must_be_admitted_and_not_invented_over(training: dict[str, ModuleType]) -> None:
    call = made(training, "order_status", "Error: ValueError: there is no order X9", failed=True, order_id="X9")
    expected = {"order_status": {"order_id": "X9"}}
    assert graded(training, expected, [call], "There is no order X9.") == ""
    assert graded(training, expected, [call], "Your order is on its way.") == "does not say that it failed"
    assert graded(training, expected, [call], "Sorry, not found. It arrives in 3 days.") == "invents 3"


def test_a_result_may_be_said_in_other_words(training: dict[str, ModuleType]) -> None:
    none = made(training, "stock_level", "desk lamp: 0 in stock", product="desk lamp")
    assert graded(training, {"stock_level": {"product": "desk lamp"}}, [none], "Desk lamps are out of stock.") == ""
    assert graded(training, {"stock_level": {"product": "desk lamp"}}, [none], "There are 10 desk lamps.") != ""
    done = made(training, "finish_task", "done: call the plumber", number=1)
    assert graded(training, {"finish_task": {"number": 1}}, [done], "Number 1 is finished.") == ""


def test_the_argument_on_of_the_page_is_no_boolean(training: dict[str, ModuleType]) -> None:
    rows = training["grading"].read_page("open")
    calls = [call for row in rows for turn in row.turns for call in turn.calls if call[0] == "switch_lamp"]
    assert calls == [("switch_lamp", {"room": "bedroom", "on": False})]


def test_the_interval_of_a_share_is_wilsons(training: dict[str, ModuleType]) -> None:
    low, high = training["grading"].interval(70, 100)
    assert (round(low, 1), round(high, 1)) == (60.4, 78.1)


def test_a_log_is_drawn_with_each_of_its_kinds(training: dict[str, ModuleType]) -> None:
    held_out = {"chat": {"loss": 0.5, "calls": float("nan"), "texts": 1.0}}
    rows = [{"tokens": 0, "held_out": held_out}, {"tokens": 90, "running": 0.4}, {"tokens": 99, "held_out": held_out}]
    drawn = training["plot"].svg(rows)
    assert drawn.count("<polyline") == 4 - 1  # no calls in plain chat
    assert "nan" not in drawn

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import questions
import yaml
from e2e_engine import Running
from questions import Question

from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.tools.run import ToolRunner
from toolchat.ui.plain import PlainRenderer

REPOSITORY = Path(__file__).parents[2]
# Read here: in a test, the settings of toolchat are taken out of the environment.
SEED = os.environ.get("TOOLCHAT_TEST_SEED")
DRAWN = int(os.environ.get("TOOLCHAT_TEST_DRAWN") or 20)
ENOUGH = DRAWN * 7 // 10

MANY_FILES = (
    "CHANGELOG.md CONTRIBUTING.md LICENSE Makefile README.md benchmarks/ constraints/ docs/ pyproject.toml scripts/ "
    "tests/ toolchat/ tools.yaml training/",
    "architecture.md benchmarks.md desk.svg engines.md gpu-check.md images.md install.md mcp.jsonl mcp.md mcp.svg "
    "python.md repl.jsonl repl.md repl.svg replay.md scripts.md security.md sessions.md settings.md "
    "tools-reference.md tools.md your-functions.md",
)
"""Folders of 14 and 22 names with like beginnings: in a sentence, two names became one and others were left out."""


@pytest.fixture(scope="module")
def runner(demo_engine: Running) -> Iterator[ToolRunner]:
    runner = demo_engine.loop.run(ToolRunner.start(REPOSITORY / "tools.yaml"))
    yield runner
    demo_engine.loop.run(runner.close())


def answers_to(running: Running, runner: ToolRunner, asked: Sequence[str], records: Path) -> list[str]:
    """What `toolchat ask` writes to stdout, from an engine and tools that are loaded already; all asked at once."""

    async def answer_to(question: str) -> str:
        out = io.StringIO()
        with PlainRenderer(out) as renderer:
            session = Session(Settings(max_tokens=512), "demo", running.engine, records, renderer.show)
            try:
                session.equip(runner)
                await session.ask(question)
            finally:
                session.record.close()
        return out.getvalue()

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*map(answer_to, asked))

    return running.loop.run(all_at_once())


@pytest.mark.engine
def test_of_ten_drawn_questions_seven_are_answered_right(running: Running, runner: ToolRunner, tmp_path: Path) -> None:
    seed = int(SEED or random.SystemRandom().randrange(10**6))
    print(f"TOOLCHAT_TEST_SEED={seed}")  # pytest shows it where the test fails
    drawn = list(itertools.islice(questions.draw(random.Random(seed)), DRAWN))
    answers = answers_to(running, runner, [question.text for question in drawn], tmp_path)
    wrong = []
    for question, answer in zip(drawn, answers, strict=True):
        print(f"{question.text}\n  {answer}", end="")
        if not question.is_answered_by(answer):
            wrong.append((question.text, question.number, answer))
    print(f"{DRAWN - len(wrong)} of {DRAWN}")
    assert len(wrong) <= DRAWN - ENOUGH, (seed, wrong)


@pytest.mark.engine
@pytest.mark.parametrize("names", MANY_FILES, ids=["14", "22"])
def test_many_files_are_told_to_the_last_name(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    folder = tmp_path / "project"
    for name in names.split():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()
    monkeypatch.chdir(folder)
    runner = running.loop.run(ToolRunner.start(REPOSITORY / "tools.yaml"))
    try:
        (answer,) = answers_to(running, runner, ["List the files here"], tmp_path)
    finally:
        running.loop.run(runner.close())
    assert "\n".join(names.split()) in answer


@pytest.mark.engine
def test_greetings_are_answered_without_a_call(
    running: Running, runner: ToolRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for answer in answers_to(running, runner, ("hi", "Hello!", "Thank you."), tmp_path):
        assert answer.strip()
    assert capsys.readouterr().err == ""


def texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from texts(item)
        case list():
            for item in value:
                yield from texts(item)


@pytest.fixture(scope="module")
def training() -> str:
    """Every text of the training data, slots unfilled but their values among them, and of what draws more."""
    folder = REPOSITORY / "training" / "data"
    scripts = sorted(folder.parent.glob("*.py"))
    assert scripts
    drawn = [path.read_text(encoding="utf-8").replace("+", " ") for path in (*scripts, *sorted(folder.glob("*.txt")))]
    files = sorted(folder.glob("*.jsonl"))
    assert files
    rows = itertools.chain.from_iterable(file.read_text().splitlines() for file in files)
    words = yaml.safe_load((folder / "everyday.yaml").read_text(encoding="utf-8"))
    data = [*(json.loads(row) for row in rows), words]
    return "\n".join([*(text.replace("\n", " ") for item in data for text in texts(item)), *drawn])


@pytest.mark.long
def test_no_city_of_the_lists_is_in_the_training_data(training: str) -> None:
    cities = "|".join(re.escape(city.casefold()) for city, _ in questions.CITIES)
    assert set(re.findall(rf"\b(?:{cities})\b", training.casefold())) == set()
    assert re.search(r"\bDallas\b", training)


def as_pattern(phrasing: str) -> str:
    """Matches the phrasing with anything in its slots, also the training data's own slots."""
    return re.sub(r"\\\{\w+\\\}", r"\\S.{0,40}?", re.escape(phrasing))


@pytest.mark.parametrize("phrasing", [*questions.WEATHER, *(phrasing for phrasing, _ in questions.SUMS)])
def test_no_phrasing_of_the_lists_is_in_the_training_data(training: str, phrasing: str) -> None:
    assert re.search(as_pattern(phrasing), training, re.IGNORECASE) is None


def test_a_phrasing_that_is_in_the_training_data_would_be_found(training: str) -> None:
    assert re.search(as_pattern("What is {a} + {b}?"), training, re.IGNORECASE)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is 59 degrees fahrenheit in Waco, TX.", True),
        ("In waco it is 59° Fahrenheit.", True),
        ("It is 590 degrees fahrenheit in Waco, TX.", False),
        ("It is 58 degrees fahrenheit in Waco, TX.", False),
        ("It is 59 degrees celsius in Waco, TX.", False),
        ("It is 59 degrees fahrenheit.", False),
    ],
)
def test_how_an_answer_about_the_weather_is_judged(answer: str, right: bool) -> None:
    assert Question("", 59, ("fahrenheit", "Waco")).is_answered_by(answer) is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [("It is 1,408.", True), ("1408", True), ("17 * 24 = 1408.", True), ("It is 408.", False), ("14080", False)],
)
def test_how_an_answer_about_numbers_is_judged(answer: str, right: bool) -> None:
    assert Question("", 1408).is_answered_by(answer) is right

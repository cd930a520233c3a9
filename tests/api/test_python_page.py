from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from toolchat.api.opening import GivenEngine
from toolchat.engine.scripted import Answer, ScriptedEngine, call
from toolchat.models.choice import ModelChoice
from toolchat.session.startup import SERVER, Plan
from toolchat.settings import resolve

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", PAGE, re.DOTALL)
ENGINES: dict[str, list[list[Answer]]] = {
    "get_height": [
        [Answer("", [call("get_height", mountain="Zugspitze")]), Answer("The Zugspitze is 2962 m high.")],
    ],
    "delete_note": [
        [Answer("", [call("delete_note", title="draft"), call("delete_note", title="will")]), Answer("One is.")],
    ],
    "chat.stream": [[Answer(["Hello", " there!"])]],
    "schema=City": [[Answer('{"name": "Paris", "people": 2100000}')]],
    "asyncio": [[Answer("Hello!")], [Answer("Goodbye!")]],
    "resume": [[Answer("Hello, Ada.")], [Answer("Ada.")]],
}
"""By what stands in an example alone: what the models of its chats answer, in the order in which they open."""


def test_every_example_has_its_output() -> None:
    assert len(EXAMPLES) == PAGE.count("```python\n") == len(ENGINES)


@pytest.mark.parametrize(("mark", "engines"), ENGINES.items())
def test_an_example_prints_what_stands_below_it(
    mark: str, engines: list[list[Answer]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = [ScriptedEngine(answers=list(answers)) for answers in engines]
    models: list[Any] = []

    def sketch(flags: Mapping[str, Any], *_: Any, **__: Any) -> Plan:
        models.append(flags["model"])
        return Plan(
            resolve(flags), ModelChoice("demo", SERVER, None), None, GivenEngine(waiting.pop(0)), None, debug=False
        )

    monkeypatch.setattr("toolchat.session.startup.sketch", sketch)
    ((code, printed),) = [example for example in EXAMPLES if mark in example[0]]
    exec(compile(code, "docs/python.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out == printed
    assert set(models) <= {"demo", None}
    assert not waiting

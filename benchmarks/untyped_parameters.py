"""Parameters without a type: of how many calls the arguments come out right, by what such parameters are offered as.

The demo model, greedy, held to a grammar, with one tool whose parameters have a name and nothing else; a call is
required. Half of the questions ask for single values, half for a list, which a scalar cannot be. Each is asked four
times, with the parameters as a string, number, boolean or null; as one of these or a flat list of them; as any JSON of
bounded depth and length; and as any JSON at all. A call is right where the arguments are those that the question
states, numbers written as text too; it is cut off where `max_tokens` ended it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import _common as common
from _ending import unwind_when_ended

from toolchat.engine.base import GenerateOptions
from toolchat.engine.config import plan
from toolchat.engine.local import LocalEngine
from toolchat.models.hardware import engine_device
from toolchat.tools.keywords import ParameterEntry
from toolchat.tools.problems import Place
from toolchat.tools.schema import function_schema
from toolchat.wire.deltas import CallEnded, Finished, FinishReason
from toolchat.wire.messages import ToolCall, ToolSpec, UserMessage

MAX_TOKENS = 256
SCALARS = ["string", "number", "boolean", "null"]
KINDS: dict[str, Any] = {
    # As toolchat offers what nothing says more of.
    "a scalar": "",
    "a scalar or a flat list": {"anyOf": [{"type": SCALARS}, {"type": "array", "items": {"type": SCALARS}}]},
    "any JSON, bounded": "any",
    "any JSON": None,
}


def find_train(start, end):  # type: ignore[no-untyped-def]
    """Find trains from one station to another."""


def convert_money(amount, currency):  # type: ignore[no-untyped-def]
    """Convert an amount of euros to another currency."""


def set_alarm(hour, minute):  # type: ignore[no-untyped-def]
    """Set an alarm."""


def find_book(title):  # type: ignore[no-untyped-def]
    """Find a book in the library."""


def send_message(to, text):  # type: ignore[no-untyped-def]
    """Send a message to a person."""


def add_numbers(numbers):  # type: ignore[no-untyped-def]
    """Add numbers up."""


def sort_names(names):  # type: ignore[no-untyped-def]
    """Sort names."""


def buy(items):  # type: ignore[no-untyped-def]
    """Put items on the shopping list."""


CASES: tuple[tuple[Callable[..., Any], str, dict[str, Any]], ...] = (
    (find_train, "Find a train from Bern to Basel.", {"start": "Bern", "end": "Basel"}),
    (find_train, "Find a train from Paris to Lyon.", {"start": "Paris", "end": "Lyon"}),
    (convert_money, "Convert 50 euros to USD.", {"amount": 50, "currency": "USD"}),
    (convert_money, "Convert 120 euros to CHF.", {"amount": 120, "currency": "CHF"}),
    (set_alarm, "Set an alarm: hour 7, minute 30.", {"hour": 7, "minute": 30}),
    (find_book, "Find the book with the title Solaris.", {"title": "Solaris"}),
    (find_book, "Find the book with the title Kindred.", {"title": "Kindred"}),
    (send_message, "Send a message to Ada with the text hello.", {"to": "Ada", "text": "hello"}),
    (add_numbers, "Add up the numbers 3, 4 and 5.", {"numbers": [3, 4, 5]}),
    (add_numbers, "Add up the numbers 10 and 20.", {"numbers": [10, 20]}),
    (add_numbers, "Add up the numbers 1, 2, 3 and 4.", {"numbers": [1, 2, 3, 4]}),
    (sort_names, "Sort the names Eve, Bob and Ada.", {"names": ["Eve", "Bob", "Ada"]}),
    (sort_names, "Sort the names Max and Lea.", {"names": ["Max", "Lea"]}),
    (buy, "Buy milk and bread.", {"items": ["milk", "bread"]}),
    (buy, "Buy apples, pears and plums.", {"items": ["apples", "pears", "plums"]}),
    (buy, "Buy rice and beans.", {"items": ["rice", "beans"]}),
)
SINGLE = 8
"""So many of the cases take no list."""


def spec(function: Callable[..., Any], kind: Any) -> ToolSpec:
    """The tool as a model is told of it, with each parameter as `kind`."""
    place = Place(1, 1)
    word = "schema" if isinstance(kind, dict) else "type"
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    entries = {} if not kind else {name: ParameterEntry(place, {word: kind}, {word: place}) for name in names}
    parameters = function_schema(function, entries).parameters
    if kind is None:
        parameters = {**parameters, "properties": {name: {} for name in names}}
    return ToolSpec(function.__name__, str(function.__doc__), parameters)


async def ask(engine: LocalEngine, kind: Any) -> list[str]:
    """What became of each case: "right", "wrong" or "cut off"."""

    async def one(number: int, function: Callable[..., Any], question: str, expected: dict[str, Any]) -> str:
        options = GenerateOptions(MAX_TOKENS, temperature=0.0, tool_choice="required", parallel_tool_calls=False)
        messages = [UserMessage(question)]
        deltas = [delta async for delta in engine.generate(f"{number}", messages, [spec(function, kind)], options)]
        if any(isinstance(delta, Finished) and delta.reason is FinishReason.LENGTH for delta in deltas):
            return "cut off"
        calls = [delta.call for delta in deltas if isinstance(delta, CallEnded)]
        right = len(calls) == 1 and isinstance(calls[0], ToolCall) and same(calls[0].arguments, expected)
        return "right" if right else "wrong"

    return list(await asyncio.gather(*(one(number, *case) for number, case in enumerate(CASES))))


def same(given: Any, expected: Any) -> bool:
    """Whether the values are those, 50 and "50" alike."""
    match expected:
        case dict():
            return given.keys() == expected.keys() and all(same(given[key], value) for key, value in expected.items())
        case list():
            return isinstance(given, list) and len(given) == len(expected) and all(map(same, given, expected))
    return not isinstance(given, list | dict) and str(given).strip().removesuffix(".0").lower() == str(expected).lower()


async def measured(folder: Path) -> dict[str, Sequence[str]]:
    config = replace(plan("demo", common.demo_model(), engine_device(), context=2048), max_num_seqs=len(CASES))
    engine = LocalEngine(config, folder / "logs")
    try:
        async for _ in engine.start():
            pass
        return {name: await ask(engine, kind) for name, kind in KINDS.items()}
    finally:
        await engine.close()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    unwind_when_ended()
    print(common.machine())
    with tempfile.TemporaryDirectory() as folder:
        outcomes = asyncio.run(measured(Path(folder)))
    rows = [
        [name, f"{single.count('right')} of {len(single)}", f"{many.count('right')} of {len(many)}", str(ends)]
        for name, found in outcomes.items()
        for single, many, ends in [(found[:SINGLE], found[SINGLE:], found.count("cut off"))]
    ]
    print(common.table(("offered as", "single values right", "lists right", "cut off"), rows))


if __name__ == "__main__":
    main()

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import pytest

from toolchat.tools.host.executor import Executor

LONG = f"{'x' * 1333}\n[… 8,000 of 10,000 characters are left out here …]\n{'x' * 667}"


def test_what_an_asynchronous_generator_yields_is_its_result() -> None:
    async def steps() -> AsyncIterator[str]:
        yield "one"
        yield "two"
        yield "result"

    said: list[str] = []
    outcome = Executor(said.append).run(steps, {})
    assert (outcome.content, outcome.ok, said) == ('["one", "two", "result"]', True, ["one", "two", "result"])


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Shouting(str):
    def __str__(self) -> str:
        raise RuntimeError


def returned(which: str) -> Any:
    loop: list[Any] = []
    loop.append(loop)
    values: dict[str, Any] = {
        "text": "It is 5 °C",
        "own text": Shouting("loud"),
        "empty": "",
        "none": None,
        "number": 264,
        "dict": {"temp": 5, "when": date(2025, 3, 1), "city": "Zürich"},
        "nested surrogate": ["\udfff"],
        "set": {3},
        "bytes": b"\xff",
        "loop": loop,
    }
    return values[which]


@pytest.mark.parametrize(
    ("which", "content", "ok"),
    [
        ("text", "It is 5 °C", True),
        ("own text", "loud", True),
        ("empty", "", True),
        ("none", "(no result)", True),
        ("number", "264", True),
        ("dict", '{"temp": 5, "when": "2025-03-01", "city": "Zürich"}', True),
        ("nested surrogate", '["\ufffd"]', True),
        ("set", "[3]", True),
        ("bytes", "[1 byte of binary data]", True),
        ("loop", '["[…]"]\n[a value that holds itself is written as […] there]', True),
    ],
)
def test_what_a_tool_returns_becomes_text(which: str, content: str, ok: bool) -> None:
    outcome = Executor(lambda _: None).run(returned, {"which": which})
    assert (outcome.content, outcome.ok) == (content, ok)


def raised(which: str) -> str:
    errors: dict[str, BaseException] = {
        "value": ValueError("unknown time zone: Mars"),
        "empty": ValueError(),
        "long": ValueError("x" * 10_000),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "stop": StopIteration(1),
        "cancel": asyncio.CancelledError(),
        "mute": MuteError(),
        "surrogate": ValueError("\ud800"),
    }
    raise errors[which]


async def raised_later(which: str) -> str:
    await asyncio.sleep(0)
    return raised(which)


def raised_between(which: str) -> Iterator[str]:
    yield "one"
    raised(which)


@pytest.mark.parametrize("function", [raised, raised_later, raised_between])
@pytest.mark.parametrize(
    ("which", "content"),
    [
        ("value", "Error: ValueError: unknown time zone: Mars"),
        ("empty", "Error: ValueError"),
        ("long", f"Error: ValueError: {LONG}"),
        ("exit", "Error: SystemExit: 3"),
        ("interrupt", "Error: KeyboardInterrupt"),
        ("generator", "Error: GeneratorExit"),
        ("cancel", "Error: CancelledError"),
        ("mute", "Error: MuteError: its message cannot be shown"),
        ("surrogate", "Error: ValueError: \ufffd"),
    ],
)
def test_whatever_a_tool_raises_is_its_result(function: Any, which: str, content: str) -> None:
    outcome = Executor(lambda _: None).run(function, {"which": which})
    assert (outcome.content, outcome.ok) == (content, False)
    assert "in raised" in outcome.traceback


def test_stop_iteration_is_no_result() -> None:
    assert Executor(lambda _: None).run(raised, {"which": "stop"}).content == "Error: StopIteration: 1"


def test_coroutines_of_one_process_share_their_event_loop() -> None:
    async def which() -> int:
        return id(asyncio.get_running_loop())

    executor = Executor(lambda _: None)
    assert executor.run(which, {}).content == executor.run(which, {}).content

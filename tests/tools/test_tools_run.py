from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from toolchat.tools.run import ToolRunner
from toolchat.tools.schema import function_schema
from toolchat.tools.toolbox import Tool
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult


def make(function: Callable[..., Any]) -> Tool:
    schema = function_schema(function)
    name = function.__name__
    return Tool(name, "A tool.", schema.parameters, function, f"m:{name}", schema.signature, schema.model, "t:1:1")


def call(function: Callable[..., Any], deadline: float = 5, **arguments: Any) -> ToolResult:
    tool = make(function)
    return asyncio.run(ToolRunner().run(tool, ToolCall("abcdefghi", tool.name, arguments), deadline, None))


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def returns(which: str) -> Any:
    loop: list[Any] = []
    loop.append(loop)
    values: dict[str, Any] = {
        "text": "It is 5 °C",
        "empty": "",
        "none": None,
        "number": 264,
        "dict": {"temp": 5, "when": date(2025, 3, 1), "city": "Zürich"},
        "surrogate": "a\ud800b",
        "nested surrogate": ["\udfff"],
        "set": {3},
        "object": object(),
        "bytes": b"\xff",
        "loop": loop,
    }
    return values[which]


@pytest.mark.parametrize(
    ("which", "content"),
    [
        ("text", "It is 5 °C"),
        ("empty", ""),
        ("none", "(no result)"),
        ("number", "264"),
        ("dict", '{"temp": 5, "when": "2025-03-01", "city": "Zürich"}'),
        ("surrogate", "a\ufffdb"),
        ("nested surrogate", '["\ufffd"]'),
        ("set", "[3]"),
    ],
)
def test_what_a_tool_returns_becomes_text(which: str, content: str) -> None:
    result = call(returns, which=which)
    assert (result.content, result.status) == (content, ResultStatus.OK)
    assert (result.call_id, result.name) == ("abcdefghi", "returns")


@pytest.mark.parametrize(("which", "kind"), [("object", "object"), ("bytes", "bytes"), ("loop", "list")])
def test_what_json_cannot_hold_is_an_error(which: str, kind: str) -> None:
    result = call(returns, which=which)
    assert result.status is ResultStatus.ERROR
    assert result.content == f"Error: TypeError: the tool returned a {kind}, which cannot be written as JSON"


def raises(which: str) -> str:
    errors: dict[str, BaseException] = {
        "value": ValueError("unknown time zone: Mars"),
        "empty": ValueError(),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "stop": StopIteration(1),
        "cancel": asyncio.CancelledError(),
        "unprintable": UnprintableError(),
        "surrogate": ValueError("\ud800"),
    }
    raise errors[which]


@pytest.mark.parametrize(
    ("which", "content"),
    [
        ("value", "Error: ValueError: unknown time zone: Mars"),
        ("empty", "Error: ValueError"),
        ("exit", "Error: SystemExit: 3"),
        ("interrupt", "Error: KeyboardInterrupt"),
        ("generator", "Error: GeneratorExit"),
        ("stop", "Error: StopIteration: 1"),
        ("cancel", "Error: CancelledError"),
        ("unprintable", "Error: UnprintableError: its message cannot be shown"),
        ("surrogate", "Error: ValueError: \ufffd"),
    ],
)
def test_whatever_a_tool_raises_is_its_result(which: str, content: str) -> None:
    result = call(raises, which=which)
    assert (result.content, result.status) == (content, ResultStatus.ERROR)


def test_an_asynchronous_tool_is_awaited() -> None:
    async def slow_sum(a: int, b: int) -> int:
        await asyncio.sleep(0.01)
        return a + b

    async def broken() -> None:
        await asyncio.sleep(0)
        raise SystemExit(1)

    assert call(slow_sum, a=2, b=3).content == "5"
    assert call(broken).content == "Error: SystemExit: 1"


def test_arguments_reach_the_function_as_its_own_types() -> None:
    def weekday(day: date, offset: int = 0) -> str:
        return f"{day:%A} {offset!r}"

    assert call(weekday, day="2025-03-03", offset="2").content == "Monday 2"


def test_wrong_arguments_never_reach_the_function() -> None:
    called = []

    def note(text: str) -> None:
        called.append(text)

    result = call(note, txt="x")
    assert result.status is ResultStatus.ERROR
    assert result.content == 'Error: missing argument "text" (string); unknown argument "txt"; the arguments are text'
    assert called == []


def test_a_hanging_tool_times_out_at_the_deadline() -> None:
    release = threading.Event()

    def hang() -> None:
        release.wait(20)

    result = call(hang, deadline=0.2)
    release.set()
    assert result.status is ResultStatus.TIMEOUT
    assert result.content == "Error: hang did not answer within 0.2 seconds"
    assert 0.2 <= result.seconds < 1


def test_a_cancelled_tool_is_interrupted_at_once() -> None:
    release = threading.Event()

    def hang() -> None:
        release.wait(20)

    async def main() -> ToolResult:
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, cancel.set)
        return await ToolRunner().run(make(hang), ToolCall("abcdefghi", "hang", {}), 20, cancel)

    result = asyncio.run(main())
    release.set()
    assert result.status is ResultStatus.INTERRUPTED
    assert result.content == "Error: interrupted by the user"
    assert result.seconds < 1


def test_a_call_cancelled_before_it_starts_does_not_start() -> None:
    called = []

    def note() -> None:
        called.append(1)

    async def main() -> ToolResult:
        cancel = asyncio.Event()
        cancel.set()
        return await ToolRunner().run(make(note), ToolCall("abcdefghi", "note", {}), 5, cancel)

    assert asyncio.run(main()).status is ResultStatus.INTERRUPTED
    assert called == []


def test_calls_run_at_once() -> None:
    def nap(number: int) -> int:
        time.sleep(0.3)
        return number

    async def main() -> list[ToolResult]:
        runner, tool = ToolRunner(), make(nap)
        calls = [ToolCall(f"abcdefgh{n}", "nap", {"number": n}) for n in range(8)]
        return await asyncio.gather(*(runner.run(tool, item, 5, asyncio.Event()) for item in calls))

    started = time.perf_counter()
    results = asyncio.run(main())
    assert time.perf_counter() - started < 1.2
    assert [result.content for result in results] == [str(n) for n in range(8)]


def test_seconds_are_measured_on_the_given_clock() -> None:
    times = iter([10.0, 12.5])
    tool = make(raises)
    result = asyncio.run(ToolRunner(clock=lambda: next(times)).run(tool, ToolCall("a" * 9, "raises", {}), 5))
    assert result.seconds == 2.5


HUNG = """
import asyncio, time
from toolchat.tools.run import ToolRunner
from toolchat.tools.schema import function_schema
from toolchat.tools.toolbox import Tool
from toolchat.wire.messages import ToolCall

def hang() -> None:
    time.sleep(60)

schema = function_schema(hang)
tool = Tool("hang", "A tool.", schema.parameters, hang, "m:hang", schema.signature, schema.model, "t:1:1")
print(asyncio.run(ToolRunner().run(tool, ToolCall("abcdefghi", "hang", {}), 0.1)).status)
"""


def test_a_hung_tool_does_not_keep_the_interpreter_alive() -> None:
    done = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("timeout\n", "", 0)


def test_a_tool_that_answers_after_the_chat_has_ended_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    release, ended = threading.Event(), threading.Event()

    def late() -> str:
        release.wait(10)
        ended.set()
        return "late"

    assert call(late, deadline=0.05).status is ResultStatus.TIMEOUT
    release.set()
    assert ended.wait(5)
    for thread in threading.enumerate():
        if thread.name == "tool late":
            thread.join(5)
    assert capsys.readouterr().err == ""

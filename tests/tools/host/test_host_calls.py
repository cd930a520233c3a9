from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from host_bench import Bench, write_tools

from toolchat.tools.run import ToolRunner
from toolchat.wire.messages import CallOrigin, ResultStatus, ToolCall, ToolResult

pytestmark = pytest.mark.process


def test_arguments_that_had_to_be_converted_mark_the_call_as_repaired(bench: Bench) -> None:
    outcome = bench.call("good", a="40", b=2)
    assert outcome.result.content == "42"
    assert outcome.call == ToolCall("abcdefghi", "good", {"a": 40, "b": 2}, CallOrigin.REPAIRED)
    assert bench.call("good", a=40, b=2).call.origin is CallOrigin.PARSED


def test_arguments_that_do_not_fit_are_refused_before_anything_runs(bench: Bench) -> None:
    result = bench.call("good", a="many").result
    assert (result.call_id, result.name, result.status) == ("abcdefghi", "good", ResultStatus.ERROR)
    assert result.content == 'Error: a must be an integer (got "many")'


def test_half_a_surrogate_pair_in_the_arguments_arrives(bench: Bench) -> None:
    assert bench.call("good", a="\ud800").result.content.startswith("Error: a must be an integer")


def test_large_arguments_arrive(bench: Bench) -> None:
    result = bench.call("text", which="x" * 3_000_000).result
    assert result.content.startswith("Error: KeyError: 'xxx")


def test_what_a_generator_yields_is_shown_and_what_it_returns_is_the_result(bench: Bench) -> None:
    outcome = bench.call("progress", steps=3)
    assert outcome.result.content == "all steps"
    assert outcome.output == "step 0\nstep 1\nstep 2\n"


def test_output_of_the_tool_and_of_its_programs_is_shown_in_order(bench: Bench) -> None:
    outcome = bench.call("speak")
    assert outcome.result.content == "spoken"
    assert outcome.output == "from print\nto stderr\nfrom a program\n"


def test_output_comes_while_the_tool_runs(start: Callable[..., Bench], tmp_path: Path) -> None:
    source = 'import time\ndef f() -> str:\n    """F."""\n    print("now")\n    time.sleep(60)\n    return ""\n'
    bench = start(write_tools(tmp_path, {"talks_early:f": {}}, talks_early=source))

    async def main() -> ToolResult:
        cancel, said = asyncio.Event(), []

        def hear(text: str) -> None:
            said.append(text)
            cancel.set()

        tool = bench.runner.toolbox.get("f")
        assert tool is not None
        prepared = await bench.runner.prepare(tool, ToolCall("abcdefghi", "f", {}))
        assert not isinstance(prepared, ToolResult)
        result = await prepared.run(cancel, hear)
        assert said == ["now\n"]
        return result

    result = bench.loop.run(main())
    assert (result.content, result.status) == ("Error: interrupted by the user", ResultStatus.INTERRUPTED)
    assert result.seconds < 30


def test_a_call_cancelled_before_it_runs_does_not_run(bench: Bench) -> None:
    async def main() -> ToolResult:
        cancel = asyncio.Event()
        cancel.set()
        return (await bench.call_async("print_much", cancel)).result

    assert bench.loop.run(main()).status is ResultStatus.INTERRUPTED


def test_eight_calls_of_one_second_take_little_more_than_one(bench: Bench) -> None:
    async def main() -> float:
        started = time.monotonic()
        outcomes = await asyncio.gather(*(bench.call_async("nap", seconds=1) for _ in range(8)))
        assert [outcome.result.content for outcome in outcomes] == ["rested"] * 8
        return time.monotonic() - started

    # Others may be busy on this machine: what is possible counts.
    assert any(bench.loop.run(main()) <= 1.3 for _ in range(5))


def test_calls_are_processes_of_their_own_and_leave_no_traces(bench: Bench) -> None:
    assert [bench.call("forget", count=1).result.content for _ in range(2)] == ["1", "1"]


def test_a_tool_runs_in_the_folder_of_the_chat(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(bench.call("whereabouts").result.content)["cwd"] == str(tmp_path)


def test_a_folder_that_is_gone_is_no_obstacle(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert bench.is_alive()


def test_a_runner_without_tools_has_no_process() -> None:
    async def main() -> tuple[str, ...]:
        runner = ToolRunner.none()
        await runner.close()
        return runner.toolbox.names

    assert asyncio.run(main()) == ()


def test_tracebacks_are_shown_where_that_is_asked_for(start: Callable[..., Bench], tmp_path: Path) -> None:
    source = 'def f() -> str:\n    """F."""\n    raise ValueError("no")\n'
    bench = start(write_tools(tmp_path, {"raises_no:f": {}}, raises_no=source), debug=True)
    outcome = bench.call("f")
    assert outcome.result.content == "Error: ValueError: no"
    assert outcome.output.startswith("Traceback (most recent call last):")
    assert 'raises_no.py", line 3, in f' in outcome.output


VALIDATORS = '''
from typing import Annotated
from pydantic import AfterValidator

def boom(value: int) -> int:
    raise SystemExit(value)

def hang(value: int) -> int:
    while True:
        pass

def f(a: Annotated[int, AfterValidator(boom)]) -> str:
    """F."""
    return "ran"

def g(a: Annotated[int, AfterValidator(hang)]) -> str:
    """G."""
    return "ran"
'''


def test_a_validator_may_do_what_it_likes(
    start: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolchat.tools.host.supervisor.CHECK_SECONDS", 0.5)
    bench = start(write_tools(tmp_path, {"validates:f": {}, "validates:g": {}}, validates=VALIDATORS))
    assert bench.call("f", a=4).result.content == "Error: SystemExit: 4"
    assert bench.call("g", a=4).result.content == "Error: g did not check its arguments within 0.5 seconds"

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from host_bench import Bench, write_tools

from toolchat.tools.host.call import STATE_LOST
from toolchat.wire.messages import ResultStatus

pytestmark = pytest.mark.process


def test_a_stateful_group_keeps_what_its_calls_change_until_its_process_ends(bench: Bench) -> None:
    assert [bench.call("count_calls").result.content for _ in range(2)] == ["1", "2"]
    crash = bench.call("crash_counter").result
    assert (crash.content, crash.status) == (
        "Error: the tool ended unexpectedly (exit code 7)",
        ResultStatus.ERROR,
    )
    assert bench.call("count_calls").result.content == f"1\n{STATE_LOST}"
    assert bench.call("count_calls").result.content == "2"
    hang = bench.call("hang_counter")
    assert hang.result.status is ResultStatus.TIMEOUT
    assert bench.call("count_calls").result.content == f"1\n{STATE_LOST}"


def test_calls_of_a_group_run_one_after_the_other_and_each_has_its_result(bench: Bench) -> None:
    first = int(bench.call("count_calls").result.content.partition("\n")[0])

    async def main() -> list[str]:
        outcomes = await asyncio.gather(*(bench.call_async("count_calls") for _ in range(4)))
        return sorted(outcome.result.content for outcome in outcomes)

    assert bench.loop.run(main()) == [str(first + number) for number in range(1, 5)]


def test_waiting_for_the_group_ends_with_an_interruption(bench: Bench) -> None:
    async def main() -> list[ResultStatus]:
        cancel = asyncio.Event()
        calls = [bench.prepare_async("hang_counter"), bench.prepare_async("count_calls")]
        first, second = [await call for call in calls]
        hangs = asyncio.Event()
        running = asyncio.create_task(first.run(cancel, lambda _: hangs.set()))
        await hangs.wait()
        waiting = asyncio.create_task(second.run(cancel))
        await asyncio.sleep(0)
        cancel.set()
        return [(await task).status for task in (running, waiting)]

    assert bench.loop.run(main()) == [ResultStatus.INTERRUPTED, ResultStatus.INTERRUPTED]


def test_a_prepared_call_of_a_group_whose_process_ended_meanwhile_runs_in_a_new_one(bench: Bench) -> None:
    bench.call("count_calls")
    prepared = bench.prepare("count_calls")
    bench.call("crash_counter")
    assert bench.loop.run(prepared.run()).content == f"1\n{STATE_LOST}"


COUNTER = '''
class Counter:
    """Counts."""

    def __init__(self, start: int) -> None:
        self.number = start

    def more(self, by: int) -> int:
        """Count on."""
        self.number += by
        return self.number

    def now(self) -> int:
        """Where the count is."""
        return self.number
'''


def test_the_methods_of_a_stateful_class_share_their_instance(start: Callable[..., Bench], tmp_path: Path) -> None:
    rows = {"counts:Counter": {"stateful": "true", "arguments": "{start: 10}"}}
    bench = start(write_tools(tmp_path, rows, counts=COUNTER))
    more, now = bench.runner.toolbox.names
    assert bench.call(more, by=5).result.content == "15"
    assert bench.call(now).result.content == "15"

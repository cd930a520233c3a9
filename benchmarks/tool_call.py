"""What isolation costs: one call of a tool, eight calls at once, and the start of a file of a hundred tools.

A call through toolchat's processes is held against the same call in this process: the same check of the arguments, the
same function, the same text of the result. The aims: 15 ms more per call at most, and eight one-second calls of one
round in 1.3 s at most.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _common as common

from toolchat.tools.argument_check import Checked, check_arguments
from toolchat.tools.load import load_tools
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import LoadedToolbox
from toolchat.tools.values import result_text
from toolchat.wire.messages import ToolCall, ToolResult

OVERHEAD_AIM = 0.015
EIGHT_AIM = 1.3
CALLS = 100
TOOLS, MODULES = 100, 10
TOOL = '''
def tool_{number}(city: str, days: int = 1, unit: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, object]:
    """Forecast number {number}.

    Args:
        city: The city
        days: How many days
        unit: The unit of temperatures
    """
    return {{"city": city, "days": days, "unit": unit}}
'''
NAP = '''
import time

def nap(seconds: float) -> str:
    """Sleep."""
    time.sleep(seconds)
    return "rested"
'''
LOAD = "import sys; from pathlib import Path; from toolchat.tools.load import load_tools; load_tools(Path(sys.argv[1]))"


def main() -> None:
    options = common.arguments(__doc__, runs=7).parse_args()
    print(common.machine())
    with tempfile.TemporaryDirectory() as name:
        hundred = write_hundred(Path(name) / "hundred")
        few = write(Path(name) / "few", {"few": "from typing import Literal\n" + TOOL.format(number=0) + NAP})
        calls(few)
        eight(few, options.runs)
        start(few, hundred, options.runs)


def calls(path: Path) -> None:
    loaded = load_tools(path)

    async def measure() -> tuple[list[float], list[float]]:
        runner = await ToolRunner.start(path)
        direct: list[float] = []
        isolated: list[float] = []
        try:
            for number in range(CALLS + 1):
                call = ToolCall("abcdefghi", "tool_0", {"city": "Dallas", "days": number})
                seconds = [call_direct(loaded, call), await call_isolated(runner, call)]
                if number:  # the first one of each fills caches
                    direct.append(seconds[0])
                    isolated.append(seconds[1])
        finally:
            await runner.close()
        return direct, isolated

    direct, isolated = asyncio.run(measure())
    over = [one - other for one, other in zip(isolated, direct, strict=True)]
    print(f"\nMilliseconds of one call, arguments checked and result written, {CALLS} calls of each in turn:\n")
    rows = [
        [name, *common.spread([value * 1000 for value in values], 2)]
        for name, values in (("in this process", direct), ("isolated", isolated), ("isolation costs", over))
    ]
    print(common.table(["call", "median", "least", "most"], rows))
    median = statistics.median(over)
    met = common.verdict(median <= OVERHEAD_AIM)
    print(f"\nthe aim of {OVERHEAD_AIM * 1000:.0f} ms more at most (median) is {met}")


def call_direct(loaded: LoadedToolbox, call: ToolCall) -> float:
    began = time.perf_counter()
    tool = loaded.get(call.name)
    assert tool is not None
    checked = check_arguments(tool, call.arguments)
    assert isinstance(checked, Checked)
    result_text(tool.function(**checked.values))
    return time.perf_counter() - began


async def call_isolated(runner: ToolRunner, call: ToolCall) -> float:
    began = time.perf_counter()
    tool = runner.toolbox.get(call.name)
    assert tool is not None
    prepared = await runner.prepare(tool, call)
    assert not isinstance(prepared, ToolResult)
    result = await prepared.run()
    seconds = time.perf_counter() - began
    assert result.content.startswith("{"), result
    return seconds


def eight(path: Path, runs: int) -> None:
    async def measure() -> list[float]:
        runner = await ToolRunner.start(path)
        tool = runner.toolbox.get("nap")
        assert tool is not None

        async def nap() -> None:
            prepared = await runner.prepare(tool, ToolCall("abcdefghi", "nap", {"seconds": 1.0}))
            assert not isinstance(prepared, ToolResult)
            assert (await prepared.run()).content == "rested"

        took: list[float] = []
        try:
            for _ in range(runs):
                began = time.perf_counter()
                await asyncio.gather(*(nap() for _ in range(8)))
                took.append(time.perf_counter() - began)
        finally:
            await runner.close()
        return took

    took = asyncio.run(measure())
    print(f"\nSeconds that eight one-second calls of one round take, {runs} rounds:\n")
    print(common.table(["calls", "median", "least", "most"], [["eight at once", *common.spread(took, 3)]]))
    met = common.verdict(statistics.median(took) <= EIGHT_AIM)
    print(f"\nthe aim of {EIGHT_AIM} s at most (median) is {met}")


def start(few: Path, hundred: Path, runs: int) -> None:
    def isolated(path: Path) -> float:
        async def begin() -> float:
            began = time.perf_counter()
            runner = await ToolRunner.start(path)
            seconds = time.perf_counter() - began
            await runner.close()
            return seconds

        return asyncio.run(begin())

    def bare(path: Path) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True)
        return time.perf_counter() - began

    contenders = {
        f"ToolRunner.start, {TOOLS} tools in {MODULES} modules": lambda: isolated(hundred),
        "ToolRunner.start, 2 tools": lambda: isolated(few),
        f"load_tools in a new Python, {TOOLS} tools": lambda: bare(hundred),
        "load_tools in a new Python, 2 tools": lambda: bare(few),
    }
    _, seconds = common.alternate(contenders, runs)
    print(f"\nSeconds until the tools can be called, {runs} alternating runs after a warm-up:\n")
    rows = [[name, *common.spread(values, 3)] for name, values in seconds.items()]
    print(common.table(["start", "median", "least", "most"], rows))


def write_hundred(folder: Path) -> Path:
    per = TOOLS // MODULES
    return write(
        folder,
        {
            f"hundred_{module}": "from typing import Literal\n"
            + "".join(TOOL.format(number=module * per + number) for number in range(per))
            for module in range(MODULES)
        },
    )


def write(folder: Path, modules: dict[str, str]) -> Path:
    folder.mkdir()
    rows = ["version: 1", "tools:"]
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        functions = [line[4:].partition("(")[0] for line in source.splitlines() if line.startswith("def ")]
        rows += [f"  - callable: {name}:{function}" for function in functions]
    path = folder / "tools.yaml"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    main()

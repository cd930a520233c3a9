"""How long a key takes in the input line: with a line of 100,000 characters in it, and with one of 1,000.

The editor is toolchat's own, in an application that draws to nowhere, so that no terminal is measured. A frame is drawn
for each key; the time is that from the key to the end of its frame. The aim: 50 ms at most with the long line.
"""

from __future__ import annotations

import asyncio
import time

import _common as common
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.layout import HSplit, Layout
from prompt_toolkit.output import DummyOutput

from toolchat.ui.input import InputLine

AIM = 0.05
SHORT, LONG = 1_000, 100_000


class Screen(DummyOutput):
    def get_size(self) -> Size:
        return Size(rows=24, columns=80)


async def seconds_a_key(length: int, keys: int = 10) -> float:
    """The median over some keys at the end of a line of that length."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=Screen()):
        line = InputLine(InMemoryHistory(), lambda _: None, completer=lambda: None, most_rows=lambda: 12)
        line.buffer.insert_text("word " * (length // 5))
        app: Application[None] = Application(
            Layout(HSplit(line.rows), focused_element=line.window), key_bindings=line.bindings
        )
        drawn = asyncio.Event()
        app.after_render += lambda _: drawn.set()
        running = asyncio.create_task(app.run_async())
        await drawn.wait()
        taken = []
        for _ in range(keys):
            drawn.clear()
            begun = time.perf_counter()
            pipe.send_text("x")
            await drawn.wait()
            taken.append(time.perf_counter() - begun)
        app.exit()
        await running
    return sorted(taken)[len(taken) // 2]


def main() -> None:
    options = common.arguments(__doc__, runs=5).parse_args()
    print(common.machine())
    contenders = {
        f"{length:,} characters": lambda length=length: asyncio.run(seconds_a_key(length)) for length in (SHORT, LONG)
    }
    _, seconds = common.alternate(contenders, options.runs)
    short, long = seconds.values()
    print(f"\nSeconds a key, {options.runs} alternating runs of ten keys after a warm-up:\n")
    rows = [[name, *common.spread(values, 4), f"{common.ratio(values, short):.2f}"] for name, values in seconds.items()]
    print(common.table(["line", "median", "least", "most", "it / short"], rows))
    median = sorted(long)[len(long) // 2]
    print(
        f"\nA key in the long line: {median * 1000:.0f} ms; the aim of 50 ms at most is {common.verdict(median <= AIM)}"
    )


if __name__ == "__main__":
    main()

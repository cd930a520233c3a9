"""What the streaming renderer costs: an answer of 20,000 tokens (prose, lists, code, tables) as the REPL shows it.

Every frame, 30 a second at 100 tokens a second, feeds the text that came, prints above the bottom rows what became
final, and has prompt-toolkit draw the unfinished block anew, on a pseudo-terminal that another thread reads. The aims:
a token of the last tenth costs at most 1.2 times one of the first; the whole at most 10 % of a core; each line of the
source is printed once. Answers that are one block of that length are measured too: none may cost more as it grows.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pty
import re
import statistics
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TextIO

import _common as common
from prompt_toolkit.application import Application
from prompt_toolkit.application.current import set_app
from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.input import DummyInput
from prompt_toolkit.layout import HSplit, Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.output.vt100 import Vt100_Output

from toolchat.ui.markdown.stream import MarkdownStream

RATIO_AIM = 1.2
SHARE_AIM = 0.10
TOKENS = 20_000
MIXED = "mixed"
CHARACTERS = 4
"""Of a token, about."""
TOKENS_A_SECOND = 100
FRAMES_A_SECOND = 30
COLUMNS, ROWS = 80, 24
LIVE_ROWS = ROWS // 3

TEXT = "the model reads a file then writes its answer in small parts so that every reader can follow"
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True)
class Outcome:
    tokens: int
    tenths: list[float]
    """Microseconds of CPU time for a token, in each tenth of the answer."""
    share: float
    """CPU time as a part of the time that the answer takes at 100 tokens a second."""
    printed: str


class Screen:
    """The bottom rows, kept by prompt-toolkit as in the REPL: erased, and drawn again below what is printed.

    The seam for another owner of the terminal: whatever takes what is final, and the rows of the live region.
    """

    def __init__(self, out: TextIO) -> None:
        self._live: list[str] = []
        region = Window(FormattedTextControl(self._rows), dont_extend_height=True, wrap_lines=False)
        toolbar = Window(FormattedTextControl("demo · generating"), height=1)
        size = Size(rows=ROWS, columns=COLUMNS)
        output = Vt100_Output(out, lambda: size, term="xterm-256color", enable_cpr=False)
        self._app: Application[None] = Application(
            Layout(HSplit([region, Window(FormattedTextControl("› "), height=1), toolbar])),
            output=output,
            input=DummyInput(),
        )

    def _rows(self) -> StyleAndTextTuples:
        return to_formatted_text(ANSI("\n".join(self._live)))

    def frame(self, printed: str, live: list[str]) -> None:
        self._live = live
        renderer = self._app.renderer
        renderer.erase(leave_alternate_screen=False)
        self._app.output.write_raw(printed.replace("\n", "\r\n"))
        with set_app(self._app):
            renderer.render(self._app, self._app.layout)


def main() -> None:
    options = common.arguments(__doc__, runs=3).parse_args()
    print(common.machine())
    source, lines = answer(Random(TOKENS))
    contenders = {MIXED: lambda: render(source)}
    for name, text in single_blocks(Random(TOKENS)).items():
        contenders[name] = functools.partial(render, text)
    _, outcomes = common.alternate(contenders, options.runs)
    report(outcomes, lines)


def report(outcomes: dict[str, list[Outcome]], lines: list[str]) -> None:
    mixed = outcomes[MIXED]
    print(f"\nMicroseconds of CPU time a token, {mixed[0].tokens} tokens, {len(mixed)} runs after a warm-up:\n")
    rows = []
    for name, runs in outcomes.items():
        first, last = [one.tenths[0] for one in runs], [one.tenths[-1] for one in runs]
        share = statistics.median(one.share for one in runs)
        cells = [common.spread(tenth, 0)[0] for tenth in (first, last)]
        rows.append([name, *cells, f"{common.ratio(last, first):.2f}", f"{share:.1%}"])
    print(common.table(["answer", "first tenth", "last tenth", "last / first", "of a core"], rows))
    grown = common.ratio([one.tenths[-1] for one in mixed], [one.tenths[0] for one in mixed])
    share = max(one.share for one in mixed)
    met = common.verdict(grown <= RATIO_AIM)
    print(f"\nlast tenth / first tenth: {grown:.2f}; the aim of {RATIO_AIM} at most is {met}")
    print(
        f"share of a core at {TOKENS_A_SECOND} tokens a second: {share:.1%} (the worst run); "
        f"the aim of {SHARE_AIM:.0%} at most is {common.verdict(share <= SHARE_AIM)}"
    )
    once = all(printed_once(one.printed, lines) for one in mixed)
    print(f"each of the {len(lines)} lines printed once and in order: {'yes' if once else 'NO'}")


def render(source: str) -> Outcome:
    """Show `source` as it would come, as fast as it goes."""
    a_frame = TOKENS_A_SECOND * CHARACTERS / FRAMES_A_SECOND
    frames = [source[round(at * a_frame) : round((at + 1) * a_frame)] for at in range(int(len(source) / a_frame) + 1)]
    spent = [0.0] * 10
    printed: list[str] = []
    with terminal() as out:
        screen = Screen(out)
        stream = MarkdownStream(COLUMNS)
        # The libraries are loaded with the first text; that is no cost of a token.
        warm = MarkdownStream(COLUMNS)
        warm.feed(source[:8_000])
        for number, text in enumerate(frames):
            began = time.thread_time()
            final = stream.feed(text)
            screen.frame(final, stream.live(LIVE_ROWS))
            spent[number * 10 // len(frames)] += time.thread_time() - began
            printed.append(final)
        final = stream.finish()
        screen.frame(final, [])
        printed.append(final)
    tokens = len(source) // CHARACTERS
    tenths = [seconds / (tokens / 10) * 1e6 for seconds in spent]
    return Outcome(tokens, tenths, sum(spent) / (tokens / TOKENS_A_SECOND), "".join(printed))


@contextlib.contextmanager
def terminal() -> Iterator[TextIO]:
    """A pseudo-terminal whose other side is read and thrown away; gives the file that writes to it."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def drain() -> None:
        with contextlib.suppress(OSError):  # how Linux says that the other side is closed
            while os.read(reader, 65536):
                pass

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        with os.fdopen(writer, "w", encoding="utf-8") as out:
            yield out
    finally:
        thread.join()
        os.close(reader)


def printed_once(printed: str, lines: list[str]) -> bool:
    """Whether the words of all lines are in what was printed, each once and in order, and no others."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    return "".join(re.findall(r"\w+", plain)) == "".join("".join(re.findall(r"\w+", line)) for line in lines)


def answer(random: Random) -> tuple[str, list[str]]:
    """Markdown of about 20,000 tokens, and its lines without what tables and fences are made of.

    Each line has a number in it, so that one that is missing, doubled or out of order is noticed.
    """
    blocks: list[str] = []
    lines: list[str] = []
    size = 0

    def words(least: int, most: int) -> str:
        return " ".join(random.choice(WORDS) for _ in range(random.randint(least, most)))

    def numbered(text: str) -> str:
        lines.append(f"n{len(lines)} {text}")
        return lines[-1]

    while size < TOKENS * CHARACTERS:
        number = len(blocks)
        match number % 7:
            case 0:
                block = "## " + numbered(words(3, 6))
            case 1 | 4:
                block = numbered(f"{words(20, 60)} **{words(2, 4)}** and `{words(1, 3)}`. {words(10, 120)}.")
            case 2:
                block = "\n".join(f"- {numbered(f'*{words(1, 2)}*: {words(5, 25)}')}" for _ in range(6))
            case 3:
                body = [numbered(f'total = call("{words(2, 6)}", {number})  # {words(2, 5)}') for _ in range(14)]
                # The fence's rule names the language.
                lines.insert(len(lines) - len(body), "python")
                block = "\n".join(["```python", *body, "```"])
            case 5:
                # One word a cell, so that no cell is broken over rows.
                body = [f"| {numbered(random.choice(WORDS))} | {number} | {random.choice(WORDS)} |" for _ in range(9)]
                lines[-9:] = body
                head = numbered("name | count | note")
                lines.insert(len(lines) - 10, lines.pop())
                block = "\n".join([f"| {head} |", "|---|--:|---|", *body])
            case _:
                block = "\n".join(f"{item}. {numbered(words(5, 30))}" for item in range(1, 6))
                lines[-5:] = [f"{item} {line}" for item, line in zip(range(1, 6), lines[-5:], strict=True)]
        blocks.append(block)
        size += len(block) + 2
    return "\n\n".join(blocks), lines


def single_blocks(random: Random) -> dict[str, str]:
    """Answers of the same length that are one block each."""

    def words(number: int) -> str:
        return " ".join(random.choice(WORDS) for _ in range(number))

    def fill(make: Callable[[int], str], between: str) -> str:
        parts: list[str] = []
        size = 0
        while size < TOKENS * CHARACTERS:
            parts.append(make(len(parts)))
            size += len(parts[-1]) + len(between)
        return between.join(parts)

    return {
        "one paragraph, one line": fill(lambda _: f"{words(12)} **{words(3)}**", " "),
        "one code block": "```python\n" + fill(lambda at: f'value_{at} = call("{words(4)}", {at})', "\n"),
        "one list": fill(lambda at: f"- {words(9)} `{at}`", "\n"),
        "one table": "| a | b |\n|---|---|\n" + fill(lambda at: f"| {at} | {words(7)} |", "\n"),
    }


if __name__ == "__main__":
    main()

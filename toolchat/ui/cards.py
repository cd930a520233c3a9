"""Draws a tool call as a card: one or more rows while it runs, and what is printed when it has ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from toolchat.ui.calls import call_text, content_lines, image_lines, more_lines, output_rows
from toolchat.ui.text.cells import cut, width_of
from toolchat.ui.text.sanitize import sanitize, sanitize_line
from toolchat.ui.text.styles import paint
from toolchat.ui.text.wrapping import wrapped
from toolchat.wire.messages import FailedCall, ResultStatus, ToolCall, ToolResult

RESULT_LINES = 5
"""Rows of a result that are shown; `/last` shows more."""
OUTPUT_LINES = 5
"""Rows of what the tool said that stay on the screen: the last ones."""
ARGUMENT_ROWS = 6
"""Rows that the name and the arguments of a finished call may take."""

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINS_A_SECOND = 8

_ENDINGS = {
    ResultStatus.OK: ("✓", "green", ""),
    ResultStatus.ERROR: ("✗", "red", "failed"),
    ResultStatus.TIMEOUT: ("✗", "red", "timed out"),
    ResultStatus.INTERRUPTED: ("■", "yellow", "interrupted"),
    ResultStatus.DENIED: ("⊘", "yellow", "declined"),
}

Fragment = tuple[str, str]
"""A style, as `paint` takes it, and a text."""


@dataclass(slots=True)
class Card:
    """One call, from its proposal to its result. Times are seconds of one monotonic clock."""

    call: ToolCall | FailedCall
    started: float | None = None
    """None until it runs."""
    output: list[str] = field(default_factory=list)
    """Rows that the tool has said to the user, made safe."""
    said: int = 0
    """How many there were in all."""
    replaceable: bool = False
    """Whether what comes next takes the place of the last row: it is a progress bar."""

    def start(self, call: ToolCall, now: float) -> None:
        """It runs, with these arguments."""
        self.call = call
        self.started = now

    def say(self, text: str) -> None:
        rows, live = output_rows(text)
        if self.replaceable:
            self.output = self.output[:-1]
            self.said -= 1
        self.replaceable = bool(live)
        if live:
            rows.append(live)
        self.said += len(rows)
        self.output = [*self.output, *rows][-OUTPUT_LINES:]

    def live(self, width: int, now: float, *, color: bool) -> list[str]:
        """One row, and a second with what the tool said last."""
        if self.started is None:
            return [paint(cut(f"→ {call_text(self.call)}", width - 1), "dim", color=color)]
        ran = now - self.started
        tail = f" {SPINNER[int(ran * SPINS_A_SECOND) % len(SPINNER)]} {seconds(ran, whole=True)}"
        head = cut(f"→ {call_text(self.call)}", max(width - 1 - width_of(tail), 4))
        rows = [paint(head, "cyan", color=color) + tail]
        if self.output:
            rows.append(paint(cut(f"  │ {self.output[-1].expandtabs(4)}", width - 1), "dim", color=color))
        return rows

    def finished(self, result: ToolResult, width: int, *, color: bool) -> str:
        """What is printed, once."""
        return "".join(
            "".join(paint(text, style, color=color) for style, text in row) + "\n" for row in self.rows(result, width)
        )

    def rows(self, result: ToolResult, width: int) -> list[list[Fragment]]:
        """The call, how it ended, what it said, the first rows of its result."""
        mark, style, ending = _ENDINGS[result.status]
        about = [ending] if ending else []
        if result.seconds:
            about.append(seconds(result.seconds))
        if isinstance(self.call, ToolCall):
            about.append(str(self.call.origin))
        if result.hooks:
            about.append(sanitize_line(result.hooks))
        tail = f"  {', '.join(about)}" if about else ""
        # The arguments may be long, and how it ended must be seen: it gets a row of its own where need be.
        first, *more = wrapped(f"{mark} {call_text(self.call)}", width - 2)
        texts = [first, *(f"  {text}" for text in more)]
        if len(texts) > ARGUMENT_ROWS:
            texts = [
                *texts[: ARGUMENT_ROWS - 1],
                cut(f"  … {len(texts) - ARGUMENT_ROWS + 1} more rows of arguments", width),
            ]
        head: list[list[Fragment]] = [[(style, text)] for text in texts]
        if width_of(texts[-1]) + width_of(tail) <= width:
            head[-1].append(("dim", tail))
        else:
            head.append([("dim", cut(tail, width))])
        below = [f"  │ … {_lines(self.said - len(self.output))} before"] if self.said > len(self.output) else []
        below += [cut(f"  │ {row.expandtabs(4)}", width) for row in self.output]
        below += _result_rows(result, width)
        return head + [[("dim", text)] for text in below]


def seconds(number: float, *, whole: bool = False) -> str:
    """A duration for people: "0.3 s", "12 s", "3 min 20 s"."""
    if number >= 60:
        return f"{int(number // 60)} min {int(number % 60)} s"
    if whole or number >= 10:
        return f"{int(number)} s"
    return f"{max(number, 0.001):.1f} s" if number >= 0.05 else f"{math.ceil(number * 1000)} ms"


def _result_rows(result: ToolResult, width: int) -> list[str]:
    lines = [*content_lines(result.content), *image_lines(result)]
    rows: list[str] = []
    taken = 0
    # A result may be a megabyte: no more of it is looked at than is shown.
    for line in lines:
        if len(rows) >= RESULT_LINES:
            break
        part = sanitize(line[: (RESULT_LINES + 1) * width])
        rows += wrapped(part.expandtabs(4), width - 2)
        taken += 1
    shown = [f"  {row}" for row in rows[:RESULT_LINES]]
    if len(rows) > RESULT_LINES or taken < len(lines):
        left = len(lines) - taken
        last = "/last shows more" if result.left_out else "/last shows all"
        shown.append(f"  … {more_lines(left, result)}; {last}" if left else f"  … {last}")
    return shown


def _lines(number: int) -> str:
    return "1 line" if number == 1 else f"{number:,} lines"

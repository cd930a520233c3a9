"""Shows progress on stderr before a chat can begin: a bar, or a few lines where stderr is no terminal."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from toolchat.ui.tables import console
from toolchat.ui.text.sanitize import sanitize_line

_NUMBERS = re.compile(r"[\s,]*\d.*")


def milestone(stage: str, fraction: float) -> tuple[str, int]:
    """What is worth a line of its own where a line stays: the stage without its numbers, and the tenth it is in.

    A stage without numbers is told once.
    """
    words = _NUMBERS.sub("", stage)
    return words, int(fraction * 10 + 1e-9) if words != stage else 0


@dataclass(frozen=True, slots=True)
class Shown:
    report: Callable[[str, float], None]
    """Takes a stage, such as "fetching 3.2 of 14.5 GB", and the fraction done, 0 to 1."""
    note: Callable[[str], None]
    """Prints a line that stays."""


@contextlib.contextmanager
def progress(title: str) -> Iterator[Shown]:
    """Show how far something is. The finished bar is taken away again: it is of no interest above a chat."""
    title = sanitize_line(title)
    err = console(stderr=True)
    if not err.on_screen:
        last: tuple[str, int] | None = None

        def line(stage: str, fraction: float) -> None:
            nonlocal last
            if (reached := milestone(stage, fraction)) != last:
                percent = f" ({fraction * 100:.0f} %)" if reached[0] != stage and fraction else ""
                err.print(f"{title}: {stage}{percent}")
                last = reached

        yield Shown(line, lambda text: err.print(sanitize_line(text)))
        return

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=1.0)

        def update(stage: str, fraction: float) -> None:
            bar.update(task, completed=fraction, description=f"{title}: {stage}")

        yield Shown(update, lambda text: err.print(sanitize_line(text)))

"""A bar on stderr for what takes long before a chat can begin; a line per stage where stderr is no terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from toolchat.ui.tables import console


@contextlib.contextmanager
def progress(title: str | None) -> Iterator[Callable[[str, float], None] | None]:
    """Yield a function that takes a stage's name and the fraction done, 0 to 1; None where there is nothing to show.

    The finished bar is taken away again: it is of no interest above a chat.
    """
    if title is None:
        yield None
        return
    err = console(stderr=True)
    if not err.is_terminal:
        last = ""

        def line(stage: str, _: float) -> None:
            nonlocal last
            if stage != last:
                err.print(f"{title}: {stage}")
                last = stage

        yield line
        return

    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
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

        yield update

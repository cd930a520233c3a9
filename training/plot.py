"""Draws a training run's log.jsonl as training/run.svg: the loss, and for held-out samples of each kind what is right.

`python training/plot.py LOG SVG`. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, TOP, GAP, LEGEND = 420, 200, 52, 30, 60, 190
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#9c6b4e")

Points = Sequence[tuple[float, float]]


def panel(x: float, title: str, lines: dict[str, Points], top: float, unit: str, order: Sequence[str]) -> Iterator[str]:
    """A chart at `x`: `lines` by name, over tokens, from 0 to `top`. A name's place in `order` is its colour."""
    last = max((point[0] for points in lines.values() for point in points), default=1) or 1

    def place(point: tuple[float, float]) -> str:
        return f"{x + point[0] / last * WIDTH:.1f},{TOP + HEIGHT - min(point[1], top) / top * HEIGHT:.1f}"

    yield f'<text x="{x}" y="{TOP - 12}" font-weight="bold">{title}</text>'
    for step in range(5):
        y = TOP + HEIGHT * step / 4
        value = top * (4 - step) / 4
        yield f'<path d="M{x} {y}h{WIDTH}" stroke="#8884"/>'
        yield f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{value:.3g}{unit}</text>'
    yield f'<text x="{x + WIDTH}" y="{TOP + HEIGHT + 18}" text-anchor="end">{last:,.0f} tokens</text>'
    for number, (name, points) in enumerate(lines.items()):
        index = order.index(name) if name in order else 0
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(place(point) for point in points)
        again = index >= len(COLOURS)
        dashes = ' stroke-dasharray="5 3"' if again else ""
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        if len(lines) > 1:
            y = TOP + HEIGHT + 38 + 16 * (number // 2)
            yield f'<text x="{x + WIDTH / 2 * (number % 2)}" y="{y}" fill="{colour}">{name}{" - -" if again else ""}</text>'


def svg(rows: Sequence[dict[str, Any]]) -> str:
    """The picture of a log's rows."""
    losses = [(row["tokens"], row["running"]) for row in rows if "running" in row]
    measured = [(row["tokens"], row["held_out"]) for row in rows if "held_out" in row]
    kinds = sorted({kind for _, held_out in measured for kind in held_out})

    def share(name: str) -> dict[str, Points]:
        lines = {
            kind: [
                (at, 100 * by_kind[kind][name])
                for at, by_kind in measured
                if kind in by_kind and not math.isnan(by_kind[kind][name])
            ]
            for kind in kinds
        }
        return {kind: points for kind, points in lines.items() if points}

    held_out = {kind: [(at, by_kind[kind]["loss"]) for at, by_kind in measured if kind in by_kind] for kind in kinds}
    top = max((loss for points in held_out.values() for _, loss in points), default=1.0)
    panels = [
        ("Loss while training, running mean", {"": losses}, max((loss for _, loss in losses), default=1.0), ""),
        ("Loss, held out", held_out, top, ""),
        ("Calls right to the last token, held out", share("calls"), 100, "%"),
        ("Texts not begun as a call, held out", share("texts"), 100, "%"),
    ]
    parts = []
    for number, (title, lines, highest, unit) in enumerate(panels):
        x = LEFT + (number % 2) * (WIDTH + GAP)
        y = (number // 2) * (HEIGHT + LEGEND)
        parts.append(f'<g transform="translate(0 {y})">{"".join(panel(x, title, lines, highest, unit, kinds))}</g>')
    size = f'width="{LEFT + 2 * WIDTH + GAP + 20}" height="{2 * (HEIGHT + LEGEND)}"'
    style = 'font-family="sans-serif" font-size="12" fill="#777"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{"".join(parts)}</svg>\n'


def main() -> None:
    parser = argparse.ArgumentParser(prog="training/plot.py", description="Draw a training run's log.")
    parser.add_argument("log", type=Path, help="OUT/log.jsonl of train.py")
    parser.add_argument("svg", type=Path, help="the file to write")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.log.read_text(encoding="utf-8").splitlines()]
    arguments.svg.write_text(svg(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
